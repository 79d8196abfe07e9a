"""Laws as curves: loss against compute with its envelope, against tokens by size, and along a single
variable."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.fitting.result import Fit
from analysis.laws.base import Array
from analysis.plots.drawing import (
    DASHED,
    RAMP,
    Drawing,
    band,
    bar,
    line_beyond,
    loss_ticks,
    power_ticks,
    shades,
)
from analysis.plots.style import INK, SERIES, SOFT, log_axis, look, panels
from analysis.questions.classic_routes import envelope
from analysis.questions.optimum import best_size
from analysis.tables.frame import FitError
from analysis.tables.wording import human

REACH = 10.0
"""Factor beyond the data to which laws are drawn, dashed."""

CURVES = 7
"""Curves of single sizes at most; where runs have more, sizes are spread evenly over them."""


def data_of(fit: Fit, *needed: str) -> pd.DataFrame:
    """The rows of a fit; FitError where the figure needs columns that the law does not have."""
    data = fit.require().require_data()
    missing = [n for n in needed if n not in data.columns]
    if missing:
        raise FitError(
            f"this figure needs {', '.join(needed)}; the law {fit.law.name} is one of"
            f" {', '.join(fit.law.variables)}"
        )
    return data


def level_of(fit: Fit) -> str:
    """``95% interval (percentile)``, as legends call it."""
    return f"{fit.diagnostics.level:.0%} interval ({fit.diagnostics.interval})"


def fresh(fit: Fit, rows: dict[str, Array]) -> dict[str, Array]:
    """Columns of the law at given N and D: unseen data for every token, at the best quality of the data."""
    out = dict(rows)
    if "U" in fit.law.variables:
        out.setdefault("U", rows["D"])
    for name in fit.law.variables:
        if name not in out:
            values = data_of(fit)[name]
            out[name] = np.full(len(rows["N"]), float(values.max() if name == "Q" else values.median()))
    return out


def best_path(fit: Fit, compute: Array) -> pd.DataFrame:
    """C, N, D, loss along the law's optimum, where it is interior."""
    natural = np.array([[fit.values[n] for n in fit.law.parameter_names]])
    fixed = {"Q": float(data_of(fit)["Q"].max())} if "Q" in fit.law.variables else None
    n = np.exp([float(best_size(fit.law, natural, float(c), fixed)[0]) for c in compute])
    keep = np.isfinite(n)
    c, n = compute[keep], n[keep]
    loss = fit.law.predict(fit.values, fresh(fit, {"N": n, "D": c / 6 / n})) if len(n) else np.zeros(0)
    return pd.DataFrame({"C": c, "N": n, "D": c / 6 / n, "loss": loss})


def intervals_of(fit: Fit, rows: dict[str, Array]) -> pd.DataFrame | None:
    """Predictions with ends, or None where the fit has no intervals."""
    if fit.diagnostics.interval == "none":
        return None
    return fit.predict(pd.DataFrame(rows))


def _sizes(values: Array) -> Array:
    sizes = np.unique(values)
    if len(sizes) <= CURVES:
        return sizes
    return np.geomspace(sizes[0], sizes[-1], CURVES)


