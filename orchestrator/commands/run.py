"""`crossover run`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.common import errors_as_messages, say, specs_of, store_option, sweep_options
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from orchestrator.language.expansion import Expansion
    from orchestrator.language.spec import SweepSpec
    from orchestrator.planning.plans import Plan


def backend_options(function: Any) -> Any:
    """Where to run, and how loudly."""
    for option in (
        click.option("--local", is_flag=True, help="One run after another in this process, without Ray."),
        click.option(
            "--address", metavar="ADDR", help="Attach to this Ray cluster instead of starting Ray here."
        ),
        click.option("--cpus", type=click.IntRange(1), metavar="N", help="CPU cores to use (default: all)."),
        click.option(
            "--no-mlflow", is_flag=True, help="Leave MLflow alone for now; `crossover mirror` catches up."
        ),
        click.option("-q", "--quiet", is_flag=True, help="No progress."),
    ):
        function = option(function)
    return function


@click.command("run")
@sweep_options
@store_option
@backend_options
@click.option("--no-report", is_flag=True, help="Train only.")
@click.pass_context
@errors_as_messages
def command(
    ctx: click.Context,
    sweeps: tuple[str, ...],
    settings: tuple[str, ...],
    only: tuple[str, ...],
    store: Store,
    no_report: bool,
    **options: Any,
) -> None:
    """Train what is not done of these sweeps, then draw their reports.

    Stopped or killed at any moment, the same command goes on where it was; when all is done it trains nothing
    and draws the report again. Ctrl-C stops after a checkpoint, a second one at once.
    """
    specs = specs_of(store, sweeps, settings, only)
    ctx.exit(execute(store, specs, report=not no_report, **options))


def execute(
    store: Store,
    sweeps: Sequence[SweepSpec | Expansion],
    *,
    local: bool,
    address: str | None,
    cpus: int | None,
    no_mlflow: bool,
    quiet: bool,
    report: bool = True,
    only_runs: set[str] | None = None,
    spacing: float | None = None,
) -> int:
    """Carry the sweeps out and say how it went; the exit code."""
    from orchestrator.commands.plan import store_notes, totals
    from orchestrator.execution.backends import Backend, LocalBackend
    from orchestrator.execution.backends.ray_core import RayBackend
    from orchestrator.execution.live import view
    from orchestrator.study.stages import carry_out

    def announce(planned: Plan) -> None:
        for warning in planned.warnings:
            say(f"warning: {warning}")
        if not quiet:
            for note in store_notes(store, planned.specs):
                say(f"note: {note}")
            say(f"{totals(planned)}\nstore: {store}")

    if local and address:
        raise click.UsageError("--local and --address exclude each other")
    backend: Backend = LocalBackend() if local else RayBackend(store, address=address, cpus=cpus)
    result = carry_out(
        store,
        sweeps,
        backend,
        view=view(quiet),
        serial=local,
        mlflow=not no_mlflow,
        report=report,
        only_runs=only_runs,
        spacing=spacing,
        announce=announce,
    )
    ending = result.ending
    for key, outcome in ending.failed.items():
        if key in {row.run for row in result.plan.rows}:
            first = outcome.message.strip().splitlines()[0] if outcome.message.strip() else ""
            say(f"{key[:8]}: {outcome.failure}: {first}   (crossover logs {key[:8]})")
    if ending.halted:
        say(f"nothing more was started: {ending.halted}")
    if result.behind:
        say(f"MLflow lacks {len(result.behind)} runs or sweeps; `crossover mirror` writes them")
    if ending.interrupted:
        say("stopped; the same command goes on from here")
    for name, headline in result.headlines.items():
        click.echo(f"{name}: {headline}")
        click.echo(f"  report: {result.reports[name]}")
    if result.reports and not no_mlflow:
        where = f" --store {store}" if store != Store.at() else ""
        click.echo(f"  curves: crossover ui{where}")
    sys.stdout.flush()
    return result.exit_code
