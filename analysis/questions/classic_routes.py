"""The compute front (Approach 1) and the three classic routes side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.fitting.estimands import get_estimand
from analysis.fitting.estimate import Estimate
from analysis.fitting.fitting import fit
from analysis.questions.isoflop_curves import Growth, IsoFlop, end_points, growth, isoflop
from analysis.questions.optimum import allocation_exponents, optimal
from analysis.tables.frame import FitError, Table
from analysis.tables.rows import chosen_rows
from analysis.tables.shown import Block, Grid, Shown, room

if TYPE_CHECKING:
    from analysis.plots.drawing import Drawing


@dataclass(frozen=True)
class Envelope:
    """The lower envelope of loss over compute. ``points``: rows on it (C, N, D, loss, bracketed).
    ``growth``: how N* and D* of the bracketed points grow with C, or None. ``warnings`` say which points were
    refused as optima."""

    points: pd.DataFrame
    growth: Growth | None
    warnings: list[str]

    @property
    def exponents(self) -> dict[str, Estimate] | None:
        """a and b of N* ~ C**a, D* ~ C**b, with t intervals."""
        return None if self.growth is None else self.growth.exponents


def pareto(compute: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Indices of the points that no cheaper or equally cheap one equals or beats, in order of compute."""
    order = np.lexsort((loss, compute))
    best, keep = math.inf, []
    for i in order:
        if loss[i] < best:
            keep.append(int(i))
            best = float(loss[i])
    return np.array(keep, dtype=int)


def envelope(
    table: Table,
    *,
    columns: Mapping[str, str] | None = None,
    per_decade: int = 4,
    level: float = 0.95,
    positive_loss: bool = True,
) -> Envelope:
    """The envelope: the lowest loss at each budget, and the size that reached it.

    Budgets are bins of ``1/per_decade`` decades, so that many runs compete in each. Only annealed end points
    enter (if the table has a column ``annealed``). A bin whose best N is the smallest or largest tried there
    is not bracketed: it stays on the front, but is refused as an optimum.
    """
    data, warnings = end_points(table, columns, positive_loss)
    bins = np.floor(np.log10(data["C"].to_numpy()) * per_decade).astype(int)
    rows = []
    for _, group in data.groupby(bins):
        top = group.iloc[int(np.argmin(group["loss"].to_numpy()))]
        sizes = np.sort(group["N"].unique())
        rows.append(
            {
                "C": top["C"],
                "N": top["N"],
                "D": top["D"],
                "loss": top["loss"],
                "bracketed": bool(len(sizes) >= 3 and sizes[0] < top["N"] < sizes[-1]),
            }
        )
    points = pd.DataFrame(rows)
    points = points.iloc[pareto(points["C"].to_numpy(), points["loss"].to_numpy())].reset_index(drop=True)
    loose = points[~points["bracketed"]]
    if len(loose):
        warnings.append(
            f"{len(loose)} of {len(points)} points of the front have their best N at an extreme of those "
            f"tried: "
            "not bracketed, refused as optima"
        )
    used = points[points["bracketed"]]
    if len(used) < 3:
        warnings.append(f"{len(used)} bracketed points; a growth law needs 3")
        return Envelope(points, None, warnings)
    return Envelope(points, growth(used, level), warnings)


@dataclass(frozen=True, repr=False)
class Approaches(Shown):
    """Approaches 1 (envelope), 2 (isoFLOP) and 3 (law) at one budget. ``table``: a, its interval, b, N, D,
    D/N, and a note a route; routes that could not be taken say why instead of giving a number."""

    compute: float
    table: pd.DataFrame

    def blocks(self) -> Sequence[Block]:
        return [f"C = {self.compute:.4g}", Grid(self.table, index=True, missing="-")]

    def plot(self) -> Drawing:
        """The exponent of N* and the tokens per parameter by each route."""
        drawing: Drawing = room("plots.checks").routes(self)
        return drawing


def approaches(
    table: Table,
    compute: float,
    *,
    columns: Mapping[str, str] | None = None,
    law: str = "chinchilla",
    where: str | None = None,
    drop_highest: int = 0,
    **options: Any,
) -> Approaches:
    """The three classic routes side by side (Hoffmann et al. 2022, section 3), each with its interval or its
    refusal.

    ``where`` and ``drop_highest`` choose the same rows for all three; other options are those of ``fit``, of
    which an ``estimand`` holds for the curves, too.
    """
    positive = get_estimand(options.get("estimand", "huber")).log
    chosen = chosen_rows(table, columns, where=where, drop_highest=drop_highest, positive_loss=positive)
    table = chosen.rows
    columns = {"N": "N", "C": "C", "D": "D", "loss": "loss"}
    rows: dict[str, dict[str, Any]] = {}

    def take(name: str, grown: Growth | None, note: str) -> None:
        size = tokens = None
        if grown is not None:
            size, tokens = grown.size_at(compute), grown.tokens_at(compute)
        enter(name, None if grown is None else grown.exponents, size, tokens, note)

    def enter(
        name: str,
        exponents: Mapping[str, Estimate] | None,
        size: float | None,
        tokens: float | None,
        note: str,
    ) -> None:
        a, b = (exponents["a"], exponents["b"]) if exponents else (Estimate(), Estimate())
        rows[name] = {
            "a": a.value,
            "a_low": a.low,
            "a_high": a.high,
            "b": b.value,
            "N": size,
            "D": tokens,
            "D/N": None if size is None or tokens is None else tokens / size,
            "note": note,
        }

    try:
        lowest = envelope(table, columns=columns, positive_loss=positive)
        take("1 envelope", lowest.growth, "; ".join(lowest.warnings))
    except FitError as error:
        take("1 envelope", None, str(error))
    aims = {k: options[k] for k in ("estimand", "delta", "tau") if k in options}
    for method in ("parabola", "cubic", "law"):
        try:
            iso: IsoFlop = isoflop(table, columns=columns, method=method, log_loss=positive, **aims)
            refused = [f"{len(iso.refused)} budgets refused"] if len(iso.refused) else []
            window = [] if math.isinf(iso.window) else [f"sizes within a factor {iso.window:g}"]
            take(f"2 isoFLOP {method}", iso.growth, "; ".join([*iso.warnings, *window, *refused]))
        except FitError as error:
            take(f"2 isoFLOP {method}", None, str(error))
    try:
        result = fit(table, law, columns=columns, **options)
        best = optimal(result, compute)
        exponents = allocation_exponents(result) if result.law.separable else None
        enter(f"3 {law}", exponents, best.N.value, best.D.value, "; ".join(result.warnings))
    except (ValueError, RuntimeError) as error:
        enter(f"3 {law}", None, None, None, str(error))
    return Approaches(compute, pd.DataFrame.from_dict(rows, orient="index"))
