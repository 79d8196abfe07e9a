"""One look for all figures: readable in greyscale and by the colour-blind, the same in print and on a page.

An arm is known by colour, lightness and marker together; a bound by a hollow marker with an arrow; what is
extrapolated by dashes. Colours: two of Okabe and Ito's (2008), darkened until their greys differ.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from analysis.tables.wording import human

INK, SOFT, GRID = "#1c1c1c", "#6b6b6b", "#e3e3e3"
FIRST, SECOND = "#0b4f8a", "#e08214"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SERIES = ("#222255", "#b03060", "#117733", "#cc8822", "#4477aa", "#999933", "#882255", "#44aa99")

RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.dpi": 100,
    "savefig.dpi": 180,
    "svg.hashsalt": "crossover",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Plot:
    """A saved figure: ``name``, ``caption``, its files, and whether it shows anything."""

    name: str
    title: str
    caption: str
    png: Path
    svg: Path
    csv: Path


@contextmanager
def look() -> Iterator[None]:
    """The house style, for the duration."""
    with mpl.rc_context(rc=RC):
        yield


def panels(
    rows: int,
    columns: int,
    width: float,
    height: float,
    *,
    left: float = 0.55,
    right: float = 0.15,
    top: float = 0.35,
    bottom: float = 0.45,
    between: float = 0.42,
    above: float = 0.5,
    sharex: Any = False,
    sharey: Any = False,
) -> tuple[Figure, np.ndarray]:
    """A grid of panels of ``width`` x ``height`` inches with fixed margins: no layout engine, which would
    dominate the time. Returns the figure and an array of axes [rows, columns]."""
    w = left + right + columns * width + (columns - 1) * between
    h = top + bottom + rows * height + (rows - 1) * above
    figure = Figure(figsize=(w, h))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    figure.subplots_adjust(
        left=left / w,
        right=1 - right / w,
        top=1 - top / h,
        bottom=bottom / h,
        wspace=between / width,
        hspace=above / height,
    )
    return figure, axes


def lines_of(text: str, inches: float, size: float) -> list[str]:
    """``text`` broken, after commas, where it is wider than ``inches`` at a font size in points."""
    glued = ", ".join(part.replace(" ", "\0") for part in text.split(", "))
    lines = textwrap.wrap(glued, max(8, int(inches * 72 / (0.55 * size))), break_long_words=False)
    return [line.replace("\0", " ") for line in lines]


def legend_above(figure: Figure, handles: Sequence[Any], most: int = 4) -> None:
    """A legend above all panels in as many columns as fit, ``most`` at most; the figure grows by its
    rows."""
    inches = 0.45 + max(len(h.get_label()) for h in handles) * 0.55 * RC["legend.fontsize"] / 72
    columns = max(1, min(len(handles), most, int((figure.get_figwidth() - 0.1) / inches)))
    extra = 0.08 + 0.165 * math.ceil(len(handles) / columns)
    before, at = figure.get_figheight(), figure.subplotpars
    after = before + extra
    figure.set_figheight(after)
    figure.subplots_adjust(top=at.top * before / after, bottom=at.bottom * before / after)
    figure.legend(
        handles=handles,
        loc="upper left",
        ncols=columns,
        bbox_to_anchor=(0.02, 1 - 0.08 / after),
        borderaxespad=0,
        columnspacing=1.4,
    )


def dodge(levels: Sequence[float], series: int) -> list[float]:
    """Factors that set several series apart at one place of a log axis, all nearer to it than to the next of
    ``levels``."""
    gaps = np.diff(np.log(sorted(levels)))
    step = min(0.06, 0.6 * float(gaps.min()) / series if len(gaps) else 1.0)
    return [math.exp(step * (k - (series - 1) / 2)) for k in range(series)]


def log_axis(axis: Axes, which: str, values: pd.Series | list[float], at: list[float] | None = None) -> None:
    """A logarithmic axis with a few plain labels. ``at``: label just these values."""
    getattr(axis, f"set_{which}scale")("log")
    target = axis.xaxis if which == "x" else axis.yaxis
    good = [v for v in values if v and v > 0]
    span = max(good) / min(good) if good else 1.0
    if at is not None:
        target.set_major_locator(FixedLocator(at))
    else:
        subs: tuple[float, ...] = (1.0, 2.0, 5.0) if span < 60 else (1.0, 3.0) if span < 1e3 else (1.0,)
        if span < 4:
            subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
        target.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    target.set_minor_locator(LogLocator(base=10, subs=[], numticks=12))
    target.set_major_formatter(FuncFormatter(lambda v, _: human(v)))
    target.set_minor_formatter(NullFormatter())


def bounded(axis: Axes, x: float, y: float, side: str, colour: str, marker: str, size: float = 5.5) -> None:
    """A censored place: hollow, with an arrow to where the true one lies (``right``: above, ``left``:
    below)."""
    reach = 16 if side == "right" else -16
    axis.annotate(
        "",
        xy=(x, y),
        xytext=(0, reach),
        textcoords="offset points",
        arrowprops={
            "arrowstyle": "<|-",
            "color": colour,
            "lw": 1.1,
            "shrinkA": 0,
            "shrinkB": 3,
            "mutation_scale": 8,
        },
    )
    axis.plot([x], [y], marker=marker, ms=size, mfc="white", mec=colour, mew=1.2, ls="none", zorder=4)
