"""`crossover mirror`."""

from __future__ import annotations

import click

from orchestrator.commands.common import errors_as_messages, existing, say, store_option
from orchestrator.store.store import Store


@click.command("mirror")
@click.option("--rebuild", is_flag=True, help="Write every run again, whatever MLflow is believed to have.")
@store_option
@errors_as_messages
def command(rebuild: bool, store: Store) -> None:
    """Write to MLflow whatever the run folders hold and it lacks.

    Use it after MLflow was unreachable, after its database was lost, or in a copied store.
    """
    from orchestrator.tracking.mirror import mirror_store

    written, runs = mirror_store(existing(store), rebuild=rebuild)
    say(f"{written} runs written, {runs - written} were up to date")
