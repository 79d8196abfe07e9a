"""Figures of how far a fit can be trusted: residuals, held-out runs, profile likelihoods, estimands,
routes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from scipy import stats

from analysis.fitting.result import Fit
from analysis.laws.base import Array
from analysis.plots.drawing import DASHED, Drawing, nothing, power_ticks
from analysis.plots.law_curves import data_of
from analysis.plots.style import FIRST, INK, SECOND, SERIES, SOFT, log_axis, look, panels
from analysis.questions.classic_routes import Approaches
from analysis.questions.criticism import lack_of_fit
from analysis.questions.estimand_table import EstimandTable
from analysis.questions.holdout import BackTest, score
from analysis.questions.likelihood_profiles import ProfileCurve, profile_curves
from analysis.tables.frame import FitError

_BINS = 12


def residuals(fit: Fit) -> Drawing:
    """Residuals against the prediction and each variable, with a running median; and their quantiles."""
    data = data_of(fit)
    r, fitted = fit.residuals(), fit.fitted()
    axes_of = {"prediction": fitted} | {
        v: data[v].to_numpy()
        for v in data.columns
        if v != str(fit.law.target) and np.ptp(data[v].to_numpy()) > 0
    }
    if {"D", "U"} <= set(data.columns):
        axes_of["epochs D/U"] = data["D"].to_numpy() / data["U"].to_numpy()
    tests = {t["variable"]: t["p"] for t in lack_of_fit(fit).trends.to_dict("records")}
    columns = 3
    rows = math.ceil((len(axes_of) + 1) / columns)
    unit = "log observed - log predicted" if fit.estimand.log else "observed - predicted"
    with look():
        figure, panes = panels(
            rows, columns, 2.1, 1.6, left=0.7, right=0.15, top=0.35, bottom=0.5, between=0.5, above=0.75
        )
        places = panes.ravel()
        for axis, (name, x) in zip(places, axes_of.items(), strict=False):
            _against(axis, name, x, r, tests.get(name.split()[0]))
        for k in range(rows):
            panes[k][0].set_ylabel(unit if rows == 1 else "residual")
        _quantiles(places[len(axes_of)], r)
        for axis in places[len(axes_of) + 1 :]:
            axis.set_visible(False)
    table = pd.DataFrame(
        {"row": data.index, **{str(c): data[c].to_numpy() for c in data}, "prediction": fitted, "residual": r}
    )
    caption = (
        f"Residuals ({unit}) of {fit.law.formula}. Lines: running medians; a p-value stands where an F test"
        " asks whether the logarithm of a variable, and its square, would explain more. Last panel: against"
        " normal quantiles."
    )
    return Drawing(figure, table, "Residuals", caption)


def _against(axis: Axes, name: str, x: Array, r: Array, p: float | None) -> None:
    axis.axhline(0, color=SOFT, lw=0.7, zorder=1)
    axis.scatter(x, r, s=7, color=FIRST, alpha=0.65, lw=0, zorder=2, rasterized=len(x) > 5000)
    if np.all(x > 0) and x.max() / x.min() > 30:
        power_ticks(axis, "x")
    if len(x) >= 3 * _BINS:
        order = np.argsort(x, kind="stable")
        parts = np.array_split(order, _BINS)
        axis.plot(
            [np.median(x[k]) for k in parts], [np.median(r[k]) for k in parts], color=SECOND, lw=1.6, zorder=3
        )
    reach = float(np.quantile(np.abs(r), 0.99)) * 1.25 or 1.0
    axis.set_ylim(-reach, reach)
    outside = int((np.abs(r) > reach).sum())
    words = [f"p = {p:.1g}" if p is not None and p >= 1e-4 else "p < 1e-4"] if p is not None else []
    words += [f"{outside} outside"] if outside else []
    axis.set_title(", ".join(words), loc="right", fontsize=7, color=SOFT, pad=3)
    axis.set_xlabel(name)


def _quantiles(axis: Axes, r: Array) -> None:
    z = stats.norm.ppf((np.arange(1, len(r) + 1) - 0.5) / len(r))
    s = np.sort(r)
    scale = float(np.median(np.abs(r - np.median(r)))) * 1.4826 or float(np.std(r)) or 1.0
    axis.plot(z, z * scale + np.median(r), color=SOFT, lw=0.8)
    axis.scatter(z, s, s=6, color=FIRST, lw=0, rasterized=len(r) > 5000)
    axis.set_xlabel("normal quantile")
    axis.set_title("all residuals", loc="right", fontsize=7, color=SOFT, pad=3)


def held_out(fit: Fit, tested: BackTest | None = None) -> Drawing:
    """Held-out runs: predicted against observed, and the signed error against compute, with intervals
    for new runs: the law's own, and those that let the law drift, dotted where back-tests do not reach.

    Raises FitError if the fit has no intervals.
    """
    data, scored = data_of(fit), score(fit)
    heldout = fit.heldout
    if heldout is None or "drift_low" not in scored.table:
        raise FitError("the figure of held-out runs needs intervals: fit with an interval other than 'none'")
    t = scored.table
    by = "C" if "C" in heldout else fit.law.variables[0]
    x = (6.0 * heldout["N"] * heldout["D"] if {"N", "D"} <= set(heldout) else heldout[by]).to_numpy()
    far = t["beyond"].to_numpy()
    calibrated = far <= 1.0 if tested is None else tested.is_calibrated(far)
    with look():
        figure, panes = panels(1, 2, 2.7, 2.5, left=0.6, right=0.2, top=0.3, bottom=0.85, between=0.75)
        left, right = panes[0]
        observed = data[str(fit.law.target)].to_numpy()
        left.scatter(fit.fitted(), observed, s=6, color="#c4c4c4", lw=0, zorder=1)
        _errors(left, t["prediction"], t["observed"], t["low"], t["high"], across=True)
        span = np.array(
            [min(t["observed"].min(), t["prediction"].min()), max(t["observed"].max(), t["prediction"].max())]
        )
        pad = 0.12 * (span[1] - span[0]) or 0.1
        left.plot(span + np.array([-pad, pad]), span + np.array([-pad, pad]), color=SOFT, lw=0.8, zorder=0)
        left.set_xlim(span[0] - pad, span[1] + pad)
        left.set_ylim(span[0] - pad, span[1] + pad)
        left.set_xlabel("predicted")
        left.set_ylabel("observed")
        right.axhline(0, color=SOFT, lw=0.8)
        for tested_here, line in ((True, "-"), (False, ":")):
            part = calibrated == tested_here
            ends = [100 * (t[k][part] / t["observed"][part] - 1) for k in ("drift_low", "drift_high")]
            right.vlines(x[part], *ends, color=SECOND, lw=2.6, ls=line, alpha=0.35, zorder=1)
        _errors(
            right,
            x,
            100 * t["error"],
            100 * (t["low"] / t["observed"] - 1),
            100 * (t["high"] / t["observed"] - 1),
        )
        if np.all(x > 0) and x.max() / x.min() > 2:
            power_ticks(right, "x")
        right.set_xlabel("compute C, FLOPs" if by == "C" else by)
        right.set_ylabel("predicted - observed, %")
        handles: list[Artist] = [
            Line2D(
                [],
                [],
                color=FIRST,
                marker="o",
                ms=4,
                lw=1,
                label=f"held out, {fit.diagnostics.level:.0%} for a new run",
            ),
            Line2D([], [], color="#c4c4c4", marker="o", ms=3, ls="none", label="fitted to"),
        ]
        for tested_here, line, words in (
            (True, "-", "allowing drift, calibrated"),
            (False, ":", "allowing drift, beyond back-tests"),
        ):
            if (calibrated == tested_here).any():
                handles.append(Line2D([], [], color=SECOND, alpha=0.35, lw=2.6, ls=line, label=words))
        figure.legend(handles=handles, loc="lower center", ncols=2, fontsize=7)
    table = t.assign(**{by: x, "calibrated": calibrated})
    reach = "" if tested is None else f" Back-tests reach {tested.reach:.3g} times beyond the data."
    return Drawing(figure, table, "Held-out runs", f"{scored}.{reach}")


def _errors(
    axis: Axes, x: Array | pd.Series, y: pd.Series, low: pd.Series, high: pd.Series, across: bool = False
) -> None:
    if across:
        axis.hlines(y, low, high, color=FIRST, lw=0.9, zorder=2)
    else:
        axis.vlines(x, low, high, color=FIRST, lw=0.9, zorder=2)
    axis.scatter(x, y, s=14, color=FIRST, lw=0, zorder=3)


def profiles(fit: Fit) -> Drawing:
    """The rise of the objective along each free parameter; where it stays under the line, the interval
    is open."""
    curves = profile_curves(fit, level=fit.diagnostics.level)
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    with look():
        figure, panes = panels(
            rows, columns, 2.1, 1.6, left=0.55, right=0.2, top=0.35, bottom=0.5, between=0.45, above=0.75
        )
        for axis, curve in zip(panes.ravel(), curves.values(), strict=False):
            _profile(axis, curve, float(fit.parameters[curve.name].value or 0.0))
        for axis in panes.ravel()[len(curves) :]:
            axis.set_visible(False)
        for row in panes:
            row[0].set_ylabel("rise, 2ΔQ/κ")
    table = pd.concat(
        [c.points.assign(parameter=n, threshold=c.threshold) for n, c in curves.items()], ignore_index=True
    )
    caption = (
        f"Profile likelihoods of {fit.law.formula}: twice the rise of the objective over its dispersion, all"
        f" other parameters refitted. Shaded: the {fit.diagnostics.level:.0%} interval, up to"
        " the dashed line."
    )
    return Drawing(figure, table, "Profile likelihoods", caption)


def _profile(axis: Axes, curve: ProfileCurve, value: float) -> None:
    x, y = curve.points["value"].to_numpy(), curve.points["rise"].to_numpy()
    left, right = x.min() if curve.low is None else curve.low, x.max() if curve.high is None else curve.high
    axis.axvspan(left, right, color=FIRST, alpha=0.12, lw=0)
    axis.axhline(curve.threshold, color=SOFT, lw=0.9, ls=DASHED)
    axis.plot(x, y, color=FIRST, lw=1.5)
    axis.plot([value], [0], marker="D", ms=4, color=INK, zorder=4, clip_on=False)
    positive = bool(x.min() > 0)
    if positive and x.max() / x.min() > 3:
        axis.set_xscale("log")
        if x.max() / x.min() > 30:
            power_ticks(axis, "x")
        else:
            log_axis(axis, "x", [float(x.min()), float(x.max())])
    axis.set_xlim(x.min(), x.max())
    axis.set_ylim(0, max(curve.threshold * 1.8, 1.0))
    for open_, at, side in ((curve.low is None, 0.03, "left"), (curve.high is None, 0.97, "right")):
        if open_:
            arrow = "← unbounded" if side == "left" else "unbounded →"
            axis.text(at, 0.9, arrow, transform=axis.transAxes, ha=side, va="top", fontsize=7.5, color=INK)
    axis.set_title(curve.name, loc="left")


def estimands(comparison: EstimandTable) -> Drawing:
    """Each parameter under each estimand beside the interval of the first: how much the choice itself
    moves."""
    first = next(iter(comparison.fits))
    lead = comparison.fits[first]
    names = [n for n, e in lead.parameters.items() if n not in lead.frozen and e.value is not None]
    rows = []
    with look():
        figure, panes = panels(
            1, len(names), 1.25, 1.5, left=0.8, right=0.15, top=0.35, bottom=0.35, between=0.22
        )
        for axis, name in zip(panes[0], names, strict=True):
            for k, (label, fit) in enumerate(comparison.fits.items()):
                e = fit.parameters[name]
                if e.value is None:
                    continue
                low, high = (e.value if v is None else v for v in (e.low, e.high))
                colour = INK if label == first else SERIES[1]
                axis.hlines(k, low, high, color=colour, lw=1.4)
                axis.plot([e.value], [k], marker="o" if label == first else "s", ms=4.5, color=colour)
                rows.append({"parameter": name, "estimand": label, **e.as_dict()})
            e = lead.parameters[name]
            if e.low is not None and e.high is not None:
                axis.axvspan(e.low, e.high, color=SOFT, alpha=0.15, lw=0)
            shown = [
                v
                for f in comparison.fits.values()
                for v in (f.parameters[name].low, f.parameters[name].high, f.parameters[name].value)
                if v
            ]
            if min(shown) > 0 and max(shown) / min(shown) > 4:
                log_axis(axis, "x", shown)
                axis.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0), numticks=3))
            else:
                axis.locator_params(axis="x", nbins=3)
            axis.set_yticks(
                range(len(comparison.fits)), labels=list(comparison.fits) if axis is panes[0][0] else []
            )
            axis.set_ylim(len(comparison.fits) - 0.5, -0.5)
            axis.set_title(name, loc="left")
            axis.grid(axis="y", visible=False)
    flagged = ", ".join(f.split(":")[0] for f in comparison.flags())
    caption = (
        f"{lead.law.formula} under each estimand, with its own interval; shaded: the interval of {first}. "
        + (
            f"Outside it by another estimand: {flagged}."
            if flagged
            else "No other estimand of the centre leaves it."
        )
    )
    return Drawing(figure, pd.DataFrame(rows), "Estimands", caption)


def routes(approaches: Approaches) -> Drawing:
    """The exponent of N* and the tokens per parameter by each classic route, or why a route gives none."""
    table = approaches.table
    with look():
        figure, panes = panels(1, 2, 2.4, 1.7, left=1.35, right=0.2, top=0.35, bottom=0.45, between=0.25)
        left, right = panes[0]
        for k, (name, row) in enumerate(table.iterrows()):
            if row["a"] is None or not np.isfinite(row["a"]):
                left.text(
                    0.02,
                    k,
                    "refused",
                    transform=left.get_yaxis_transform(),
                    fontsize=7,
                    color=SOFT,
                    va="center",
                )
                continue
            colour = SERIES[("1", "2", "3").index(str(name)[0])]
            left.hlines(k, row["a_low"], row["a_high"], color=colour, lw=1.4)
            left.plot([row["a"]], [k], marker="o", ms=4.5, color=colour)
            right.plot([row["D/N"]], [k], marker="o", ms=4.5, color=colour)
        for axis, words in (
            (left, "a of N* ~ C^a"),
            (right, f"tokens per parameter at C = {approaches.compute:.3g}"),
        ):
            axis.set_ylim(len(table) - 0.5, -0.5)
            axis.set_yticks(range(len(table)), labels=list(table.index) if axis is left else [])
            axis.set_xlabel(words)
            axis.grid(axis="y", visible=False)
        right.set_xlim(0, 1.1 * float(np.nanmax([1.0, *table["D/N"].astype(float)])))
        if table["a"].isna().all():
            nothing(right, "no route gives an optimum")
    return Drawing(
        figure,
        table.rename_axis("route").reset_index(),
        "Routes",
        f"Three classic routes at C = {approaches.compute:.3g}.",
    )
