"""The law of the crossing's place from a study: censored regression of log(place) on log U, log N and axes.

    log D* = b0 + bU log U + bN log N + ... + cell + replicate + residual

Replicates that had not crossed where they ended enter as bounds, through the probability of lying beyond it.
Cells scatter about the law (0.06 in log units in prototypes; ignoring it brings 95 % intervals down to 63-70
%) and replicates are blocks, for their subsets are nested. Cell and replicate effects and the coefficients
are integrated out by Laplace's approximation (exact where nothing is censored), the three standard deviations
over a grid: intervals are quantiles of the resulting mixture of normals, which has Student-like tails where
cells are few (Rue, Martino & Chopin 2009, doi:10.1111/j.1467-9868.2008.00700.x; Tobin 1958 for the bounds).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from analysis.crossover.axes import DISTINCT
from analysis.crossover.places.cure import Cure, compare, merged, posteriors
from analysis.crossover.places.identification import identify
from analysis.crossover.places.laplace import Rows, effects, posterior
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.tables.wording import human

Array = NDArray[np.float64]

SCALE = 0.2
"""Scale of the half-normal weight on each standard deviation, log units. Prototypes saw .05 to .09."""

SHRINK = 0.7
"""Power of 1/sd in the weight on each standard deviation: with 0 (a flat weight) 95 % intervals of slopes
cover up to 99 % at five replicates, with 1 down to 91 %. Measured: ``benchmarks.coverage_crossover``."""

GRID = np.geomspace(0.004, 1.2, 11)
"""Standard deviations tried for cells, replicates and residuals, log units."""

_EPOCHS_SLOPE = 1.0  # epochs = tokens / U


@dataclass(frozen=True)
class Coefficient:
    """A slope (d log place / d log variable, or the log ratio to an axis's first value) with its interval."""

    name: str
    value: float
    low: float
    high: float

    def decided(self) -> int:
        """+1 or -1 where the interval excludes zero, else 0."""
        return int(np.sign(self.value)) if self.low * self.high > 0 else 0


@dataclass(frozen=True)
class Miss:
    """A cell whose own interval (or bound) ``low`` to ``high`` does not hold the place that the law has
    there."""

    cell: str
    low: float | None
    high: float | None
    law: float

    def __str__(self) -> str:
        low, high = ("" if end is None else human(end) for end in (self.low, self.high))
        own = f"[{low}, {high}]" if low and high else f"> {low}" if low else f"< {high}"
        return f"{self.cell}: {human(self.law)} by the law, {own} by its own runs"

    def json(self) -> dict[str, Any]:
        """The cell as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class CensoredLaw:
    """A fitted law of the crossing's place, bounds included.

    The laws ``crossover_tokens`` and ``crossover_epochs`` of :mod:`analysis.laws` are the same products of
    powers for a plain fit, whose rows must all be places that were seen.

    Attributes:
        mean, covariance, weight: [G, p], [G, p, p] and [G], the mixture over the grid of standard deviations.
        columns: names of the p coefficients, in variables centred at ``centre``.
        levels: the values of each further axis, the first being the one that contrasts are against.
        cell_sd, replicate_sd, residual_sd: posterior means of the standard deviations, log units.
        observed, censored: how many places and bounds there were, in ``cells`` cells.
        constant: variable without a column -> its least and largest value among the rows of the law.
        confounded: columns whose slope is not told from that of an effect without one.
        dropped: the coefficients that the places do not identify.
        left_out: the bounds that left with them.
        misses: the cells of the study that the law does not pass through, see :func:`misses`.
        cure: the comparison with a law under which some cells never cross, if it was asked for.
    """

    definition: str
    unit: str
    columns: tuple[str, ...]
    centre: dict[str, float]
    levels: dict[str, list[Any]]
    mean: Array
    covariance: Array
    weight: Array
    cell_sd: float
    replicate_sd: float
    residual_sd: float
    sd_grid: Array
    observed: int
    censored: int
    cells: int
    confidence: float
    assumption: str
    dropped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    constant: dict[str, tuple[float, float]] = field(default_factory=dict)
    confounded: tuple[str, ...] = ()
    misses: tuple[Miss, ...] = ()
    cure: Cure | None = None

    def coefficient(self, name: str) -> Coefficient | None:
        """The slope of ``U`` or ``N``, or an axis's contrast; None where the study does not identify it."""
        if name not in self.columns or name in self.confounded:
            return None
        pick = np.zeros(len(self.columns))
        pick[self.columns.index(name)] = 1.0
        return Coefficient(name, *self._mixture(pick, 0.0))

    def coefficients(self) -> list[Coefficient]:
        """All slopes and contrasts."""
        slopes = [self.coefficient(c) for c in self.columns if c != "1"]
        return [c for c in slopes if c is not None]

    def remarks(self) -> list[str]:
        """What the law does not identify, which bounds it therefore leaves out, and which cells it misses."""
        return [*self.dropped, *self.left_out, *(f"misses {miss}" for miss in self.misses)]

    def covers(self, **at: Any) -> bool:
        """Whether the law speaks of a place at ``U``, ``N`` and further axes: whether a variable whose slope
        it lacks has a value, and an axis a level, of the rows that it was fitted to."""
        for name, value in at.items():
            if name in self.constant and value:
                low, high = self.constant[name]
                if not low / (1 + DISTINCT) <= value <= high * (1 + DISTINCT):
                    return False
            elif name in self.levels and str(value) not in self.levels[name]:
                return False
        return True

    def contrast(self, axis: str, value: Any, against: Any) -> Coefficient | None:
        """The log ratio of the places at two values of an axis; None where the study does not identify it."""
        kinds = self.levels.get(axis, [])
        pick = np.zeros(len(self.columns))
        for sign, level in ((1.0, str(value)), (-1.0, str(against))):
            if level not in kinds:
                return None
            if level == kinds[0]:
                continue
            name = f"{axis}={level}"
            if self.coefficient(name) is None:
                return None
            pick[self.columns.index(name)] += sign
        return Coefficient(f"{axis}={value}", *self._mixture(pick, 0.0))

    def predict(self, new_cell: bool = False, **at: Any) -> tuple[float, float, float]:
        """(place, low, high) at U=, N= and further axes; ``new_cell`` adds the scatter of cells to the
        interval.

        A variable that the law lacks is refused if given (the study cannot tell), one left out is at its
        centre.
        """
        pick = np.zeros(len(self.columns))
        pick[0] = 1.0
        for name, value in at.items():
            if name in self.centre and name in self.columns:
                pick[self.columns.index(name)] = math.log(value) - self.centre[name]
            elif name in self.levels:
                column = f"{name}={value}"
                if column in self.columns:
                    pick[self.columns.index(column)] = 1.0
                elif str(value) != self.levels[name][0]:
                    raise ValueError(
                        f"{name}: {value!r} is not one of {', '.join(map(str, self.levels[name]))}"
                    )
            else:
                raise ValueError(
                    f"the law of this study does not vary {name!r}; it has {', '.join(self.columns[1:])}"
                )
        value, low, high = self._mixture(pick, 1.0 if new_cell else 0.0)
        return math.exp(value), math.exp(low), math.exp(high)

    def _mixture(self, pick: Array, extra: float) -> tuple[float, float, float]:
        """Median and central interval of a linear form."""
        centre = self.mean @ pick
        variance = np.einsum("p,gpq,q->g", pick, self.covariance, pick) + extra * self.sd_grid[:, 0] ** 2
        sd = np.sqrt(np.maximum(variance, 1e-18))
        tail = (1 - self.confidence) / 2
        reach = 60.0
        low_end, high_end = float((centre - reach * sd).min()), float((centre + reach * sd).max())

        def quantile(q: float) -> float:
            def excess(v: float) -> float:
                return float(self.weight @ special.ndtr((v - centre) / sd)) - q

            return float(optimize.brentq(excess, low_end, high_end, xtol=1e-9))

        return quantile(0.5), quantile(tail), quantile(1 - tail)

    def json(self) -> dict[str, Any]:
        """The law as plain values."""
        return {
            "definition": self.definition,
            "unit": self.unit,
            "observed": self.observed,
            "censored": self.censored,
            "cells": self.cells,
            "cell_sd": self.cell_sd,
            "replicate_sd": self.replicate_sd,
            "residual_sd": self.residual_sd,
            "confidence": self.confidence,
            "assumption": self.assumption,
            "dropped": list(self.dropped),
            "left_out": list(self.left_out),
            "misses": [m.json() for m in self.misses],
            "cure": None if self.cure is None else self.cure.json(),
            "coefficients": [
                {"name": c.name, "value": c.value, "low": c.low, "high": c.high} for c in self.coefficients()
            ],
        }


def observations(crossovers: SameNCrossovers, definition: str, unit: str = "tokens") -> pd.DataFrame:
    """One row a replicate: ``y`` log(place or bound), ``side`` (0 seen, +1 it lies above, -1 below),
    ``cell``, ``seed``, ``U``, ``N`` and the axes. A crossing that is not robust enters as what it is worth:
    seen, but flagged."""
    rows = []
    for index, cell in enumerate(crossovers.cells):
        for twins, outcome in zip(cell.pair.twins, cell.outcomes[definition], strict=True):  # type: ignore[index]
            place = outcome.x[unit]
            if not place > 0 or not math.isfinite(place):
                continue
            side = {None: 0, "right": 1, "left": -1}[outcome.censored]
            rows.append(
                {
                    **cell.pair.axes,
                    "cell": index,
                    "seed": twins.seed,
                    "y": math.log(place),
                    "side": side,
                    "U": float(twins.first["U"]),
                    "N": float(twins.first["N"]),
                    "robust": outcome.robust,
                }
            )
    return pd.DataFrame(rows)


def crossing_law(
    crossovers: SameNCrossovers, definition: str = "raw", unit: str = "tokens", cure: bool = False
) -> CensoredLaw | None:
    """The law of the crossing on a study; None where fewer than three places in two cells were seen.
    ``cure``: see :func:`fit_places`."""
    data = observations(crossovers, definition, unit)
    if data.empty or (data["side"] == 0).sum() < 3 or data.loc[data["side"] == 0, "cell"].nunique() < 2:
        return None
    axes = tuple(crossovers.cells[0].pair.axes)
    law = fit_places(data, definition, unit, crossovers.confidence, axes, cure)
    return replace(law, misses=misses(law, crossovers))


def misses(law: CensoredLaw, crossovers: SameNCrossovers) -> tuple[Miss, ...]:
    """The cells of which the law speaks, and whose own interval or bound its line does not pass through."""
    out = []
    for c in crossovers.select(law.definition, law.unit):
        at = {"U": c.U, "N": c.N, **c.axes}
        if (c.low is None and c.high is None) or not law.covers(**at):
            continue
        known = {k: v for k, v in at.items() if k in law.centre or k in law.levels}
        place = law.predict(**known)[0]
        if (c.low is not None and place < c.low) or (c.high is not None and place > c.high):
            out.append(Miss(c.cell, c.low, c.high, place))
    return tuple(out)


def fit_places(
    data: pd.DataFrame,
    definition: str = "raw",
    unit: str = "tokens",
    confidence: float = 0.95,
    axes: Sequence[str] = (),
    cure: bool = False,
) -> CensoredLaw:
    """Fit to a table with columns ``y``, ``side``, ``cell``, ``seed``, ``U``, ``N`` and categorical ``axes``.

    ``cure``: allow a fraction of cells that never cross, compare it with none (:attr:`CensoredLaw.cure`),
    and average over it: places are then those of cells that do cross.
    """
    basis = identify(data, axes)
    data, design = data[basis.rows], basis.design
    rows = Rows(data["y"].to_numpy(float), data["side"].to_numpy())
    side, blocks = rows.side, effects(data)
    used = np.array([*blocks.used, True])
    grid = np.array(list(itertools.product(*(GRID if u else [1e-9] for u in used))))
    comparison = None
    if cure:
        every = posteriors(design, blocks, rows, grid)
        comparison = compare(every, blocks, design.shape[1] + int(used.sum()), len(side), confidence)
        mixture = merged(every)
    else:
        mixture = posterior(design, blocks, rows, grid)
    grid = grid[mixture.kept]
    # Half-normal, with a power of 1/sd that calibrates the intervals; the grid is in logarithms.
    prior = -0.5 * (grid / SCALE) ** 2 + (1 - SHRINK) * np.log(grid)
    evidence = mixture.evidence + np.where(used, prior, 0.0).sum(axis=1)
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    keep = weight > 1e-7
    cells = int(data["cell"].nunique())
    words = (
        f"log-linear law; {int((side == 0).sum())} places seen and {int((side != 0).sum())} bounds in "
        f"{cells} cells; "
        f"normal scatter of cells, replicate blocks and residuals, integrated over half-normal({SCALE:g}) "
        "weights"
    )
    if cure:
        words += "; a fraction of cells may never cross, the same at every N and U"
    sd = weight @ grid
    return CensoredLaw(
        definition=definition,
        unit=unit,
        columns=basis.columns,
        centre=basis.centre,
        levels=basis.levels,
        constant=basis.constant,
        confounded=basis.confounded,
        mean=mixture.mean[keep],
        covariance=mixture.covariance[keep],
        weight=weight[keep] / weight[keep].sum(),
        cell_sd=float(sd[0]) if blocks.used[0] else 0.0,
        replicate_sd=float(sd[1]) if blocks.used[1] else 0.0,
        residual_sd=float(sd[2]),
        sd_grid=grid[keep],
        observed=int((side == 0).sum()),
        censored=int((side != 0).sum()),
        cells=cells,
        confidence=confidence,
        assumption=words,
        dropped=basis.dropped,
        left_out=basis.left_out,
        cure=comparison,
    )
