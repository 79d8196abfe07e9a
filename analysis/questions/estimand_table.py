"""One law under every estimand: the choice that moves an answer more than its interval says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.fitting.fitting import fit
from analysis.fitting.options import ESTIMANDS
from analysis.fitting.result import Fit
from analysis.laws.base import Law
from analysis.tables.frame import Table
from analysis.tables.shown import Block, Grid, Shown, room

if TYPE_CHECKING:
    from analysis.plots.drawing import Drawing


def fit_estimands(
    table: Table, law: str | Law = "chinchilla", *, estimands: Sequence[str] = ESTIMANDS, **options: Any
) -> EstimandTable:
    """Fit one law under every estimand. The result says where another estimand leaves the interval of the
    first."""
    fits = {name: fit(table, law, estimand=name, **options) for name in estimands}
    return EstimandTable(fits)


@dataclass(frozen=True, repr=False)
class EstimandTable(Shown):
    """Fits of one law under several estimands. ``table`` has a row a parameter; ``flags`` says where the
    choice of estimand moves a parameter further than the interval of the first says it can."""

    fits: dict[str, Fit]

    def table(self) -> pd.DataFrame:
        """One row a parameter, one column an estimand."""
        return pd.DataFrame({k: {n: e.value for n, e in f.parameters.items()} for k, f in self.fits.items()})

    def flags(self) -> list[str]:
        """The parameters that another estimand takes out of the first one's interval."""
        first = next(iter(self.fits))
        lead = self.fits[first]
        flags = []
        for name, e in lead.parameters.items():
            if name in lead.frozen or e.value is None:
                continue
            others = {
                k: f.parameters[name].value
                for k, f in self.fits.items()
                if k not in (first, "quantile") and f.converged
            }
            out = {
                k: v
                for k, v in others.items()
                if v is not None
                and not (-math.inf if e.low is None else e.low)
                <= v
                <= (math.inf if e.high is None else e.high)
            }
            if out:
                flags.append(
                    f"{name}: "
                    + ", ".join(f"{k} {v:.4g}" for k, v in out.items())
                    + f" lie outside the {first} interval [{e.low}, {e.high}]: the choice of estimand "
                    f"matters more than sampling error"
                )
        return flags

    def blocks(self) -> Sequence[Block]:
        return [Grid(self.table(), 5, index=True), *(f"! {f}" for f in self.flags())]

    def plot(self) -> Drawing:
        """Each parameter under each estimand, beside the interval of the first."""
        drawing: Drawing = room("plots.checks").estimands(self)
        return drawing
