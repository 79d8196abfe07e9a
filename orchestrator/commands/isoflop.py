"""`crossover isoflop`: the best size at each budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.fitting.options import ESTIMANDS
from orchestrator.commands.common import emit, json_option
from orchestrator.commands.table_options import (
    by_option,
    groups_of,
    labelled,
    method_option,
    pairs,
    plot_option,
    read_rows,
    refusals_as_messages,
    row_options,
    table_argument,
)
from orchestrator.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


@click.command("isoflop")
@table_argument
@row_options
@method_option
@click.option(
    "--estimand",
    type=click.Choice(ESTIMANDS),
    help="What of the losses curves and laws estimate (default: curves log_mse, laws huber).",
)
@click.option(
    "--window",
    type=click.FloatRange(1, min_open=True),
    metavar="FACTOR",
    help="Use sizes within this factor of a budget's lowest run (default: chosen by a residual test).",
)
@by_option
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    metavar="SHARE",
    help="Budgets closer than this are one.",
)
@click.option(
    "--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True
)
@click.option(
    "--plain-loss", is_flag=True, help="Curves through the loss, not its logarithm; losses may be negative."
)
@click.option(
    "--at",
    "budget",
    type=click.FloatRange(0, min_open=True),
    metavar="C",
    help="All three classic routes side by side, for this budget.",
)
@plot_option
@json_option
@refusals_as_messages
def command(
    *,
    table: str,
    store: Store,
    mlflow: bool,
    columns: tuple[str, ...],
    where: str | None,
    drop_highest: int,
    method: str,
    estimand: str | None,
    window: float | None,
    by: str | None,
    tolerance: float,
    level: float,
    plain_loss: bool,
    budget: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """The best size at each compute budget of a table, where it is bracketed, and how it grows with compute.

    Only annealed end points count, where the table has a column `annealed`. A budget whose lowest run is its
    smallest or largest is refused, and says which sizes to add. Columns: N, loss and one of C or D.
    """
    chosen = {"where": where, "drop_highest": drop_highest, "columns": pairs(columns, "--map")}
    plain = plain_loss or estimand == "mse"
    options = {"method": method, "estimand": estimand, "window": window, "log_loss": not plain}
    options |= {"tolerance": tolerance, "level": level}
    answers = {
        label: _answer(rows, label, chosen, options, budget, plot)
        for label, rows in groups_of(read_rows(table, store, mlflow), by, where).items()
    }
    if as_json:
        records = {label: record for label, (record, _) in answers.items()}
        emit(records[""] if by is None else {"by": by, "isoflops": records})
        return
    paragraphs = ["\n".join([*([f"== {k}"] if k else []), *text]) for k, (_, text) in answers.items()]
    click.echo("\n\n\n".join(paragraphs))


def _answer(
    rows: pd.DataFrame,
    label: str,
    chosen: dict[str, Any],
    options: dict[str, Any],
    budget: float | None,
    plot: Path | None,
) -> tuple[dict[str, Any], list[str]]:
    """What the command says of one group of rows: as JSON, and as paragraphs."""
    from analysis.questions.isoflop_curves import isoflop
    from analysis.tables.rows import chosen_rows

    kept = chosen_rows(rows, **chosen, positive_loss=options["log_loss"])
    iso = isoflop(kept.rows, **options)
    iso.warnings[:0] = kept.notes
    exponents = None if iso.exponents is None else {k: e.as_dict() for k, e in iso.exponents.items()}
    outside = iso.left_out.reset_index(names="row")
    record: dict[str, Any] = {
        "method": iso.method,
        "estimand": iso.estimand.label,
        "window": iso.window,
        "minima": iso.minima.to_dict("records"),
        "exponents": exponents,
        "coefficient": None if iso.growth is None else iso.growth.size,
        "coefficient_D": None if iso.growth is None else iso.growth.tokens,
        "refused": iso.refused.to_dict("records"),
        "outside": outside.to_dict("records"),
        "n": len(kept.rows),
        "excluded": kept.excluded,
        "warnings": iso.warnings,
    }
    text = [str(iso), *(f"{len(kept.excluded)} rows left out" for _ in kept.excluded[:1])]
    if budget is not None:
        from analysis.questions.classic_routes import approaches

        aim = options["estimand"] or (None if options["log_loss"] else "mse")
        aims: dict[str, Any] = {} if aim is None else {"estimand": aim}
        routes = approaches(kept.rows, budget, **aims)
        record["approaches"] = {
            "C": budget,
            "routes": [{"route": k, **r} for k, r in routes.table.to_dict("index").items()],
        }
        text.append(str(routes))
    if plot is not None:
        drawn = iso.plot().write(labelled(plot, label))
        record["figures"] = [str(p) for p in (drawn.png, drawn.svg, drawn.csv)]
        text.append("figure: " + "  ".join(record["figures"]))
    return record, text
