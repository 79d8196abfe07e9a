"""What unique data is worth: best and final loss against U, and the data-efficiency ratio."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.lines import Line2D

from analysis.crossover.place import record
from analysis.crossover.same_n.efficiency import EfficiencyRatio, by_cell, losses
from analysis.crossover.same_n.location import SameNCrossovers
from analysis.plots.drawing import Drawing
from analysis.plots.places import levels, series_name, varying_axes
from analysis.plots.style import (
    FIRST,
    MARKERS,
    SECOND,
    SERIES,
    SOFT,
    bounded,
    dodge,
    legend_above,
    log_axis,
    look,
    panels,
)


def loss_against_unique(crossovers: SameNCrossovers) -> Drawing | None:
    """Best (early-stopped) beside final loss against U, by size and objective. None where U is unknown."""
    table = losses(crossovers)
    if table.empty or table["U"].isna().any():
        return None
    varying = varying_axes(crossovers)
    names = {c.cell: series_name(c, varying) for c in crossovers.select("raw", "tokens")}
    data = []
    with look():
        figure, axes = panels(1, 2, 2.9, 2.4, left=0.6, top=0.3, bottom=0.5, between=0.6, sharey=False)
        for axis, value in zip(axes[0], ("best", "final"), strict=True):
            cells = by_cell(table, value)
            cells["series"] = cells["cell"].map(names)
            cells.insert(0, "loss", value)
            data.append(cells)
            kinds = list(dict.fromkeys(cells["series"]))
            for (objective, series), rows in cells.groupby(["objective", "series"], sort=False):
                which = crossovers.pair.index(objective)
                colour, marker = (FIRST, SECOND)[which], MARKERS[kinds.index(series) % len(MARKERS)]
                rows = rows.sort_values("U")
                axis.plot(
                    rows["U"], rows["mean"], color=colour, lw=1.3, ls="-" if which == 0 else (0, (6, 1.2))
                )
                if rows["low"].notna().all():
                    axis.vlines(rows["U"], rows["low"], rows["high"], color=colour, lw=0.9)
                for r in rows.to_dict("records"):
                    hollow = value == "best" and not r["bracketed"]
                    axis.plot(
                        [r["U"]],
                        [r["mean"]],
                        marker=marker,
                        ms=5,
                        mfc="white" if hollow else colour,
                        mec=colour,
                        ls="none",
                        zorder=4,
                    )
            budgets = sorted({float(f"{u:.2g}") for u in cells["U"]})
            log_axis(axis, "x", list(cells["U"]), at=budgets if len(budgets) <= 8 else None)
            axis.set_xlim(cells["U"].min() / 1.3, cells["U"].max() * 1.3)
            axis.set_xlabel("unique tokens U")
            axis.set_ylabel(f"{value} {crossovers.axis_label}")
            axis.set_title({"best": "early-stopped", "final": "where the run ends"}[value], loc="left")
        bound = [" (upper bound)" if k == "upper_bound" else "" for k in _kinds(crossovers)]
        handles = [
            Line2D(
                [],
                [],
                color=(FIRST, SECOND)[w],
                ls="-" if w == 0 else (0, (6, 1.2)),
                label=crossovers.names[w] + bound[w],
            )
            for w in (0, 1)
        ] + [
            Line2D([], [], color=SOFT, marker=MARKERS[k % len(MARKERS)], lw=0, ms=5, label=s)
            for k, s in enumerate(kinds)
        ]
        handles.append(
            Line2D(
                [],
                [],
                color=SOFT,
                marker="o",
                mfc="white",
                lw=0,
                ms=5,
                label="still falling" if crossovers.better == "lower" else "still rising",
            )
        )
        legend_above(figure, handles, most=3)
    caption = (
        f"{crossovers.title_name} on half B against unique data: where early stopping on half A would have "
        "kept it, and where the run ends. Bars: intervals over replicates, their variance from all cells "
        "of an objective. Hollow: a minimum that is not bracketed, so that a longer run would do better."
    )
    title = f"{crossovers.title_name} against unique data"
    return Drawing(figure, pd.concat(data, ignore_index=True), title, caption)


def _kinds(crossovers: SameNCrossovers) -> list[str]:
    return [crossovers.likelihoods.get(o, "unknown") for o in crossovers.pair]


def efficiency(crossovers: SameNCrossovers, ratios: list[EfficiencyRatio]) -> Drawing | None:
    """The data-efficiency ratio against U. None where no ratio could be formed."""
    ratios = [r for r in ratios if r.value is not None]
    if not ratios:
        return None
    varying = varying_axes(crossovers)
    first, second = crossovers.names
    series = [series_name(r, varying) for r in ratios]
    kinds = list(dict.fromkeys(series))
    with look():
        figure, axes = panels(1, 1, 4.2, 2.5, left=0.65, top=0.12, bottom=0.5)
        axis = axes[0][0]
        axis.axhline(1.0, color=SOFT, lw=0.9)
        shifts = dodge(levels([r.U for r in ratios]), len(kinds))
        for r, name in zip(ratios, series, strict=True):
            k = kinds.index(name)
            colour, marker = SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]
            x = r.U * shifts[k]
            if r.value is not None and r.censored:
                bounded(axis, x, r.value, r.censored, colour, marker)
                continue
            if r.low and r.high and math.isfinite(r.low):
                axis.plot([x, x], [r.low, r.high], color=colour, lw=1.2)
            axis.plot(
                [x],
                [r.value],
                marker=marker,
                ms=5.5,
                mfc=colour if r.settled else "white",
                mec=colour,
                ls="none",
                zorder=4,
            )
        values = [v for r in ratios for v in (r.value, r.low, r.high, 1.0) if v and math.isfinite(v)]
        budgets = sorted({float(f"{r.U:.2g}") for r in ratios})
        log_axis(axis, "x", [r.U for r in ratios], at=budgets if len(budgets) <= 8 else None)
        log_axis(axis, "y", values)
        axis.set_xlim(min(budgets) / 1.4, max(budgets) * 1.4)
        axis.set_ylim(min(values) / 1.9, max(values) * 1.9)
        axis.set_xlabel(f"unique tokens U that {second} has")
        axis.set_ylabel(f"times U that {first} needs")
        handles = [
            Line2D(
                [], [], color=SERIES[k % len(SERIES)], marker=MARKERS[k % len(MARKERS)], lw=0, ms=5.5, label=s
            )
            for k, s in enumerate(kinds)
        ]
        legend_above(figure, handles, most=3)
    caption = (
        f"Data efficiency: how many times the unique data {first} needs for the loss that {second} reaches "
        "on U, both "
        f"early-stopped within this budget; above the line {second} gets more from each token. Arrows: "
        "bounds. Hollow: "
        f"{second} was still improving, so that the ratio would rise with a longer run."
    )
    rows = [
        {**{k: v for k, v in record(r).items() if k not in ("axes", "assumption")}, "series": name}
        for r, name in zip(ratios, series, strict=True)
    ]
    return Drawing(figure, pd.DataFrame(rows), f"Data efficiency of {second} against {first}", caption)
