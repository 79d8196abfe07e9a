"""Loss curves of each pair, with the crossing marked, bands over replicates and the best value so far."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.crossover.same_n.arm import Arm, Array
from analysis.crossover.same_n.cell_places import CellCrossover, CellOutcome
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.plots.drawing import Drawing
from analysis.plots.style import (
    FIRST,
    GRID,
    INK,
    SECOND,
    SOFT,
    legend_above,
    lines_of,
    log_axis,
    look,
    panels,
)
from analysis.tables.wording import human, words

PER_FIGURE = 20
"""Panels a figure; a larger study goes over several."""

TITLE = 8.0

_KIND = {"upper_bound": "upper bound", "exact": "exact", "unknown": "kind unknown"}


def loss_curves(crossovers: SameNCrossovers) -> dict[str, Drawing]:
    """One panel a pair. Several figures if there are many pairs."""
    drawings = {}
    for page, start in enumerate(range(0, len(crossovers.cells), PER_FIGURE)):
        cells = list(range(start, min(start + PER_FIGURE, len(crossovers.cells))))
        with look():
            drawings["loss_curves" if page == 0 else f"loss_curves_{page + 1}"] = _page(crossovers, cells)
    return drawings


def _page(crossovers: SameNCrossovers, cells: list[int]) -> Drawing:
    columns = _columns(crossovers, cells)
    rows = math.ceil(len(cells) / columns)
    width, height = {1: (4.6, 2.8), 2: (3.2, 2.3)}.get(columns, (2.15, 1.75))
    titles = [lines_of(words(crossovers.cells[i].pair.axes), width, TITLE) for i in cells]
    room = 0.24 + 0.14 * max(map(len, titles))
    figure, axes = panels(
        rows,
        columns,
        width,
        height,
        left=0.7,
        right=0.15,
        top=room,
        bottom=0.5,
        between=0.2,
        above=0.24 + room,
        sharey=True,
    )
    data = []
    raw = crossovers.select("raw", "tokens")
    for place, index in enumerate(cells):
        axis = axes[place // columns][place % columns]
        data.append(_panel(axis, crossovers, crossovers.cells[index], raw[index]))
        axis.set_title("\n".join(titles[place]), loc="left", fontsize=TITLE, color=INK, pad=15)
        if place % columns == 0:
            axis.set_ylabel(f"validation {crossovers.axis_label}")
        if place + columns >= len(cells):
            axis.set_xlabel("tokens seen")
    for axis in axes.ravel()[len(cells) :]:
        axis.set_visible(False)
    if crossovers.better == "lower":
        _limits(
            axes.ravel()[: len(cells)], data, max(_entropy(crossovers, crossovers.cells[i]) for i in cells)
        )
    _legend(figure, crossovers)
    marks = {raw[i].censored for i in cells if raw[i].value is not None}
    level = f"{crossovers.confidence:.0%}"
    caption = (
        f"Validation {crossovers.value_name} of each pair of twins on half B. Lines: mean over replicates; "
        "bands: their range. Thin dotted: best so far, selected on half A. "
        + (f"The mark is the place of a crossing with its {level} interval. " if None in marks else "")
        + (
            f"An arrow says by where {crossovers.names[1]} had not passed in every replicate. "
            if "right" in marks
            else ""
        )
        + (f"An arrow says before where {crossovers.names[1]} was ahead. " if "left" in marks else "")
        + "Epochs stand above each panel."
        + (" Stars: where annealed runs end." if any(crossovers.cells[i].annealed for i in cells) else "")
    )
    return Drawing(figure, pd.concat(data, ignore_index=True), f"{crossovers.title_name} curves", caption)


def _columns(crossovers: SameNCrossovers, cells: list[int]) -> int:
    """Panels a row: the number of budgets where the grid is one of sizes by budgets, else four."""
    budgets = {
        round(math.log(crossovers.cells[i].pair.mean("U")), 1)
        for i in cells
        if crossovers.cells[i].pair.mean("U") > 0
    }
    if 2 <= len(budgets) <= 5 and len(cells) % len(budgets) == 0:
        return len(budgets)
    return min(4, len(cells))


def _panel(axis: Axes, crossovers: SameNCrossovers, cell: CellOutcome, raw: CellCrossover) -> pd.DataFrame:
    frames = []
    for which, colour in ((0, FIRST), (1, SECOND)):
        curves = [both[which] for both in cell.arms]
        frame = _band(curves, crossovers.sign)
        frame.insert(0, "objective", crossovers.pair[which])
        frames.append(frame)
        axis.fill_between(frame["tokens"], frame["low"], frame["high"], color=colour, alpha=0.22, lw=0)
        axis.plot(
            frame["tokens"],
            frame["mean"],
            color=colour,
            lw=1.7,
            ls="-" if which == 0 else (0, (6, 1.2)),
            zorder=3,
        )
        axis.plot(frame["tokens"], frame["best_so_far"], color=colour, lw=0.9, ls=":", zorder=2)
    entropy = _entropy(crossovers, cell)
    if math.isfinite(entropy):
        axis.axhline(entropy, color=SOFT, lw=0.7, ls=(0, (1, 2)), zorder=1)
    _mark(axis, raw, frames[0])
    for objective, tokens, loss in cell.annealed:
        colour = FIRST if objective == crossovers.pair[0] else SECOND
        axis.plot(
            [tokens], [crossovers.sign * loss], marker="*", ms=7, mfc="white", mec=colour, ls="none", zorder=5
        )
    horizon = [float(both[0].x["tokens"][-1]) for both in cell.arms]
    log_axis(axis, "x", [max(min(horizon) / 60, frames[0]["tokens"].min()), max(horizon)])
    axis.set_xlim(max(min(horizon) / 60, frames[0]["tokens"].min()), max(horizon) * 1.08)
    _epochs(axis, cell)
    out = pd.concat(frames, ignore_index=True)
    out.insert(0, "cell", cell.pair.name)
    return out


def _entropy(crossovers: SameNCrossovers, cell: CellOutcome) -> float:
    """The unigram entropy, which the loss is compared with; NaN where it is unknown or no loss."""
    return max(t.entropy for t in cell.pair.twins) if crossovers.metric == "nll" else math.nan


def _band(curves: list[Arm], sign: float) -> pd.DataFrame:
    """Mean and range over replicates at each place that all of them have (interpolated in log tokens).
    ``sign`` turns an arm's values into the metric's."""
    first = curves[0]
    low = max(c.x["tokens"][0] for c in curves)
    high = min(c.x["tokens"][-1] for c in curves)
    grid = first.x["tokens"][(first.x["tokens"] >= low * 0.999) & (first.x["tokens"] <= high * 1.001)]

    def on_grid(run: Arm, value: Array) -> Array:
        return sign * np.interp(np.log(grid), np.log(run.x["tokens"]), value)

    values = np.array([on_grid(c, c.b.value) for c in curves])
    bests = np.array([on_grid(c, c.b.value[c.best_so_far()]) for c in curves])
    epochs = np.interp(np.log(grid), np.log(first.x["tokens"]), first.x["epochs"])
    return pd.DataFrame(
        {
            "tokens": grid,
            "epochs": epochs,
            "mean": values.mean(axis=0),
            "low": values.min(axis=0),
            "high": values.max(axis=0),
            "best_so_far": bests.mean(axis=0),
            "replicates": len(curves),
        }
    )


def _mark(axis: Axes, crossing: CellCrossover, curve: pd.DataFrame) -> None:
    """The crossing: a diamond on the curve and its interval as a shaded strip; or an arrow where there is
    none."""
    value, low, high = crossing.value, crossing.low, crossing.high
    if value is None:
        return
    height = float(np.interp(np.log(value), np.log(curve["tokens"]), curve["mean"]))
    if crossing.censored is None:
        if low and high:
            axis.axvspan(low, high, color=INK, alpha=0.10, lw=0, zorder=0)
        axis.axvline(value, color=INK, lw=0.8, zorder=2)
        face = INK if crossing.robust else "white"
        axis.plot([value], [height], marker="D", ms=5, mfc=face, mec=INK, mew=1.1, zorder=5)
        axis.annotate(
            human(value),
            (value, 0.98),
            xycoords=("data", "axes fraction"),
            xytext=(-3, 0),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=7.5,
            color=INK,
        )
        return
    right = crossing.censored == "right"
    axis.annotate(
        "not passed by here" if right else "ahead before here",
        (value, 0.93),
        xycoords=("data", "axes fraction"),
        xytext=(-34 if right else 34, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        fontsize=7,
        color=SOFT,
        arrowprops={"arrowstyle": "-|>", "color": SOFT, "lw": 0.9, "shrinkB": 0},
    )
    axis.axvline(value, color=SOFT, lw=0.8, ls=(0, (2, 2)), zorder=1)


def _epochs(axis: Axes, cell: CellOutcome) -> None:
    """Epochs above the panel."""
    u = cell.pair.mean("U")
    if not math.isfinite(u):
        return

    def epochs(tokens: Any) -> Any:
        return tokens / u

    def tokens(epochs: Any) -> Any:
        return epochs * u

    twin = axis.secondary_xaxis("top", functions=(epochs, tokens))
    low, high = (v / u for v in axis.get_xlim())
    ticks = [s * 10.0**k for k in range(-3, 7) for s in (1, 3)]
    twin.set_xticks([t for t in ticks if low <= t <= high], minor=False)
    twin.set_xticklabels([f"{t:g}" for t in ticks if low <= t <= high])
    twin.minorticks_off()
    twin.tick_params(labelsize=6.5, length=2, pad=1, colors=SOFT, labelcolor=SOFT)
    for spine in twin.spines.values():
        spine.set_color(GRID)


def _limits(axes: np.ndarray, data: list[pd.DataFrame], entropy: float) -> None:
    """One scale of losses for all panels: from the best to where over-fitting ends, the start cut off."""
    every = pd.concat(data)
    low = float(every["low"].min())
    ends = every.sort_values("tokens").groupby(["cell", "objective"])["high"].last()
    high = float(ends.max())
    if math.isfinite(entropy):
        high = max(high, entropy + 0.15 * (entropy - low))
    for axis in axes:
        axis.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def _legend(figure: Figure, crossovers: SameNCrossovers) -> None:
    kinds = crossovers.likelihoods
    entropy = any(math.isfinite(_entropy(crossovers, c)) for c in crossovers.cells)
    handles: list[Line2D | Patch] = []
    for which, colour in ((0, FIRST), (1, SECOND)):
        kind = _KIND.get(kinds.get(crossovers.pair[which], ""), "")
        label = f"{crossovers.names[which]} ({kind})" if kind else crossovers.names[which]
        handles.append(
            Line2D([], [], color=colour, lw=1.7, ls="-" if which == 0 else (0, (6, 1.2)), label=label)
        )
    handles += [
        Line2D([], [], color=SOFT, lw=0.9, ls=":", label="best so far"),
        Patch(color=SOFT, alpha=0.3, lw=0, label="range of replicates"),
        *([Line2D([], [], color=SOFT, lw=0.7, ls=(0, (1, 2)), label="unigram entropy")] if entropy else []),
        Line2D([], [], color=INK, lw=0, marker="D", ms=5, label="crossing"),
        Line2D([], [], color=INK, lw=0, marker="D", ms=5, mfc="white", label="not robust"),
    ]
    legend_above(figure, handles)
