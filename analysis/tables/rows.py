"""The rows of a table that a route without a law uses: N, D, C and loss under those names, and what
was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.laws import get_law
from analysis.tables.frame import Table, prepare, read_table, row_labels


@dataclass(frozen=True)
class Chosen:
    """``rows``: N, D, C, loss (and ``annealed``), indexed by the table's rows. ``excluded``: row and
    reason."""

    rows: pd.DataFrame
    excluded: list[dict[str, object]]
    notes: list[str]


def chosen_rows(
    table: Table,
    columns: Mapping[str, str] | None = None,
    *,
    where: str | None = None,
    drop_highest: int = 0,
    positive_loss: bool = True,
) -> Chosen:
    """Columns under their standard names, filtered as for a fit. FitError where there is none, or no row."""
    frame = read_table(table)
    data = prepare(
        frame,
        get_law("chinchilla"),
        columns=columns,
        where=where,
        drop_highest=drop_highest,
        log_target=positive_loss,
    )
    rows = pd.DataFrame({**data.x, "loss": data.y}, index=data.rows)
    if "annealed" in frame.columns:
        rows["annealed"] = frame["annealed"].set_axis(row_labels(frame)).loc[data.rows].to_numpy()
    return Chosen(rows, data.excluded, [*data.notes, *data.warnings])
