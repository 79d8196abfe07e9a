"""IsoFLOP curves with their minima, and how the best N and D grow with compute, by every route."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.fitting.result import Fit
from analysis.fitting.uncertainty.intervals import Target, positive
from analysis.laws.base import Array
from analysis.plots.drawing import DASHED, Drawing, band, bar, line_beyond, loss_ticks, power_ticks, shades
from analysis.plots.law_curves import REACH, best_path, data_of, fresh, level_of
from analysis.plots.style import INK, SERIES, SOFT, look, panels
from analysis.questions.classic_routes import envelope
from analysis.questions.isoflop_curves import IsoFlop, isoflop
from analysis.questions.isoflop_minima import Minimum
from analysis.questions.optimum import log_size
from analysis.tables.frame import FitError


def isoflop_curves(iso: IsoFlop) -> Drawing:
    """Loss against N at each budget: the runs, the curve through them, and the minimum where it counts."""
    data = iso.points
    frames = []
    with look():
        figure, axes = panels(1, 1, 4.6, 3.2, left=0.65, right=0.8, top=0.3, bottom=0.5)
        axis = axes[0][0]
        loss_ticks(axis, data["loss"].to_numpy())
        norm, _ = shades(data["C"].to_numpy())
        for _, group in data.groupby("budget"):
            frames.append(_budget(axis, group, iso, norm, iso.curves.get(int(group["budget"].iloc[0]))))
        if len(iso.minima):
            m = iso.minima
            axis.plot(
                m["N"], m["loss"], ls="none", marker="D", ms=4.5, mfc="white", mec=INK, mew=1.1, zorder=6
            )
            spread = np.where(np.isfinite(m["se_log_N"]), m["se_log_N"], 0.0)
            axis.hlines(
                m["loss"], m["N"] * np.exp(-spread), m["N"] * np.exp(spread), color=INK, lw=0.9, zorder=5
            )
            order = m.sort_values("C")
            axis.plot(order["N"], order["loss"], color=INK, lw=0.7, ls=":", zorder=4)
            frames.append(m.assign(what="minimum"))
        power_ticks(axis, "x")
        low, high = float(data["loss"].min()), float(data["loss"].quantile(0.985))
        axis.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low))
        axis.set_xlabel("parameters N")
        axis.set_ylabel("loss")
        bar(figure, axis, norm, "C, FLOPs")
        axis.legend(
            handles=[
                Line2D([], [], color=SOFT, marker="o", ms=3.5, lw=1.0, label=f"budget and its {iso.method}"),
                Line2D(
                    [],
                    [],
                    ls="none",
                    marker="D",
                    ms=4.5,
                    mfc="white",
                    mec=INK,
                    label="minimum ± standard error",
                ),
                Line2D(
                    [],
                    [],
                    ls="none",
                    marker="o",
                    ms=3.5,
                    mfc="white",
                    mec=SOFT,
                    label="refused, or outside the window",
                ),
            ],
            loc="lower left",
            fontsize=7,
        )
    few = int((iso.refused["reason"].str.contains("needs")).sum()) if len(iso.refused) else 0
    window = ""
    if not math.isinf(iso.window):
        window = (
            f" Curves go through sizes within a factor {iso.window:g} of the lowest run;"
            f" {len(iso.left_out)} runs lie outside (hollow, in the budget's colour)."
        )
    caption = (
        f"IsoFLOP curves ({iso.method}): {len(iso.minima)} budgets with an interior minimum;"
        f" {len(iso.refused)} refused (hollow), {few} of them for too few sizes.{window}"
    )
    return Drawing(figure, pd.concat(frames, ignore_index=True), "IsoFLOP curves", caption)


def _budget(
    axis: Axes, group: pd.DataFrame, iso: IsoFlop, norm: object, minimum: Minimum | None
) -> pd.DataFrame:
    from analysis.plots.drawing import RAMP

    compute = float(np.exp(np.log(group["C"].to_numpy()).mean()))
    colour = RAMP(norm(compute))  # type: ignore[operator]
    hollow: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 3, "mfc": "white", "mew": 0.6, "zorder": 2}
    if minimum is None:
        axis.plot(group["N"], group["loss"], mec=SOFT, **hollow)
        return group[["C", "N", "loss"]].assign(what="refused")
    used, outside = group[group["used"]], group[~group["used"]]
    axis.plot(used["N"], used["loss"], ls="none", marker="o", ms=3.6, color=colour, mew=0, zorder=3)
    axis.plot(outside["N"], outside["loss"], mec=colour, **hollow)
    x = np.log(used["N"].to_numpy())
    grid = np.linspace(x.min(), x.max(), 61)
    if iso.law is not None:
        fit, scale = iso.law, 6 * math.exp(float(np.log(used["N"] * used["D"]).mean()))
        curve = fit.law.predict(fit.values, fresh(fit, {"N": np.exp(grid), "D": scale / 6 / np.exp(grid)}))
    else:
        y = np.polynomial.polynomial.polyval(grid - minimum.centre, minimum.curve)
        curve = np.exp(y) if iso.estimand.log else y
    axis.plot(np.exp(grid), curve, color=colour, lw=1.0, zorder=2.5)
    lines = pd.DataFrame({"what": "curve", "C": compute, "N": np.exp(grid), "loss": curve})
    named = [used.assign(what="run"), outside.assign(what="outside the window")]
    return pd.concat([*(f[["C", "N", "loss", "what"]] for f in named), lines], ignore_index=True)


def allocation(fit: Fit, method: str = "parabola") -> Drawing:
    """N*(C) and D*(C): the law's with its interval, isoFLOP minima with theirs, the front's bracketed
    points."""
    data = data_of(fit, "N", "D")
    rows = data[["N", "D"]].assign(C=6.0 * data["N"] * data["D"], loss=data[str(fit.law.target)])
    c = rows["C"].to_numpy()
    grid = np.geomspace(c.min(), c.max() * REACH, 15)
    path = best_path(fit, grid)
    bounds = _ends(fit, path["C"].to_numpy()) if len(path) else None
    iso = _or_none(lambda: isoflop(rows, method=method))
    lowest = _or_none(lambda: envelope(rows))
    frames = (
        [path.assign(what="law")]
        if bounds is None
        else [path.assign(what="law", N_low=bounds[0], N_high=bounds[1])]
    )
    with look():
        figure, axes = panels(1, 2, 2.9, 2.7, left=0.65, right=0.2, top=0.3, bottom=0.85, between=0.75)
        for axis, name in zip(axes[0], "ND", strict=True):
            power_ticks(axis, "x")
            power_ticks(axis, "y")
            axis.set_xlim(grid[0] / 1.5, grid[-1] * 1.5)
            shown = np.concatenate([rows[name].to_numpy(), path[name].to_numpy()])
            axis.set_ylim(shown.min() / 2, shown.max() * 2)
            axis.scatter(c, rows[name], s=5, color="#c4c4c4", lw=0, zorder=1)
            if bounds is not None:
                ends = bounds if name == "N" else tuple(path["C"].to_numpy() / 6 / b for b in bounds[::-1])
                band(axis, path["C"].to_numpy(), ends[0], ends[1], SERIES[1])
            line_beyond(
                axis,
                path["C"].to_numpy(),
                path[name].to_numpy(),
                c.min(),
                c.max(),
                SERIES[1],
                lw=1.6,
                zorder=3,
            )
            if iso is not None:
                _routes(axis, iso, name, grid, float(c.max()))
            if lowest is not None:
                p = lowest.points[lowest.points["bracketed"]]
                axis.plot(
                    p["C"],
                    p[name],
                    ls="none",
                    marker="s",
                    ms=4,
                    mfc="white",
                    mec=SERIES[2],
                    mew=1.0,
                    zorder=4,
                )
            axis.set_xlabel("compute C, FLOPs")
            axis.set_ylabel("best N" if name == "N" else "best D, tokens")
        handles = [
            Line2D([], [], color=SERIES[1], label=f"law ({fit.law.name})"),
            Patch(color=SERIES[1], alpha=0.2, lw=0, label=level_of(fit)),
            Line2D(
                [],
                [],
                color=SERIES[0],
                marker="D",
                ms=4,
                lw=1.2,
                mfc="white",
                label=f"isoFLOP minima ({method}), power law",
            ),
            Line2D(
                [], [], color=SERIES[2], marker="s", ms=4, ls="none", mfc="white", label="front, bracketed"
            ),
            Line2D([], [], color=SOFT, ls=DASHED, label="beyond the data"),
            Line2D([], [], color="#c4c4c4", marker="o", ms=3, ls="none", label="runs"),
        ]
        figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=7)
    if iso is not None and len(iso.minima):
        frames.append(iso.minima.assign(what="isoFLOP"))
    if lowest is not None:
        frames.append(lowest.points.assign(what="front"))
    exponents = "; ".join(
        f"{name} a = {e['a'].value:.3f} [{e['a'].low:.3f}, {e['a'].high:.3f}]"
        for name, e in (("isoFLOP", iso and iso.exponents), ("front", lowest and lowest.exponents))
        if e and e["a"].low is not None and e["a"].high is not None
    )
    caption = "Compute-optimal size and tokens against compute, N* ~ C^a. " + (
        exponents + "." if exponents else ""
    )
    return Drawing(figure, pd.concat(frames, ignore_index=True), "Best size and tokens", caption)


def _or_none(make):  # type: ignore[no-untyped-def]
    try:
        return make()
    except FitError:
        return None


def _routes(axis: Axes, iso: IsoFlop, name: str, grid: Array, most: float) -> None:
    m = iso.minima
    if not len(m):
        return
    spread = np.exp(np.where(np.isfinite(m["se_log_N"]), m["se_log_N"], 0.0))
    axis.vlines(m["C"], m[name] / spread, m[name] * spread, color=SERIES[0], lw=0.9, zorder=4)
    axis.plot(m["C"], m[name], ls="none", marker="D", ms=3.6, mfc="white", mec=SERIES[0], mew=1.0, zorder=5)
    if iso.exponents is not None:
        at = iso.size_at if name == "N" else iso.tokens_at
        line = np.array([at(float(v)) for v in grid])
        line_beyond(axis, grid, line, grid[0], most, SERIES[0], lw=1.0, zorder=2)


def _ends(fit: Fit, compute: Array) -> tuple[Array, Array] | None:
    """Ends of the interval of N*(C), all budgets in one batch."""
    if fit.sampler is None:
        return None
    fixed = {"Q": float(data_of(fit)["Q"].max())} if "Q" in fit.law.variables else None
    names = fit.law.parameter_names

    def at(c: float) -> Target:
        def size(natural: Array) -> Array:
            with np.errstate(all="ignore"):
                return np.exp(log_size(fit.law, {n: natural[:, j] for j, n in enumerate(names)}, c, fixed))

        return positive(size)

    intervals = fit.sampler.intervals([at(float(c)) for c in compute])
    return (
        np.array([0.0 if f.low is None else f.low for f in intervals]),
        np.array([np.inf if f.high is None else f.high for f in intervals]),
    )
