"""Simulated studies of the shapes that studies have, as tables of whole curves, with their true places.

In each, an autoregressive arm falls and over-fits, and a masked-diffusion arm falls slowly; they meet at a
place that scatters between cells, between replicates' blocks (nested subsets) and within. On top lie training
noise, correlated between evaluations, and the error of the validation text, which all runs share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Cell = tuple[float, float]

SLOPES = {"U": 0.6, "N": -0.4}
SIZES = (4e4, 1.9e5)
BUDGETS = tuple(float(u) for u in np.geomspace(5e3, 4e4, 4))
SPACING = 1.12
STEEPNESS = 0.6
"""Nats per unit of log tokens at which the arms' difference falls through zero, about."""


@dataclass(frozen=True)
class Shape:
    """A kind of study.

    Attributes:
        cells: (U, N) of each; ``within``: the scatter of replicates in each (its last repeats), ``block``
            what the cells of a replicate share, ``cell_sd`` that of cells about the law, all log units.
        horizon, start: log tokens at which a cell's runs end and are first evaluated, from its median place.
        jitter: training noise of a run, nats, with ``correlation`` between evaluations.
        text: error of the difference from the validation text, nats.
    """

    cells: tuple[Cell, ...] = tuple((u, n) for u in BUDGETS for n in SIZES)
    within: tuple[float, ...] = (0.08,)
    block: float = 0.05
    cell_sd: float = 0.0
    horizon: Callable[[Cell, float], float] = lambda cell, middle: middle + 0.7
    start: Callable[[Cell, float], float] = lambda cell, middle: middle - 1.6
    jitter: float = 0.005
    correlation: float = 0.5
    text: float = 0.006

    def scatter(self, cell: int) -> float:
        """The scatter of replicates within a cell."""
        return self.within[min(cell, len(self.within) - 1)]


def middle(cell: Cell) -> float:
    """Log of the median place."""
    u, n = cell
    return 13.0 + SLOPES["U"] * math.log(u / 1e4) + SLOPES["N"] * math.log(n / 1.9e5)


_THIRD = float(np.quantile([middle((u, n)) for u in BUDGETS for n in SIZES], 2 / 3))
_LARGE = tuple((u, SIZES[1]) for u in BUDGETS)

SHAPES: dict[str, Shape] = {
    "all cells cross": Shape(),
    "a third of the cells censored": Shape(cell_sd=0.06, horizon=lambda cell, at: _THIRD),
    "cells scatter .15 about the law": Shape(cell_sd=0.15, horizon=lambda cell, at: _THIRD + 0.3),
    "a size never crosses": Shape(
        cell_sd=0.06, horizon=lambda cell, at: at + (0.7 if cell[1] > 1e5 else -0.8)
    ),
    "cells ahead from the start": Shape(
        cell_sd=0.06, start=lambda cell, at: max(at - 1.6, middle((BUDGETS[1], SIZES[1])) + 0.25)
    ),
    "unequal scatter": Shape(cells=_LARGE[:3], within=(0.02, 0.05, 0.15), block=0.0),
    "unequal scatter, nested": Shape(cells=_LARGE[:3], within=(0.02, 0.05, 0.15), block=0.04),
    "text error above training scatter": Shape(within=(0.02,), block=0.01, text=0.05, jitter=0.002),
    "one cell": Shape(cells=_LARGE[1:2]),
}


def noise(rng: np.random.Generator, sd: float, correlation: float, shape: tuple[int, int]) -> Array:
    """[runs, evaluations] a first-order autoregression of standard deviation ``sd``."""
    fresh = rng.normal(0, sd, shape)
    out = fresh.copy()
    for k in range(1, shape[1]):
        out[:, k] = correlation * out[:, k - 1] + math.sqrt(1 - correlation**2) * fresh[:, k]
    return out


def curves_of(x: Array, place: float) -> tuple[Array, Array]:
    """Losses of both arms at log tokens ``x``, which meet at ``place``."""
    fall = np.maximum(place - 0.9 - x, 0)
    rise = np.maximum(x - place + 0.9, 0)
    first = 2.5 + 0.5 * fall + 0.32 * rise**1.3
    return first, 2.5 + 0.32 * 0.9**1.3 - 0.3 * (x - place)


def simulate(
    shape: Shape, rng: np.random.Generator, replicates: int
) -> tuple[pd.DataFrame, pd.DataFrame, Array]:
    """Tables ``runs`` and ``curves`` of a study, and [cells] its true log places."""
    blocks = rng.normal(0, shape.block, replicates)
    text = float(rng.normal(0, shape.text))
    truth = np.array([middle(cell) for cell in shape.cells]) + rng.normal(0, shape.cell_sd, len(shape.cells))
    runs, curves = [], []
    for i, cell in enumerate(shape.cells):
        middle_ = middle(cell)
        x = np.arange(shape.start(cell, middle_), shape.horizon(cell, middle_), math.log(SPACING))
        for r in range(replicates):
            place = truth[i] + blocks[r] + rng.normal(0, shape.scatter(i))
            jitter = noise(rng, shape.jitter, shape.correlation, (2, len(x)))
            both = zip(("autoregressive", "masked_diffusion"), curves_of(x, place), (0.0, text), strict=True)
            for arm, (objective, loss, shift) in enumerate(both):
                run = f"{objective}-{i}-{r}"
                runs.append(
                    {"run": run, "objective": objective, "seed": r, "size": f"{cell[1]:g}", "budget": cell[0]}
                    | {"U": cell[0], "N": cell[1], "likelihood": "exact", "state": "done"}
                )
                value = loss + shift + jitter[arm]
                curves.append(
                    pd.DataFrame(
                        {"run": run, "step": np.arange(len(x)), "tokens": np.exp(x), "flops": np.exp(x)}
                        | {"nll_a": value, "nll_b": value, "mc_se_b": 0.0}
                        | {f"se_{half}": shape.text / math.sqrt(2) for half in "ab"}
                    )
                )
    return pd.DataFrame(runs), pd.concat(curves, ignore_index=True), truth
