"""`crossover isoflop`: the best size at each budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from orchestrator.commands.common import emit, json_option
from orchestrator.commands.table_options import (
    method_option,
    pairs,
    plot_option,
    read_rows,
    refusing,
    row_options,
    table_argument,
)
from orchestrator.store.store import Store


@click.command("isoflop")
@table_argument
@row_options
@method_option
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
@refusing
def command(
    *,
    table: str,
    store: Store,
    mlflow: bool,
    columns: tuple[str, ...],
    where: str | None,
    drop_highest: int,
    method: str,
    tolerance: float,
    level: float,
    plain_loss: bool,
    budget: float | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """The best size at each compute budget of a table, where it is bracketed, and how it grows with compute.

    Only annealed end points count, where the table has a column `annealed`. A budget without an
    interior minimum is
    refused, and says which sizes to add. Columns: N, loss and one of C or D.
    """
    from analysis.questions.isoflop_curves import isoflop
    from analysis.tables.rows import chosen_rows

    rows = read_rows(table, store, mlflow)
    named = pairs(columns, "--map")
    kept = chosen_rows(rows, named, where=where, drop_highest=drop_highest, positive_loss=not plain_loss)
    iso = isoflop(kept.rows, method=method, tolerance=tolerance, level=level, log_loss=not plain_loss)
    iso.warnings[:0] = kept.notes
    record: dict[str, Any] = {
        "method": iso.method,
        "minima": iso.minima.to_dict("records"),
        "exponents": (None if iso.exponents is None else {k: e.as_dict() for k, e in iso.exponents.items()}),
        "coefficient": iso.coefficient,
        "refused": iso.refused.to_dict("records"),
        "n": len(kept.rows),
        "excluded": kept.excluded,
        "warnings": iso.warnings,
    }
    text = [str(iso), *(f"{len(kept.excluded)} rows left out" for _ in kept.excluded[:1])]
    if budget is not None:
        from analysis.questions.classic_routes import approaches

        routes = approaches(kept.rows, budget)
        record["approaches"] = {
            "C": budget,
            "routes": [{"route": k, **r} for k, r in routes.table.to_dict("index").items()],
        }
        text.append(str(routes))
    if plot is not None:
        drawn = iso.plot().write(plot)
        record["figures"] = [str(p) for p in (drawn.png, drawn.svg, drawn.csv)]
        text.append("figure: " + "  ".join(record["figures"]))
    if as_json:
        emit(record)
    else:
        click.echo("\n".join(text))
