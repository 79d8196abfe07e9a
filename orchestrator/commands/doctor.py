"""`crossover doctor`."""

from __future__ import annotations

import click

from orchestrator.commands.common import emit, errors_as_messages, json_option, store_option
from orchestrator.store.store import Store


@click.command("doctor")
@store_option
@json_option
@click.pass_context
@errors_as_messages
def command(ctx: click.Context, store: Store, as_json: bool) -> None:
    """Check this machine, the installation and the store. Exit code 1 if something is wrong."""
    from orchestrator.upkeep.doctor import examine

    findings = examine(store)
    if as_json:
        emit({"findings": [vars(f) for f in findings]})
    else:
        for f in findings:
            advice = f"   -> {f.advice}" if f.advice and f.state != "ok" else ""
            click.echo(f"{f.state:8} {f.check:16} {f.value}{advice}")
    ctx.exit(1 if any(f.state == "problem" for f in findings) else 0)
