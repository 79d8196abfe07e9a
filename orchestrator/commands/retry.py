"""`crossover retry`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import errors_as_messages, say, store_option
from orchestrator.commands.run import backend_options, execute
from orchestrator.store.store import Store


@click.command("retry")
@click.argument("what", nargs=-1, required=True, metavar="SWEEP|KEY...")
@store_option
@backend_options
@click.pass_context
@errors_as_messages
def command(ctx: click.Context, what: tuple[str, ...], store: Store, **options: Any) -> None:
    """Train the failed runs of these sweeps again, or these runs, and nothing else; then draw the reports."""
    from orchestrator.study.retries import Retry

    retry = Retry.of(store, what)
    if not retry.runs:
        say("nothing has failed")
        ctx.exit(0)
    ctx.exit(execute(store, retry.sweeps, only_runs=set(retry.runs), **options))
