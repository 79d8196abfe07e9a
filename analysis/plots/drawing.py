"""A figure before it is saved, and the parts that figures of laws share."""

from __future__ import annotations

import base64
import html
import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure

from analysis.plots.style import GRID, INK, SOFT, Plot, look
from analysis.tables.wording import human

DASHED = (0, (4, 2))
"""Beyond the data."""

RAMP: Colormap = LinearSegmentedColormap.from_list(
    "dusk", ["#f0c05a", "#e08214", "#b5495b", "#6a3d7c", "#1f2f5f"]
)
"""Small to large: light to dark in grey as well, and told apart by the colour-blind."""


@dataclass(frozen=True, repr=False)
class Drawing:
    """A figure with the numbers behind it, its title and its caption. A notebook shows it."""

    figure: Figure
    data: pd.DataFrame
    title: str
    caption: str

    def __repr__(self) -> str:
        return self.caption

    def _repr_html_(self) -> str:
        buffer = BytesIO()
        with look():
            self.figure.savefig(buffer, format="png", dpi=110, metadata={"Software": "crossover"})
        image = base64.b64encode(buffer.getvalue()).decode()
        caption = html.escape(self.caption)
        return (
            f'<figure><img alt="{html.escape(self.title)}" src="data:image/png;base64,{image}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )

    def write(self, path: str | Path, dpi: int | None = None) -> Plot:
        """PNG, SVG and CSV beside each other, whatever the ending of ``path``; a PDF too, if it asks
        for one."""
        path = Path(path)
        stem = path.with_suffix("") if path.suffix.lower() in (".png", ".svg", ".csv", ".pdf") else path
        stem.parent.mkdir(parents=True, exist_ok=True)
        png, svg, csv, pdf = (stem.with_name(f"{stem.name}.{e}") for e in ("png", "svg", "csv", "pdf"))
        with look():
            self.figure.savefig(
                png, metadata={"Software": "crossover"}, dpi=dpi or mpl.rcParams["savefig.dpi"]
            )
            self.figure.savefig(svg, metadata={"Date": None, "Creator": "crossover"})
            if path.suffix.lower() == ".pdf":
                self.figure.savefig(pdf, metadata={"CreationDate": None})
        self.data.to_csv(csv, index=False)
        return Plot(stem.name, self.title, self.caption, png, svg, csv)


def shades(values: np.ndarray) -> tuple[LogNorm, np.ndarray]:
    """A logarithmic norm over positive values, and their colours on `RAMP` (n, 4)."""
    low, high = float(np.min(values)), float(np.max(values))
    norm = LogNorm(low, high if high > low * 1.0001 else low * 1.0001)
    return norm, RAMP(norm(values))


def bar(figure: Figure, axis: Axes, norm: LogNorm, label: str, below: bool = False) -> None:
    """A slim colour bar inside the panel's right margin, with plain labels; its name above it, or below."""
    place = axis.get_position()
    width = 0.12 / figure.get_figwidth()
    gap = 0.1 / figure.get_figwidth()
    box = figure.add_axes((place.x1 + gap, place.y0, width, place.height))
    colour_bar = figure.colorbar(mpl.cm.ScalarMappable(norm, RAMP), cax=box)
    ticks = _decades(norm.vmin or 1.0, norm.vmax or 1.0)
    if ticks[-1] >= 1e15:  # FLOPs are read as powers of ten
        ticks = [t for t in ticks if math.isclose(math.log10(t), round(math.log10(t)))] or ticks
    labels = [f"$10^{{{round(math.log10(t))}}}$" if t >= 1e15 else human(t) for t in ticks]
    colour_bar.set_ticks(ticks, labels=labels)
    colour_bar.minorticks_off()
    colour_bar.outline.set_visible(False)
    box.tick_params(length=2)
    if below:
        box.set_xlabel(label, fontsize=7.5, color=INK)
    else:
        box.set_title(label, fontsize=7.5, color=INK, loc="left", pad=4)


def _decades(low: float, high: float) -> list[float]:
    subs = (1, 3) if high / low > 30 else (1, 2, 5)
    ticks = [
        s * 10.0**e
        for e in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        for s in subs
        if low * 0.999 <= s * 10.0**e <= high * 1.001
    ]
    return ticks or [low, high]


def power_ticks(axis: Axes, which: str) -> None:
    """A log axis over many decades, labelled by powers of ten."""
    getattr(axis, f"set_{which}scale")("log")
    target = axis.xaxis if which == "x" else axis.yaxis
    target.set_major_locator(mpl.ticker.LogLocator(base=10, numticks=7))
    target.set_major_formatter(mpl.ticker.LogFormatterMathtext(base=10))
    target.set_minor_locator(mpl.ticker.LogLocator(base=10, subs=(), numticks=7))


def loss_ticks(axis: Axes, values: np.ndarray) -> None:
    """A vertical axis of losses: logarithmic with plain labels where they are positive and spread,
    else linear."""
    good = values[np.isfinite(values)]
    low, high = (float(good.min()), float(good.max())) if len(good) else (1.0, 2.0)
    if low <= 0 or high / low < 1.25:
        return
    axis.set_yscale("log")
    gap = math.log(high / low) / 9
    ticks: list[float] = []
    for tick in _round_numbers(low * 0.8, high * 1.25):
        if not ticks or math.log(tick / ticks[-1]) > gap:
            ticks.append(tick)
    axis.yaxis.set_major_locator(mpl.ticker.FixedLocator(ticks))
    axis.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.3g"))
    axis.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def _round_numbers(low: float, high: float) -> list[float]:
    """Multiples of .05, .1, .5 ... of the decade, as coarse as eight to twenty of them allow."""
    step = 10.0 ** math.floor(math.log10(high))
    for finer in (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01):
        multiples = (
            np.arange(math.ceil(low / (step * finer)), math.floor(high / (step * finer)) + 1) * step * finer
        )
        if len(multiples) >= 8:
            return [float(f) for f in multiples if f > 0]
    return [float(f) for f in multiples if f > 0]


def line_beyond(
    axis: Axes,
    x: np.ndarray,
    y: np.ndarray,
    low: float,
    high: float,
    colour: object,
    label: str | None = None,
    **style: object,
) -> None:
    """A curve, solid over the data (``low`` to ``high``) and dashed beyond it."""
    inside = (x >= low * 0.999) & (x <= high * 1.001)
    for mask, dashes in ((x <= low * 1.001, DASHED), (inside, "-"), (x >= high * 0.999, DASHED)):
        if mask.sum() > 1:
            shown = label if dashes == "-" else None
            axis.plot(x[mask], y[mask], color=colour, ls=dashes, label=shown, **style)  # type: ignore[arg-type]


def band(axis: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: object) -> None:
    """A shaded interval; where it is unbounded it runs off the panel."""
    bottom, top = axis.get_ylim()
    floor = bottom / 1e3 if axis.get_yscale() == "log" else bottom - 1e3 * (top - bottom)
    ceiling = top * 1e3 if axis.get_yscale() == "log" else top + 1e3 * (top - bottom)
    axis.fill_between(
        x, np.clip(low, floor, ceiling), np.clip(high, floor, ceiling), color=colour, alpha=0.2, lw=0
    )
    axis.set_ylim(bottom, top)


def nothing(axis: Axes, words: str) -> None:
    """A panel that says why it is empty."""
    axis.text(
        0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color=SOFT, fontsize=8, wrap=True
    )
    axis.grid(False)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(GRID + "55")
