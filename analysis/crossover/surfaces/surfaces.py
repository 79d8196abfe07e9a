"""A law along an axis: its values for many parameter draws, and its least value over N where N is free."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from analysis.fitting.result import Fit
from analysis.laws.base import Array, Law

SIZES = 49
_CHUNK = 3_000_000


def tried_sizes(first: Fit, second: Fit) -> Array:
    """[M] log N searched: thirtyfold beyond the sizes of both fits, or 1e4 to 1e13."""
    columns = [f.data["N"].to_numpy(float) for f in (first, second) if f.data is not None and "N" in f.data]
    if not columns:
        return np.linspace(math.log(1e4), math.log(1e13), 2 * SIZES)
    every = np.concatenate(columns)
    return np.linspace(math.log(every.min() / 30), math.log(every.max() * 30), SIZES)


def surface(
    law: Law, natural: Array, along: str, grid: Array, fixed: Mapping[str, float], sizes: Array | None
) -> tuple[Array, Array | None]:
    """[S, K] values of a law along the axis, and [S, K] log N of the best size where N is free."""
    theta = law.to_internal(natural)
    if sizes is None:
        return _evaluate(law, theta, along, grid, fixed, None), None
    m = len(sizes)
    rows = max(1, _CHUNK // (m * len(grid)))
    values, best = [], []
    for start in range(0, len(theta), rows):
        part = theta[start : start + rows]
        c, n = np.repeat(grid, m), np.tile(sizes, len(grid))
        table = _evaluate(law, part, along, c, fixed, n).reshape(len(part), len(grid), m)
        table = np.where(np.isfinite(table), table, np.inf)
        least, at = _vertex(table, sizes)
        values.append(least)
        best.append(at)
    value = np.concatenate(values)
    return np.minimum.accumulate(value, axis=1), np.concatenate(best)


def _vertex(table: Array, sizes: Array) -> tuple[Array, Array]:
    """Least value and its place over the last axis, by the parabola through the least grid value and its
    neighbours."""
    k = np.clip(np.argmin(table, axis=-1), 1, len(sizes) - 2)
    left, mid, right = (np.take_along_axis(table, (k + s)[..., None], -1)[..., 0] for s in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = left - 2 * mid + right
        shift = np.where(bend > 0, 0.5 * (left - right) / bend, 0.0)
        shift = np.clip(np.nan_to_num(shift), -1.0, 1.0)
        value = mid + 0.5 * shift * (right - left) + 0.5 * shift**2 * bend
    edge = np.argmin(table, axis=-1) != k
    least = table.min(axis=-1)
    step = sizes[1] - sizes[0]
    place = np.where(edge, sizes[np.argmin(table, axis=-1)], sizes[k] + shift * step)
    return np.where(edge | ~np.isfinite(value), least, value), place


def _evaluate(
    law: Law, theta: Array, along: str, at: Array, fixed: Mapping[str, float], log_n: Array | None
) -> Array:
    """[S, n] the law at log axis values [n]."""
    x: dict[str, Array] = {k: np.full_like(at, math.log(v)) for k, v in fixed.items()}
    if log_n is not None:
        x["N"] = log_n
    x[along] = at
    if along == "C" and "D" not in fixed:
        x["D"] = at - math.log(6.0) - x["N"]
    elif along == "epochs":
        x["D"] = at + x["U"]
    if "C" in law.variables and "C" not in x:
        x["C"] = math.log(6.0) + x["N"] + x["D"]
    columns = {v: np.exp(x[v]) if v in law.raw_variables else x[v] for v in law.variables}
    with np.errstate(all="ignore"):
        return np.asarray(law.evaluate(theta, columns, jac=False)[0], dtype=float)
