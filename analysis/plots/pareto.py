"""The Pareto fronts of both arms over compute, one panel a U, with where they cross."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from analysis.crossover.fronts.meeting import ComputeOptimal, FrontCrossover
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.plots.drawing import Drawing
from analysis.plots.style import FIRST, SECOND, SOFT, log_axis, look, panels
from analysis.tables.wording import human

PANELS = 6


def fronts(crossovers: SameNCrossovers, optimal: ComputeOptimal) -> Drawing | None:
    """Loss of each front against FLOPs: solid where its best size is bracketed, dashed where not. None
    without fronts."""
    groups = optimal.groups[:PANELS]
    if not groups:
        return None
    best = "least" if crossovers.better == "lower" else "best"
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    data = []
    with look():
        figure, axes = panels(
            rows, columns, 2.6, 2.1, left=0.65, top=0.65, bottom=0.5, between=0.55, above=0.75, right=0.2
        )
        for axis, group in zip(axes.flat, groups, strict=False):
            c, losses = np.exp(group.log_c), crossovers.sign * group.losses
            for k, colour in enumerate((FIRST, SECOND)):
                style = "-" if k == 0 else (0, (6, 1.2))
                axis.plot(c, losses[k], color=colour, lw=0.9, ls=(0, (1.5, 2)))
                solid = np.where(group.bracketed[k], losses[k], np.nan)
                axis.plot(c, solid, color=colour, lw=1.7, ls=style)
                data.append(
                    pd.DataFrame(
                        {
                            "cell": group.crossing.cell,
                            "U": group.U,
                            "objective": crossovers.pair[k],
                            "flops": c,
                            "loss": losses[k],
                            "bracketed": group.bracketed[k],
                        }
                    )
                )
            _mark(axis, group.crossing)
            log_axis(axis, "x", list(c) if len(c) else [1.0])
            axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0e}".replace("e+", "e")))
            axis.set_title(f"U = {human(group.U)}", loc="left")
            axis.set_xlabel("training FLOPs")
            axis.set_ylabel(f"{best} {crossovers.axis_label}")
        for axis in list(axes.flat)[len(groups) :]:
            axis.set_visible(False)
        names = crossovers.names
        figure.legend(
            handles=[
                Line2D([], [], color=FIRST, lw=1.7, label=names[0]),
                Line2D([], [], color=SECOND, lw=1.7, ls=(0, (6, 1.2)), label=names[1]),
                Line2D([], [], color=SOFT, lw=0.9, ls=(0, (1.5, 2)), label="best size not bracketed"),
            ],
            loc="upper left",
            ncols=3,
            bbox_to_anchor=(0.02, 1 - 0.06 / figure.get_figheight()),
            borderaxespad=0,
        )
    caption = (
        f"{best.capitalize()} {crossovers.value_name} of any size and step tried within a budget, selected "
        "on half A and read on half B. Dotted: the best size is an extreme of those tried, so that the front "
        f"is no optimum. Band: the compute-optimal crossover with its {crossovers.confidence:.0%} interval; "
        "hatched: no crossing there yet."
    )
    return Drawing(figure, pd.concat(data), "Pareto fronts over compute", caption)


def _mark(axis: Axes, crossing: FrontCrossover) -> None:
    """The crossing with its interval, or the region that a bound excludes."""
    if crossing.value is None:
        return
    if crossing.censored == "right":
        axis.axvspan(axis.get_xlim()[0], crossing.value, fc="none", ec=SOFT, hatch="////", alpha=0.25, lw=0)
        return
    axis.axvline(crossing.value, color=SOFT, lw=1.0)
    if crossing.low and crossing.high:
        axis.axvspan(crossing.low, crossing.high, color=SOFT, alpha=0.15, lw=0)
