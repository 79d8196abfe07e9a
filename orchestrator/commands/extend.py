"""`crossover extend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.common import emit, errors_as_messages, json_option, say, specs_of, store_option
from orchestrator.commands.run import backend_options, execute
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from analysis.crossover.same_n.outcome import Definition


@click.command("extend")
@click.argument("sweep", metavar="SWEEP")
@click.option("--to", required=True, metavar="4x|2.4M", help="A multiple of each cell's horizon, or tokens.")
@click.option("--censored", is_flag=True, help="Only cells whose crossover had not happened by their end.")
@click.option(
    "--definition",
    type=click.Choice(["raw", "best_so_far"]),
    default="raw",
    show_default=True,
    help="Of the crossover, for --censored.",
)
@click.option("--only", multiple=True, metavar="AXIS=VALUE", help="Only cells with this value, repeatable.")
@click.option("--dry-run", is_flag=True, help="Only show what it takes (as --json does).")
@store_option
@backend_options
@json_option
@click.pass_context
@errors_as_messages
def command(
    ctx: click.Context,
    sweep: str,
    to: str,
    censored: bool,
    definition: Definition,
    only: tuple[str, ...],
    dry_run: bool,
    store: Store,
    as_json: bool,
    **options: Any,
) -> None:
    """Train cells of a sweep beyond its horizon: their runs go on, and its report follows.

    What is extended is kept in the store, with the sweep; an end never moves back. `crossover run SWEEP` then
    finds it done.
    """
    from orchestrator.commands.plan import rows, totals
    from orchestrator.planning.drafting import make_plan
    from orchestrator.study.studies import Study

    if censored and only:
        raise click.UsageError("--censored and --only exclude each other")
    study = Study(store, make_plan(specs_of(store, [sweep]), store))
    extension = study.extend(to, only=only, censored=definition if censored else None)
    plan = extension.plan
    if as_json:
        emit({**plan.json(), "extended": [row.key for row in extension.rows]})
    if not extension.rows:
        none = (
            "all ends are there"
            if extension.matches
            else f"no {definition.replace('_', ' ')} crossover is censored"
        )
        say(f"nothing to extend: {none}")
        ctx.exit(0)
    if not as_json:
        click.echo(rows(plan, {row.key for row in extension.rows}))
    if dry_run or as_json:
        say(totals(plan))
        ctx.exit(0)
    extension.keep()
    ctx.exit(execute(store, plan.expansions, **options))
