"""`crossover retry`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import Wrong, guarded, is_sweep, say, specs_of, store_option
from orchestrator.commands.run import backend_options, execute
from orchestrator.store.store import Store


@click.command("retry")
@click.argument("what", nargs=-1, required=True, metavar="SWEEP|KEY...")
@store_option
@backend_options
@click.pass_context
@guarded
def command(ctx: click.Context, what: tuple[str, ...], store: Store, **options: Any) -> None:
    """Train the failed runs of these sweeps again, or these runs, and nothing else; then draw the reports."""
    failed = {key for key, _ in store.failures()}
    sweeps, chosen = [], set()
    for item in what:
        if is_sweep(store, item):
            sweeps.append(item)
            (spec,) = specs_of(store, [item])
            chosen |= failed & set(store.members(spec.name))
        else:
            key = next((k for k in failed if k.startswith(item.split("-")[0])), None) or store.find(item)
            chosen.add(key)
            owners = [name for name in store.sweep_names() if key in store.members(name)]
            if not owners:
                raise Wrong(f"run {item!r}: no sweep of the store {store} has it")
            sweeps += [owners[0]] if not set(owners) & set(sweeps) else []
    if not chosen:
        say("nothing has failed")
        ctx.exit(0)
    for key in chosen:
        store.record_failure(key, None)
    ctx.exit(execute(store, specs_of(store, sweeps), only_runs=chosen, **options))
