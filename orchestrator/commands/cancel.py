"""`crossover cancel`."""

from __future__ import annotations

import click

from orchestrator.commands.common import guarded, is_sweep, say, specs_of, store_option
from orchestrator.store.store import Store


@click.command("cancel")
@click.argument("what", nargs=-1, required=True, metavar="SWEEP|KEY...")
@store_option
@guarded
def command(what: tuple[str, ...], store: Store) -> None:
    """Ask whoever trains these sweeps or runs to stop at a checkpoint. `crossover run` goes on from there."""
    from orchestrator.store.leases import Session

    observer = Session(store.leases)
    for item in what:
        if is_sweep(store, item):
            (spec,) = specs_of(store, [item])
            name, lease = spec.name, f"sweep-{spec.name}"
        else:
            name = store.find(item)
            lease = f"run-{name}"
        if observer.holder(lease) is None:
            say(f"{name} is not being run")
            continue
        store.cancel(name)
        say(f"asked {observer.who(lease)} to stop {name}")
