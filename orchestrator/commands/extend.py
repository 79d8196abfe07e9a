"""`crossover extend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.common import Wrong, emit, guarded, json_option, say, specs_of, store_option
from orchestrator.commands.run import backend_options, execute
from orchestrator.store.store import Store

if TYPE_CHECKING:
    from orchestrator.study.studies import Study


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
@guarded
def command(
    ctx: click.Context,
    sweep: str,
    to: str,
    censored: bool,
    definition: str,
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
    from orchestrator.language.extension import FILE, Extent, written
    from orchestrator.planning.drafting import make_plan
    from orchestrator.study.studies import Study
    from trainers.components.source import parse

    if censored and only:
        raise click.UsageError("--censored and --only exclude each other")
    try:
        Extent.of(to)
    except ValueError as error:
        raise click.UsageError(f"--to {to}: {error}") from None
    (spec,) = specs_of(store, [sweep])
    shorter = make_plan([spec], store)
    matches = _censored(Study(store, shorter), definition) if censored else [_chosen(store, sweep, only)]
    folder = store.sweep(spec.name)
    text = written([{"match": match, "to": to} for match in matches], folder.read(FILE))
    longer = make_plan([spec.with_entries(parse(text, f"{store}/sweeps/{spec.name}/{FILE}"))], store)
    before = {point.key for point in shorter.end_points()}
    changed = [row for row in longer.rows if row.key not in before]
    if as_json:
        emit({**longer.json(), "extended": [row.key for row in changed]})
    if not changed:
        none = (
            f"no {definition.replace('_', ' ')} crossover is censored"
            if not matches
            else "all ends are there"
        )
        say(f"nothing to extend: {none}")
        ctx.exit(0)
    if not as_json:
        click.echo(rows(longer, {row.key for row in changed}))
    if dry_run or as_json:
        say(totals(longer))
        ctx.exit(0)
    folder.write(FILE, text)
    ctx.exit(execute(store, longer.expansions, **options))


def _censored(study: Study, definition: str) -> list[dict[str, Any]]:
    """The cells of which a replicate had not crossed where it ended, each as a condition."""
    from analysis.tables.tables import TableError

    try:
        located = study.crossovers()
    except TableError as error:
        raise Wrong(f"sweep {study.name}: nothing can be told censored yet: {error}") from error
    axes = {point.key: point.written for point in study.end_points()}
    matches: list[dict[str, Any]] = []
    for cell in located.cells:
        if any(o.censored == "right" for o in cell.outcomes[definition]):  # type: ignore[index]
            for row in cell.pair.rows:
                drop = () if study.spec.analysis.pair_over else ("objective",)
                match = {name: value for name, value in axes[row["key"]].items() if name not in drop}
                matches += [match] if match not in matches else []
    return matches


def _chosen(store: Store, sweep: str, only: tuple[str, ...]) -> dict[str, Any]:
    """The conditions of --only as one."""
    (spec,) = specs_of(store, [sweep], (), only)
    return {name: value for condition in spec.only for name, value in condition.plain.items()}
