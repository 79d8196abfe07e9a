"""`crossover plot`: figures of laws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.plots.kinds import KINDS
from orchestrator.commands.common import emit, json_option, say
from orchestrator.commands.fit_options import FitRequest, fit_options
from orchestrator.commands.table_options import method_option, refusals_as_messages, table_argument

if TYPE_CHECKING:
    from analysis.plots.drawing import Drawing
    from orchestrator.store.store import Store


@click.command(
    "plot",
    context_settings={"max_content_width": 110},
    epilog="Kinds: "
    + "; ".join(f"{k}, {v}" for k, v in KINDS.items())
    + ". Crossovers: `crossover locate --plot`.",
)
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@table_argument
@fit_options
@method_option
@click.option(
    "--at", "budget", type=click.FloatRange(0, min_open=True), metavar="C", help="Budget of routes."
)
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FILE", help="Default: KIND.png; .svg and .csv beside."
)
@click.option("--dpi", type=click.IntRange(30, 1200), help="Of the PNG (default: 180).")
@json_option
@refusals_as_messages
def command(
    *,
    kind: str,
    table: str,
    store: Store,
    mlflow: bool,
    method: str,
    budget: float | None,
    to: Path | None,
    dpi: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw a law and its data: PNG, SVG, and the numbers as CSV.

    What lies beyond the data is dashed, intervals are shaded, and every figure reads in greyscale.
    """
    request = FitRequest.of(table, store, mlflow, options)
    if request.estimand == "all" and kind != "estimands":
        raise click.UsageError("--estimand all is for `crossover plot estimands`")
    drawing = _drawing(kind, request, method, budget)
    plot = drawing.write(to or Path(f"{kind}.png"), dpi)
    files = [str(f) for f in (plot.png, plot.svg, plot.csv)]
    if as_json:
        emit({"kind": kind, "title": plot.title, "caption": plot.caption, "files": files})
        return
    for file in files:
        click.echo(file)
    say(plot.caption)


def _drawing(kind: str, request: FitRequest, method: str, budget: float | None) -> Drawing:
    rows = {k: request.given[k] for k in ("columns", "where", "drop_highest")}
    if kind == "isoflop":
        from analysis.questions.isoflop_curves import isoflop
        from analysis.tables.rows import chosen_rows

        return isoflop(chosen_rows(request.rows, **rows).rows, method=method).plot()
    if kind == "routes":
        from analysis.questions.classic_routes import approaches

        if budget is None:
            raise click.UsageError("routes need --at C, the budget they are compared at")
        source = click.get_current_context().get_parameter_source("estimand")
        chosen = source is click.core.ParameterSource.COMMANDLINE
        aims = {k: request.given[k] for k in ("estimand", "delta", "tau")} if chosen else {}
        return approaches(request.rows, budget, law=request.law, **aims, **rows).plot()
    if kind == "estimands":
        from analysis.questions.estimand_table import fit_estimands

        options = request.options()
        options.pop("estimand")
        return fit_estimands(request.rows, request.law, **options).plot()
    if kind == "heldout" and request.given["holdout"] is None and request.given["holdout_table"] is None:
        raise click.UsageError("heldout needs --holdout, such as --holdout 'C > 1e21', or --holdout-file")
    own: dict[str, Any] = {"allocation": {"method": method}, "heldout": {"starts": request.given["starts"]}}
    return request.fit().plot(kind, **own.get(kind, {}))