def loss_against_compute(fit: Fit) -> Drawing:
    """Runs, the law at fixed sizes, its compute-optimal envelope with interval, and the runs' own front."""
    data = data_of(fit, "N", "D")
    c, loss = 6.0 * data["N"].to_numpy() * data["D"].to_numpy(), data[str(fit.law.target)].to_numpy()
    grid = np.geomspace(c.min() / 1.5, c.max() * REACH, 61)
    path = best_path(fit, grid)
    with look():
        figure, axes = panels(1, 1, 4.4, 3.1, left=0.65, right=0.75, top=0.3, bottom=0.5)
        axis = axes[0][0]
        norm, colours = shades(data["N"].to_numpy())
        axis.scatter(c, loss, s=13, c=colours, lw=0, zorder=3)
        shown = np.concatenate([loss, path["loss"]])
        loss_ticks(axis, shown)
        power_ticks(axis, "x")
        low, high = float(shown.min()), float(loss.max())
        pad = 0.06 * math.log(high / low) if low > 0 else 0.0
        axis.set_ylim(*((low * math.exp(-pad), high * math.exp(pad)) if low > 0 else (low - 0.1, high + 0.1)))
        axis.set_xlim(grid[0], grid[-1])
        frames = [pd.DataFrame({"what": "run", "C": c, "N": data["N"], "D": data["D"], "loss": loss})]
        for size, colour in zip(
            _sizes(data["N"].to_numpy()), shades(_sizes(data["N"].to_numpy()))[1], strict=True
        ):
            curve = fit.law.predict(
                fit.values, fresh(fit, {"N": np.full(len(grid), size), "D": grid / 6 / size})
            )
            tokens = 6.0 * size * data["D"]
            line_beyond(
                axis,
                grid,
                curve,
                max(tokens.min(), c.min()),
                min(tokens.max(), c.max()),
                colour,
                lw=0.9,
                zorder=2,
            )
            frames.append(
                pd.DataFrame({"what": "law at N", "C": grid, "N": size, "D": grid / 6 / size, "loss": curve})
            )
        if len(path):
            ends = intervals_of(fit, fresh(fit, {"N": path["N"].to_numpy(), "D": path["D"].to_numpy()}))
            if ends is not None:
                band(axis, path["C"].to_numpy(), ends["low"].to_numpy(), ends["high"].to_numpy(), INK)
                path = path.assign(low=ends["low"].to_numpy(), high=ends["high"].to_numpy())
            line_beyond(
                axis, path["C"].to_numpy(), path["loss"].to_numpy(), c.min(), c.max(), INK, lw=1.7, zorder=4
            )
            frames.append(path.assign(what="envelope"))
        _front(axis, data, str(fit.law.target))
        axis.set_xlabel("training compute C = 6ND, FLOPs")
        axis.set_ylabel(f"{fit.law.target}")
        bar(figure, axis, norm, "N")
        handles = [
            Line2D([], [], color=INK, lw=1.7, label="compute-optimal, by the law"),
            Line2D([], [], color=INK, lw=1.7, ls=DASHED, label="beyond the data"),
            Patch(color=INK, alpha=0.2, lw=0, label=level_of(fit)),
            Line2D(
                [],
                [],
                ls="none",
                marker="o",
                mfc="none",
                mec=INK,
                ms=6,
                label="best run of its budget, bracketed",
            ),
        ]
        axis.legend(handles=handles, loc="upper right", fontsize=7)
    caption = (
        f"Loss against compute: {len(data)} runs, coloured by size, and {fit.law.formula}. Thin lines: the"
        " law at fixed sizes; thick: its lowest loss at each budget. Rings: the lowest run of a"
        " quarter-decade of compute, where both a smaller and a larger size were tried."
    )
    return Drawing(figure, pd.concat(frames, ignore_index=True), "Loss against compute", caption)


def _front(axis: Axes, data: pd.DataFrame, target: str) -> None:
    try:
        points = envelope(data.rename(columns={target: "loss"})[["N", "D", "loss"]]).points
    except FitError:
        return
    points = points[points["bracketed"]]
    axis.plot(
        points["C"], points["loss"], ls="none", marker="o", ms=6, mfc="none", mec=INK, mew=0.9, zorder=5
    )


