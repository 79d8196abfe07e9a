"""Where the crossings lie: against unique data by model size, and as a map over size and data."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from analysis.crossover.places.censored_law import CensoredLaw
from analysis.crossover.same_n.cell_places import CellCrossover
from analysis.crossover.same_n.efficiency import EfficiencyRatio
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.plots.drawing import Drawing
from analysis.plots.style import (
    INK,
    MARKERS,
    RC,
    SERIES,
    SOFT,
    bounded,
    dodge,
    legend_above,
    lines_of,
    log_axis,
    look,
    panels,
)
from analysis.tables.wording import human, words

_WORDS = {"raw": "raw curves", "best_so_far": "best so far"}


def against_unique(
    crossovers: SameNCrossovers, laws: dict[tuple[str, str], CensoredLaw | None]
) -> Drawing | None:
    """Place of the crossing against U: raw above best so far, tokens beside epochs. None without any U."""
    frame = _frame(crossovers)
    if frame.empty:
        return None
    with look():
        figure, axes = panels(
            2, 2, 2.9, 2.15, left=0.65, top=0.3, bottom=0.5, between=0.75, above=0.78, right=0.2
        )
        for i, definition in enumerate(("raw", "best_so_far")):
            for j, unit in enumerate(("tokens", "epochs")):
                part = frame[(frame["definition"] == definition) & (frame["unit"] == unit)]
                _against(axes[i][j], part, laws.get((definition, unit)), crossovers)
                axes[i][j].set_title(f"{_WORDS[definition]}, in {unit}", loc="left")
                axes[i][j].set_ylabel(f"crossing, {unit}")
                axes[i][j].set_xlabel("unique tokens U")
        _legend(figure, frame)
    caption = (
        f"Where {crossovers.names[1]} passes {crossovers.names[0]}, against unique data. Filled: geometric "
        f"mean of the replicates (small dots) with its {crossovers.confidence:.0%} interval. Hollow with an "
        "arrow: a bound; the crossing lies further in the arrow's direction, or nowhere. Lines: the law of "
        "the crossing with its band, dashed beyond the cells that crossed."
    )
    return Drawing(figure, frame, "The crossing against unique data", caption)


def series_name(place: CellCrossover | EfficiencyRatio, varying: list[str], size: bool = True) -> str:
    """What tells a series apart: its size, and the axes that vary beside size and data."""
    parts = [f"N = {human(place.N)}"] if place.N and size else []
    parts += [words({a: place.axes[a] for a in varying})] if varying else []
    return ", ".join(parts) or "all"


def varying_axes(crossovers: SameNCrossovers) -> list[str]:
    """Axes with several values that do not just rename N or U."""
    raw = crossovers.select("raw", "tokens")
    out = []
    for axis in raw[0].axes if raw else ():
        groups: dict[str, list[tuple[float, float]]] = {}
        for c in raw:
            groups.setdefault(str(c.axes[axis]), []).append((c.N or 1.0, c.U or 1.0))
        if len(groups) > 1 and not any(_renames(groups, k) for k in (0, 1)):
            out.append(axis)
    return out


def _renames(groups: dict[str, list[tuple[float, float]]], which: int) -> bool:
    values = np.log([v[which] for g in groups.values() for v in g])
    within = max(float(np.ptp(np.log([v[which] for v in g]))) for g in groups.values())
    return bool(np.ptp(values) > 0.02 and within < 0.2 * np.ptp(values))


_COLUMNS = (
    "cell",
    "definition",
    "unit",
    "N",
    "U",
    "value",
    "low",
    "high",
    "censored",
    "robust",
    "replicates",
)


def _frame(crossovers: SameNCrossovers) -> pd.DataFrame:
    varying = varying_axes(crossovers)
    rows = []
    for c in crossovers.crossings:
        if c.unit == "flops" or not c.U or c.value is None:
            continue
        replicates = ";".join(f"{o.x[c.unit]:.6g}{_SIDE[o.censored]}" for o in c.outcomes)
        columns = {k: getattr(c, k) for k in _COLUMNS}
        rows.append({"series": series_name(c, varying), **columns, "replicate_values": replicates})
    return pd.DataFrame(rows)


_SIDE = {None: "", "right": "+", "left": "-"}


def _against(axis: Axes, part: pd.DataFrame, law: CensoredLaw | None, crossovers: SameNCrossovers) -> None:
    every: list[float] = []
    shifts = dodge(levels(list(part["U"])), part["series"].nunique())
    beside = math.sqrt(shifts[1] / shifts[0]) if len(shifts) > 1 else 1.03
    for k, (_, rows) in enumerate(part.groupby("series", sort=False)):
        colour, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
        rows = rows.sort_values("U")
        _law_line(axis, law, rows, colour, part["unit"].iloc[0])
        for r in rows.to_dict("records"):
            x = r["U"] * shifts[k]
            every += [v for v in (r["value"], r["low"], r["high"]) if v and math.isfinite(v)]
            if isinstance(r["censored"], str):
                bounded(axis, x, r["value"], r["censored"], colour, marker)
                continue
            if r["low"] and r["high"] and r["low"] > 0:
                axis.plot(
                    [x, x],
                    [max(r["low"], r["value"] / 4), min(r["high"], r["value"] * 4)],
                    color=colour,
                    lw=1.2,
                    zorder=3,
                )
            for text in str(r["replicate_values"]).split(";"):
                axis.plot(
                    [x * beside],
                    [float(text.rstrip("+-"))],
                    marker=".",
                    ms=3.5,
                    color=colour,
                    alpha=0.7,
                    ls="none",
                )
            axis.plot(
                [x],
                [r["value"]],
                marker=marker,
                ms=5.5,
                mfc=colour if r["robust"] else "white",
                mec=colour,
                ls="none",
                zorder=4,
            )
    budgets = sorted({float(f"{u:.2g}") for u in part["U"]})
    log_axis(axis, "x", list(part["U"]), at=budgets if len(budgets) <= 8 else None)
    log_axis(axis, "y", every or [1.0])
    axis.set_xlim(part["U"].min() / 1.35, part["U"].max() * 1.35)
    if every:
        axis.set_ylim(min(every) / 1.5, max(every) * 1.75)


def _law_line(axis: Axes, law: CensoredLaw | None, rows: pd.DataFrame, colour: str, unit: str) -> None:
    if law is None or law.coefficient("U") is None or len(law.columns) > 3 or rows["U"].nunique() < 2:
        return
    if not law.covers(N=float(rows["N"].iloc[0])):
        return
    grid = np.geomspace(rows["U"].min() / 1.15, rows["U"].max() * 1.15, 25)
    size: dict[str, Any] = {"N": float(rows["N"].iloc[0])} if "N" in law.columns else {}
    band = np.array([law.predict(U=float(u), **size) for u in grid])
    seen = rows.loc[rows["censored"].isna(), "U"]
    inside = (
        (grid >= seen.min() * 0.99) & (grid <= seen.max() * 1.01)
        if len(seen)
        else np.zeros(len(grid), dtype=bool)
    )
    axis.fill_between(grid, band[:, 1], band[:, 2], color=colour, alpha=0.08, lw=0)
    axis.plot(grid, band[:, 0], color=colour, lw=0.9, ls=(0, (3, 2)), zorder=2)
    if inside.sum() > 1:
        axis.plot(grid[inside], band[inside, 0], color=colour, lw=1.2, zorder=2)


def _legend(figure: Figure, frame: pd.DataFrame) -> None:
    handles = [
        Line2D(
            [],
            [],
            color=SERIES[k % len(SERIES)],
            marker=MARKERS[k % len(MARKERS)],
            ms=5.5,
            lw=1.2,
            label=name,
        )
        for k, name in enumerate(frame["series"].unique())
    ]
    handles.append(
        Line2D([], [], color=SOFT, marker="o", mfc="white", ms=5.5, lw=0, label="bound, or not robust")
    )
    legend_above(figure, handles, most=3)


class _Tile(NamedTuple):
    """A cell of the map, whose place and axes are all known; ``group``: which map it belongs to."""

    crossing: CellCrossover
    group: str
    N: float
    U: float
    value: float


def crossover_map(crossovers: SameNCrossovers) -> Drawing | None:
    """A map over N and U: the place in each cell, bounds hatched. None without both a size and a budget
    axis."""
    varying = varying_axes(crossovers)
    tiles = [
        _Tile(c, series_name(c, varying, size=False), c.N, c.U, c.value)
        for d in ("raw", "best_so_far")
        for c in crossovers.select(d, "tokens")
        if c.N and c.U and c.value
    ]
    budgets = levels([t.U for t in tiles])
    if len(levels([t.N for t in tiles])) * len(budgets) < 2:
        return None
    groups = sorted({t.group for t in tiles})[:4]
    sizes = {g: levels([t.N for t in tiles if t.group == g]) for g in groups}
    with look():
        width = max(2.4, 0.78 * len(budgets))
        height = max(0.9, 0.46 * max(map(len, sizes.values())))
        titles = {g: [] if g == "all" else lines_of(g, width, RC["axes.titlesize"]) for g in groups}
        room = 0.3 + 0.15 * max(map(len, titles.values()))
        figure, axes = panels(
            len(groups), 2, width, height, left=0.75, top=room, bottom=0.5, between=0.35, above=0.4 + room
        )
        norm = LogNorm(min(t.value for t in tiles) / 1.2, max(t.value for t in tiles) * 1.2)
        data = []
        for i, group in enumerate(groups):
            for j, definition in enumerate(("raw", "best_so_far")):
                mine = [t for t in tiles if t.group == group and t.crossing.definition == definition]
                data += _map(axes[i][j], mine, sizes[group], budgets, norm, j == 0)
                axes[i][j].set_title("\n".join([_WORDS[definition], *titles[group]]), loc="left")
                axes[i][j].set_xlabel("unique tokens U")
    caption = (
        f"Tokens at which {crossovers.names[1]} passes {crossovers.names[0]}, over model size and unique "
        "data. Darker is later. Hatched: not in every replicate by the bound that the number is. Dotted: "
        "ahead before the bound. ?: not robust."
    )
    return Drawing(figure, pd.DataFrame(data), "Map of the crossings", caption)


def levels(values: list[float]) -> list[float]:
    """Distinct values up to 10 % (a subset holds a little more or less than was asked)."""
    out: list[float] = []
    for v in sorted(values):
        if not out or v > out[-1] * 1.1:
            out.append(v)
    return out


def _nearest(levels: list[float], value: float) -> int:
    return int(np.abs(np.log(np.array(levels) / value)).argmin())


def _map(
    axis: Axes,
    tiles: list[_Tile],
    sizes: list[float],
    budgets: list[float],
    norm: LogNorm,
    label: bool,
) -> list[dict[str, Any]]:
    colours = mpl.colormaps["Blues"]
    data = []
    for tile in tiles:
        r = tile.crossing
        x, y = _nearest(budgets, tile.U), _nearest(sizes, tile.N)
        sign = {None: "", "right": "> ", "left": "< "}[r.censored]
        shade = float(norm(tile.value)) * 0.75 + 0.1
        face = colours(shade) if r.censored is None else "white"
        axis.add_patch(
            Rectangle(
                (x - 0.48, y - 0.46),
                0.96,
                0.92,
                fc=face,
                ec=SOFT,
                lw=0.6,
                hatch={None: None, "right": "////", "left": "...."}[r.censored],
                alpha=1 if r.censored is None else 0.35,
            )
        )
        doubt = "" if r.censored or r.robust else " ?"
        axis.text(
            x,
            y,
            f"{sign}{human(tile.value)}{doubt}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if r.censored is None and shade > 0.55 else INK,
            bbox={"fc": "white", "ec": "none", "pad": 1.2} if r.censored else None,
        )
        data.append(
            {
                k: getattr(r, k)
                for k in ("cell", "definition", "N", "U", "value", "low", "high", "censored", "robust")
            }
        )
    axis.set_xlim(-0.6, len(budgets) - 0.4)
    axis.set_ylim(-0.6, len(sizes) - 0.4)
    axis.set_xticks(range(len(budgets)), [human(float(f"{b:.2g}")) for b in budgets])
    axis.set_yticks(range(len(sizes)), [human(s) for s in sizes])
    axis.grid(False)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if label:
        axis.set_ylabel("parameters N")
    return data
