"""`crossover gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.commands.common import (
    emit,
    errors_as_messages,
    existing,
    json_option,
    say,
    size,
    store_option,
)
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from orchestrator.upkeep.garbage import Keep


@click.command("gc")
@click.option(
    "--keep",
    type=click.Choice(["evals", "branches", "last"]),
    help="Delete checkpoints too. `evals` keeps the weights of every evaluation, and an optimizer state only "
    "where another run starts (a branch, or a child). `branches` keeps weights only there as well. `last` "
    "keeps them only where a run is still to start. Example: a finished run with 20 evaluations and no "
    "branches keeps 20 sets of weights with `evals`, and two with `last`: the newest and the best.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be deleted, and delete nothing.")
@store_option
@json_option
@errors_as_messages
def command(keep: Keep | None, dry_run: bool, store: Store, as_json: bool) -> None:
    """Delete the files that killed attempts left behind.

    With --keep, gc deletes checkpoints as well. It never deletes a checkpoint that a branch, a child or an
    evaluation of the store's sweeps still needs, nor a run's newest or best one. It leaves runs alone that
    another process is working on.
    """
    from orchestrator.upkeep.garbage import collect

    freed = collect(existing(store), keep, dry_run=dry_run)
    for name in freed.busy:
        say(f"sweep {name} is being run; its checkpoints stay")
    if as_json:
        emit({"bytes": freed.bytes, "runs": freed.runs, "removed": not dry_run})
    else:
        verb = "would free" if dry_run else "freed"
        click.echo(f"{verb} {size(freed.bytes)} in {len(freed.runs)} runs")
