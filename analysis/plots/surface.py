"""The fitted surface L(N, D) as contours, with the runs, the budgets and the compute-optimal path."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.spatial import Delaunay, QhullError

from analysis.fitting.result import Fit
from analysis.laws.base import Array
from analysis.plots.drawing import DASHED, RAMP, Drawing, line_beyond, power_ticks
from analysis.plots.law_curves import best_path, data_of, fresh
from analysis.plots.style import INK, SOFT, look, panels

_GRID = 121


def contours(fit: Fit) -> Drawing:
    """Contours of the law over N and D: solid within the convex hull of the runs (in logarithms),
    dashed outside."""
    data = data_of(fit, "N", "D")
    target = str(fit.law.target)
    n_run, d_run, loss = (data[k].to_numpy() for k in ("N", "D", target))
    n = np.geomspace(n_run.min() / 3, n_run.max() * 3, _GRID)
    d = np.geomspace(d_run.min() / 3, d_run.max() * 3, _GRID)
    mesh_n, mesh_d = np.meshgrid(n, d)
    rows = fresh(fit, {"N": mesh_n.ravel(), "D": mesh_d.ravel()})
    surface = fit.law.predict(fit.values, rows).reshape(mesh_n.shape)
    inside = _inside(np.log(n_run), np.log(d_run), np.log(mesh_n), np.log(mesh_d))
    levels = _levels(surface, loss)
    with look():
        figure, axes = panels(1, 1, 4.0, 3.4, left=0.7, right=0.8, top=0.3, bottom=0.5)
        axis = axes[0][0]
        power_ticks(axis, "x")
        power_ticks(axis, "y")
        for mask, style in ((inside, "solid"), (~inside, "dashed")):
            part = np.where(mask, surface, np.nan)
            drawn = axis.contour(
                mesh_n, mesh_d, part, levels=levels, colors=SOFT, linewidths=0.8, linestyles=style, zorder=2
            )
            if style == "solid":
                axis.clabel(drawn, fmt="%.3g", fontsize=6.5, inline_spacing=2)
        norm = LogNorm(float(loss.min()), float(np.quantile(loss, 0.98))) if loss.min() > 0 else None
        dots = axis.scatter(
            n_run, d_run, c=loss, cmap=RAMP.reversed(), norm=norm, s=14, lw=0.3, edgecolors="white", zorder=3
        )
        path = best_path(fit, np.geomspace(6 * n[0] * d[0] * 10, 6 * n[-1] * d[-1] / 10, 61))
        c = 6 * n_run * d_run
        path = path[(path["N"].between(n[0], n[-1])) & (path["D"].between(d[0], d[-1]))]
        within = path[(path["C"] >= c.min()) & (path["C"] <= c.max())]
        if len(path) > 1:
            low, high = (
                (within["N"].min(), within["N"].max()) if len(within) else (path["N"].max(), path["N"].max())
            )
            line_beyond(axis, path["N"].to_numpy(), path["D"].to_numpy(), low, high, INK, lw=1.7, zorder=4)
        for exponent in range(math.ceil(math.log10(c.min())), math.floor(math.log10(c.max())) + 1):
            axis.plot(n, 10.0**exponent / 6 / n, color=SOFT, lw=0.6, ls=":", zorder=1)
            at = 10.0**exponent / 6 / d[-1] * 1.15
            if n[0] < at < n[-1]:
                axis.annotate(
                    f"$10^{{{exponent}}}$", (at, d[-1] / 1.15), fontsize=6.5, color=SOFT, va="top", ha="left"
                )
        axis.set_xlim(n[0], n[-1])
        axis.set_ylim(d[0], d[-1])
        axis.set_xlabel("parameters N")
        axis.set_ylabel("tokens seen D")
        if norm is not None:
            _loss_bar(figure, axis, dots, norm, target)
        axis.legend(
            handles=[
                Line2D([], [], color=SOFT, lw=0.8, label=f"{target}, by the law"),
                Line2D([], [], color=SOFT, lw=0.8, ls=DASHED, label="outside the runs' hull"),
                Line2D([], [], color=INK, lw=1.7, label="compute-optimal"),
                Line2D([], [], color=SOFT, lw=0.6, ls=":", label="equal FLOPs"),
            ],
            loc="lower left",
            fontsize=7,
            frameon=True,
            framealpha=0.9,
            edgecolor="none",
        )
    note = " Unseen data for every token (U = D)." if "U" in fit.law.variables else ""
    caption = f"Contours of {fit.law.formula}, and the {len(data)} runs it was fitted to.{note}"
    table = pd.DataFrame(
        {
            "what": "law",
            "N": mesh_n.ravel(),
            "D": mesh_d.ravel(),
            target: surface.ravel(),
            "in_hull": inside.ravel(),
        }
    ).iloc[::9]
    runs = pd.DataFrame({"what": "run", "N": n_run, "D": d_run, target: loss, "in_hull": True})
    return Drawing(
        figure,
        pd.concat([runs, table, path.assign(what="optimal")], ignore_index=True),
        "Loss surface",
        caption,
    )


def _inside(x: Array, y: Array, mesh_x: Array, mesh_y: Array) -> Array:
    """Which of the mesh lies in the convex hull of the points; where they lie on a line, none."""
    try:
        hull = Delaunay(np.column_stack((x, y)))
    except (QhullError, ValueError):
        return np.zeros(mesh_x.shape, dtype=bool)
    return (
        np.asarray(hull.find_simplex(np.column_stack((mesh_x.ravel(), mesh_y.ravel())))).reshape(mesh_x.shape)
        >= 0
    )


def _levels(surface: Array, loss: Array) -> Array:
    """About a dozen round levels over what the runs reached and a little beyond."""
    low, high = float(np.nanmin(surface)), float(np.quantile(loss, 0.99))
    raw = (high - low) / 12
    step = 10.0 ** math.floor(math.log10(raw))
    step *= next(k for k in (1, 2, 5, 10) if k * step >= raw)
    return np.arange(math.ceil(low / step), math.ceil(high / step) + 2) * step


def _loss_bar(figure: Figure, axis: Axes, dots: PathCollection, norm: LogNorm, label: str) -> None:
    place = axis.get_position()
    box = figure.add_axes(
        (place.x1 + 0.1 / figure.get_figwidth(), place.y0, 0.12 / figure.get_figwidth(), place.height)
    )
    colour_bar = figure.colorbar(dots, cax=box)
    low, high = float(norm.vmin or 1.0), float(norm.vmax or 1.0)
    ticks = [t for t in _levels(np.array([low]), np.array([high])) if low <= t <= high]
    colour_bar.set_ticks(ticks, labels=[f"{t:.3g}" for t in ticks])
    colour_bar.minorticks_off()
    colour_bar.outline.set_visible(False)
    box.tick_params(length=2)
    box.set_title(label, fontsize=7.5, loc="left", pad=4)