def loss_against_tokens(fit: Fit) -> Drawing:
    """Loss against tokens, a curve a size; a panel an amount of unique data where the law knows it,
    with epochs above."""
    data = data_of(fit, "N", "D")
    target = str(fit.law.target)
    groups: list[tuple[float | None, pd.DataFrame]] = [(None, data)]
    if "U" in fit.law.variables:
        top = data.groupby("U").size().sort_values(ascending=False).index[:6]
        groups = [(float(u), data[data["U"] == u]) for u in sorted(top)]
    columns = min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    size = (4.4, 3.1) if len(groups) == 1 else (2.15, 1.9)
    frames = []
    with look():
        figure, axes = panels(
            rows,
            columns,
            *size,
            left=0.6,
            right=0.75,
            top=0.62 if groups[0][0] else 0.3,
            bottom=0.72,
            between=0.14,
            above=0.85,
            sharey=True,
        )
        norm, _ = shades(data["N"].to_numpy())
        loss_ticks(axes[0][0], data[target].to_numpy())
        for axis, (unique, part) in zip(axes.ravel(), groups, strict=False):
            frames.append(_panel(axis, fit, unique, part, norm, RAMP))
        for axis in axes.ravel()[len(groups) :]:
            axis.set_visible(False)
        for row in axes:
            row[0].set_ylabel(target)
        for axis in axes[-1]:
            axis.set_xlabel("tokens seen D")
        values = data[target].to_numpy()
        low, high = float(values.min()), float(values.max())
        axes[0][0].set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        bar(figure, axes[0][-1], norm, "N", below=True)
        figure.legend(
            handles=[
                Line2D([], [], color=SOFT, label="law"),
                Line2D([], [], color=SOFT, ls=DASHED, label="beyond the runs near that size"),
                Patch(color=SOFT, alpha=0.25, lw=0, label=level_of(fit)),
            ],
            loc="lower center",
            ncols=3,
            fontsize=7.5,
            borderaxespad=0.2,
        )
    more = data["U"].nunique() - len(groups) if "U" in fit.law.variables else 0
    caption = (
        f"{target} against tokens, by size: {fit.law.formula}. Bands: {level_of(fit)}."
        + (
            " Each panel is one amount of unique tokens U; the upper axis counts epochs, D/U."
            if groups[0][0]
            else ""
        )
        + (f" {more} further amounts of U are in the fit, not in the figure." if more > 0 else "")
    )
    return Drawing(figure, pd.concat(frames, ignore_index=True), "Loss against tokens", caption)


def _panel(
    axis: Axes, fit: Fit, unique: float | None, part: pd.DataFrame, norm: Any, ramp: Any
) -> pd.DataFrame:
    target = str(fit.law.target)
    out = []
    low_d, high_d = float(part["D"].min()), float(part["D"].max())
    grid = np.geomspace(low_d / 1.6, high_d * 2.5, 41)
    if unique is not None:
        grid = grid[grid >= unique * 0.999]
    bounds, sizes = axis.get_ylim(), _sizes(part["N"].to_numpy())
    nearest = sizes[np.argmin(np.abs(np.log(part["N"].to_numpy()[:, None] / sizes)), axis=1)]
    for size in sizes:
        mine = part[nearest == size]
        rows = {"N": np.full(len(grid), size), "D": grid}
        rows = {**rows, "U": np.full(len(grid), unique)} if unique is not None else fresh(fit, rows)
        if "Q" in fit.law.variables:
            rows["Q"] = np.full(len(grid), float(part["Q"].median()))
        curve = fit.law.predict(fit.values, rows)
        ends = intervals_of(fit, rows)
        colour = ramp(norm(size))
        if ends is not None:
            axis.fill_between(grid, ends["low"], ends["high"], color=colour, alpha=0.18, lw=0)
        reach = (mine["D"].min(), mine["D"].max()) if len(mine) else (low_d, high_d)
        line_beyond(axis, grid, curve, reach[0], reach[1], colour, lw=1.1, zorder=2)
        frame = pd.DataFrame({"what": "law", "U": unique, "N": size, "D": grid, target: curve})
        out.append(
            frame if ends is None else frame.assign(low=ends["low"].to_numpy(), high=ends["high"].to_numpy())
        )
    axis.scatter(part["D"], part[target], s=12, c=ramp(norm(part["N"])), lw=0, zorder=3)
    axis.set_ylim(bounds)
    log_axis(axis, "x", [grid[0], grid[-1]])
    axis.set_xlim(low_d / 1.6, high_d * 2.5)
    out.append(
        pd.DataFrame({"what": "run", "U": unique, "N": part["N"], "D": part["D"], target: part[target]})
    )
    if unique is not None:
        axis.set_title(f"U = {human(unique)} tokens", loc="left", fontsize=8, pad=24)
        above = axis.secondary_xaxis(
            "top", functions=(partial(_scaled, 1.0 / unique), partial(_scaled, unique))
        )
        log_axis(above, "x", [grid[0] / unique, grid[-1] / unique])  # type: ignore[arg-type]
        above.tick_params(labelsize=7, length=2, pad=1)
        above.set_xlabel("epochs", fontsize=7, color=SOFT, labelpad=2)
        above.spines["top"].set_visible(True)
        above.spines["top"].set_linewidth(0.5)
    return pd.concat(out, ignore_index=True)


