"""`crossover refine`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import errors_as_messages, specs_of, store_option
from orchestrator.commands.run import backend_options, execute
from orchestrator.store.store import Store
from orchestrator.study.refinement import SPACING


@click.command("refine")
@click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...")
@click.option(
    "--spacing",
    type=click.FloatRange(1.001, 2),
    default=SPACING,
    show_default=True,
    help="Ratio of neighbouring evaluations at a crossing, at most.",
)
@store_option
@backend_options
@click.pass_context
@errors_as_messages
def command(
    ctx: click.Context, sweeps: tuple[str, ...], spacing: float, store: Store, **options: Any
) -> None:
    """Evaluate inside the brackets of these sweeps' crossings, and draw the reports again.

    Weights that were not kept come from training again from the checkpoint before, which gives the same ones.
    What is added stays with the runs; nothing else is trained.
    """
    ctx.exit(execute(store, specs_of(store, sweeps), only_runs=set(), spacing=spacing, **options))
