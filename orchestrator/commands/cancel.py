"""`crossover cancel`."""

from __future__ import annotations

import click

from orchestrator.commands.common import errors_as_messages, is_sweep, say, specs_of, store_option
from orchestrator.store.store import Store


@click.command("cancel")
@click.argument("what", nargs=-1, required=True, metavar="SWEEP|KEY...")
@store_option
@errors_as_messages
def command(what: tuple[str, ...], store: Store) -> None:
    """Ask whoever trains these sweeps or runs to stop at a checkpoint. `crossover run` goes on from there."""
    for item in what:
        if is_sweep(store, item):
            (spec,) = specs_of(store, [item])
            name, who = spec.name, store.stop_sweep(spec.name)
        else:
            name = store.find(item)
            who = store.stop_run(name)
        say(f"asked {who} to stop {name}" if who is not None else f"{name} is not being run")