def _scaled(factor: float, values: Any) -> Any:
    return np.asarray(values) * factor


def along(fit: Fit) -> Drawing:
    """A law of one variable: data, curve, interval, and what lies beyond the data dashed."""
    (name,) = fit.law.variables
    data, target = data_of(fit, name), str(fit.law.target)
    x, y = data[name].to_numpy(), data[target].to_numpy()
    positive = name not in fit.law.raw_variables and bool(np.all(x > 0))
    grid = (
        np.geomspace(x.min() / 2, x.max() * REACH, 121)
        if positive
        else np.linspace(x.min(), x.max() + 0.3 * np.ptp(x), 121)
    )
    curve = fit.law.predict(fit.values, {name: grid})
    ends = intervals_of(fit, {name: grid})
    with look():
        figure, axes = panels(1, 1, 4.4, 3.0, left=0.65, top=0.3, bottom=0.5)
        axis = axes[0][0]
        axis.scatter(x, y, s=16, color=SERIES[0], lw=0, zorder=3, label="data")
        if positive:
            power_ticks(axis, "x") if x.max() / x.min() > 300 else log_axis(axis, "x", [grid[0], grid[-1]])
        loss_ticks(axis, np.concatenate([y, curve]))
        low, high = float(min(y.min(), curve.min())), float(max(y.max(), np.percentile(curve, 97)))
        axis.set_ylim(
            (low / (high / low) ** 0.06, high * (high / low) ** 0.06)
            if axis.get_yscale() == "log"
            else (low - 0.06 * (high - low), high + 0.06 * (high - low))
        )
        if ends is not None:
            band(axis, grid, ends["low"].to_numpy(), ends["high"].to_numpy(), SERIES[1])
        line_beyond(
            axis, grid, curve, float(x.min()), float(x.max()), SERIES[1], label="law", lw=1.5, zorder=2
        )
        axis.set_xlim(grid[0], grid[-1])
        sources = fit.diagnostics.columns
        axis.set_xlabel(sources.get(name, name))
        axis.set_ylabel(sources.get(target, target))
        handles, _ = axis.get_legend_handles_labels()
        handles += [Line2D([], [], color=SERIES[1], ls=DASHED, label="beyond the data")]
        handles += [Patch(color=SERIES[1], alpha=0.2, lw=0, label=level_of(fit))] if ends is not None else []
        axis.legend(handles=handles, loc="best", fontsize=7)
    table = pd.DataFrame({"what": "law", name: grid, target: curve})
    if ends is not None:
        table = table.assign(low=ends["low"].to_numpy(), high=ends["high"].to_numpy())
    table = pd.concat([pd.DataFrame({"what": "data", name: x, target: y}), table], ignore_index=True)
    return Drawing(figure, table, f"{target} against {name}", f"{target} against {name}: {fit.law.formula}.")
