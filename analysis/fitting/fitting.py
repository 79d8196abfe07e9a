"""Fit a law to a table.

    fit("runs.csv", "chinchilla", columns={"N": "params", "D": "tokens", "loss": "val_loss"})

Everything between the table and the result is in rooms of its own: ``frame`` (columns, filters, exclusions),
``problem`` and ``solve`` (the optimum and its proof), ``uncertainty``, ``profile`` and ``intervals``,
``result``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from analysis.fitting.estimands import Estimand, get_estimand
from analysis.fitting.estimate import Estimate
from analysis.fitting.problem import FitProblem
from analysis.fitting.result import Fit
from analysis.fitting.solver.multistart import Optima, search
from analysis.fitting.starts import Starts, make_problem, make_starts
from analysis.fitting.uncertainty.intervals import METHODS, Sampler, parameter_targets
from analysis.fitting.uncertainty.resampling import (
    MIN_UNITS,
    PERCENTILE_UNITS,
    Draws,
    covariance,
    dispersion,
    flat_directions,
    unequal_noise,
)
from analysis.fitting.uncertainty.resampling import bootstrap as bootstrap_draws
from analysis.laws import get_law
from analysis.laws.base import Array, Law
from analysis.tables.frame import Columns, FitError, Table, prepare

DEFAULT_DRAWS = 1000
#: other basins within this share of the best objective are starts of every bootstrap draw, too
RIVAL = 0.05
#: other optima from which profiles are followed, and starts from which far values are tried, at most
BASINS, PROBES = 4, 512
#: followed starts beyond which a best basin that only one of them reaches is doubtful
MANY = 32
#: ratio of robust to pooled standard errors above which a profile is not trusted
UNEQUAL = 1.5


def fit(
    table: Table,
    law: str | Law = "chinchilla",
    *,
    estimand: str | Estimand = "huber",
    delta: float = 1e-3,
    tau: float = 0.05,
    columns: Mapping[str, str] | None = None,
    fix: Mapping[str, float] | None = None,
    where: str | None = None,
    drop_highest: int = 0,
    holdout: str | None = None,
    weights: str | Sequence[float] | None = None,
    cluster: str | None = None,
    interval: str = "auto",
    level: float = 0.95,
    bootstrap: int = 0,
    seed: int | np.random.RandomState = 0,
    starts: Starts | None = None,
) -> Fit:
    """Fit ``law`` to the rows of ``table``.

    law: a registered name, a formula such as ``"E + A/N**alpha"``, or a ``Law``. estimand: huber (``delta``),
    lad, log_mse, mse, quantile (``tau``). columns: standard name -> column. fix: parameter -> value, kept
    frozen. where: rows to keep; drop_highest: leave out the K highest losses; holdout: rows kept for scoring
    (``analysis.questions.holdout.score`` and ``fit.heldout``). cluster: column(s) whose equal values belong
    together. interval: auto (the law's recommended one; ``bootstrap`` > 0 asks for that), profile,
    bootstrap, cluster, wild, t, none. bootstrap: draws; seed: of the draws. starts: a number, natural
    parameter values as dicts, or an array (S, P).

    Raises FitError when the input cannot give a fit. A fit that does not converge is returned, and has no
    numbers.
    """
    chosen, aim = get_law(law), get_estimand(estimand, delta=delta, tau=tau)
    if interval not in METHODS:
        raise FitError(f"interval must be one of {', '.join(METHODS)}; got {interval!r}")
    if not 0 < level < 1:
        raise FitError(f"level must lie between 0 and 1, got {level:g}")
    data = prepare(
        table,
        chosen,
        columns=columns,
        where=where,
        drop_highest=drop_highest,
        weights=weights,
        cluster=cluster,
        holdout=holdout,
        log_target=aim.log,
    )
    problem = make_problem(chosen, data, aim, fix or {})
    optima = search(problem, make_starts(problem, starts))
    return assemble(problem, optima, data, Request(interval, level, bootstrap, seed))


@dataclass(frozen=True)
class Request:
    """What uncertainty is wanted of a fit."""

    interval: str = "auto"
    level: float = 0.95
    draws: int = 0
    seed: int | np.random.RandomState = 0


def assemble(problem: FitProblem, optima: Optima, data: Columns, request: Request) -> Fit:
    """A result from a search: its proof of convergence, diagnostics, and intervals."""
    law, aim = problem.law, problem.estimand
    warnings = list(data.warnings)
    names = law.parameter_names
    best = optima.best if optima.basins else None
    converged = best is not None and best.converged
    frame = pd.DataFrame({**{v: data.x[v] for v in data.x}, str(law.target): data.y}, index=data.rows)
    diagnostics: dict[str, Any] = {
        "frozen": dict(problem.fixed),
        "columns": data.sources,
        "notes": data.notes,
        "refined": optima.refined,
        "unsettled_starts": optima.unsettled,
        "estimates": aim.meaning,
        "level": request.level,
        "interval": "none",
    }
    out = Fit(
        law,
        aim,
        len(data.y),
        data.excluded,
        {n: Estimate() for n in names},
        math.nan,
        {"starts": optima.starts, "converged": converged, "basins": _basins(problem, optima)},
        diagnostics,
        warnings,
        frame,
        data.weights,
    )
    if data.heldout is not None:
        heldout = data.heldout
        out.heldout = pd.DataFrame(
            {**{v: heldout.x[v] for v in heldout.x}, str(law.target): heldout.y}, index=heldout.rows
        )
    if best is None or not converged:
        left = (
            "no start gave the law a value"
            if best is None
            else f"a Newton step would still remove {best.decrement:.1e} of it"
        )
        warnings.append(f"not converged: {left}. Try more starts, a simpler law, or fix a parameter")
        return out
    phi = best.phi
    natural = problem.natural(phi[None])[0]
    out.objective = best.objective
    out.parameters = {
        n: Estimate(problem.fixed.get(n, float(v))) for n, v in zip(names, natural, strict=True)
    }
    r = problem.residuals(phi[None])[0]
    dof = max(len(r) - len(phi), 1)
    scale = float(np.sqrt(np.sum(data.weights * r * r) / np.sum(data.weights) * len(r) / dof))
    diagnostics.update(
        scaled_gradient=best.decrement,
        at_bounds=list(best.at_bound),
        flat_directions=flat_directions(problem, phi),
        gap_to_second_basin=_gap(optima),
        residual_scale=scale,
        degrees_of_freedom=dof,
        residual_quantile=scale * float(t_distribution.ppf(0.5 + request.level / 2, dof)),
    )
    _warn(out, optima)
    if len(phi):
        _add_intervals(out, problem, optima, data, request)
    return out


def _basins(problem: FitProblem, optima: Optima) -> list[dict[str, Any]]:
    names = problem.law.parameter_names
    floor = optima.best.objective if optima.basins else 0.0
    return [
        {
            "objective": b.objective,
            "starts": b.starts,
            "converged": b.converged,
            "gap": (b.objective - floor) / floor if floor > 0 else 0.0,
            "at_bounds": list(b.at_bound),
            "parameters": dict(zip(names, map(float, problem.natural(b.phi[None])[0]), strict=True)),
        }
        for b in optima.basins
    ]


def _gap(optima: Optima) -> float | None:
    rest = [b.objective for b in optima.basins[1:] if b.converged]
    return (
        (min(rest) - optima.best.objective) / optima.best.objective
        if rest and optima.best.objective > 0
        else None
    )


def _warn(out: Fit, optima: Optima) -> None:
    d = out.diagnostics
    if d["at_bounds"]:
        out.warnings.append(f"at a bound, so not an interior optimum: {', '.join(d['at_bounds'])}")
    for direction in d["flat_directions"]:
        if set(direction["parameters"]) <= set(d["at_bounds"]):
            continue
        out.warnings.append(
            "not identified by this design: the direction "
            + ", ".join(f"{n} {v:+g}" for n, v in direction["parameters"].items())
            + " (in logs of positive parameters)"
        )
    if optima.best.starts == 1 and optima.refined > MANY:
        out.warnings.append(
            f"only one of {optima.refined} followed starts ends in the best basin: a better one may have "
            "been missed; try more starts"
        )
    near = [
        b for b in optima.basins[1:] if b.converged and b.objective <= optima.best.objective * (1 + RIVAL)
    ]
    if near:
        out.warnings.append(
            f"{len(near)} other basin{'s' if len(near) > 1 else ''} within {RIVAL:.0%} of the best "
            f"objective: "
            "see convergence['basins']; intervals that follow one basin only are too short"
        )
    if out.frozen:
        out.warnings.append(
            f"conditional on frozen {', '.join(out.frozen)}: intervals leave out their uncertainty; "
            "fit without `fix` (--joint) to see what freeing them changes"
        )


def _method(request: Request, law: Law, units: int) -> str:
    if request.interval != "auto":
        return request.interval
    if request.draws:
        return "bootstrap"
    method = str(law.interval)
    return "t" if method == "bootstrap" and units < PERCENTILE_UNITS else method


def _add_intervals(out: Fit, problem: FitProblem, optima: Optima, data: Columns, request: Request) -> None:
    clusters, phi = data.clusters, optima.best.phi
    units = len(data.y) if clusters is None else len(np.unique(clusters))
    method = _method(request, problem.law, units)
    if (
        clusters is not None
        and method in ("profile", "bootstrap")
        and request.interval in ("auto", "bootstrap")
    ):
        method = "cluster" if request.draws or method == "bootstrap" else "t"
    # where the design leaves a direction open, robust errors are of nothing, and draws stay in the basins
    # that they start in: the profile alone says "unbounded"
    closed = not out.diagnostics["flat_directions"]
    if request.interval == "auto" and method == "profile" and units >= PERCENTILE_UNITS and closed:
        ratio = unequal_noise(problem, phi)
        out.diagnostics["unequal_noise"] = ratio
        if ratio > UNEQUAL:
            method = "bootstrap"
            out.warnings.append(
                f"noise is unequal over the design (robust standard errors up to {ratio:.1f} times "
                f"pooled ones): "
                "bootstrap in place of the profile, which assumes errors of one size"
            )
    if method == "none":
        return
    if units < MIN_UNITS and method != "profile":
        out.warnings.append(f"no interval: {units} independent units, and at least {MIN_UNITS} are needed")
        return
    draws: Draws | None = None
    resampled = method in ("bootstrap", "cluster", "wild") or request.draws > 0
    if method == "bootstrap" and units < PERCENTILE_UNITS and clusters is None:
        # measured at 12 rows: t on case draws is 3 times too wide; on wild ones it is right for squares, and
        # covers 72 to 79 % for robust fits, which pass through some of the points
        method, resampled = ("wild", True) if problem.estimand.squares else ("t", False)
        if not resampled:
            out.warnings.append(
                f"{units} units are too few to bootstrap a robust fit (at least {PERCENTILE_UNITS} are "
                "needed): t with sandwich standard errors in its place"
            )
    if method == "wild" and not problem.estimand.squares:
        out.warnings.append(
            "wild bootstraps of robust fits cover too little (72 to 79 % with 12 rows, 80 to 82 % with 40 "
            "for 95 %): take t or profile"
        )
    if resampled:
        kind = {"bootstrap": "case", "cluster": "cluster", "wild": "wild"}.get(method, "case")
        rivals = [
            b.phi for b in optima.basins if b.converged and b.objective <= optima.best.objective * (1 + RIVAL)
        ]
        try:
            draws = bootstrap_draws(
                problem, np.array(rivals[:3]), request.draws or DEFAULT_DRAWS, request.seed, kind, clusters
            )
        except ValueError as error:
            raise FitError(str(error)) from None
        if draws.lost:
            out.warnings.append(
                f"{draws.lost} of {draws.lost + len(draws)} bootstrap draws gave no fit and are left out"
            )
    basins = _not_ruled_out(problem, optima, request.level)
    loose = len(basins) or out.diagnostics["flat_directions"] or out.diagnostics["at_bounds"]
    sampler = Sampler(
        problem,
        phi,
        draws,
        clusters,
        {"cluster": "bootstrap", "wild": "bootstrap"}.get(method, method),
        request.level,
        basins=basins[: max(1, min(BASINS, 20_000 // len(problem.y)))] if len(basins) else None,
        probes=np.concatenate((phi[None], basins, make_starts(problem, PROBES))) if loose else None,
    )
    out.sampler = sampler
    attach(out, sampler)
    if draws is not None:
        out.diagnostics["bootstrap"] = {
            "draws": len(draws),
            "kind": draws.kind,
            "units": draws.units,
            "seed": draws.seed,
        }


def _not_ruled_out(problem: FitProblem, optima: Optima, level: float) -> Array:
    """(B, F) other optima whose objective the F quantile does not tell from the best one's."""
    phi, df = optima.best.phi, max(len(problem.y) - len(optima.best.phi), 1)
    rise = 0.5 * dispersion(problem, phi) * float(f_distribution.ppf(level, 1, df))
    near = [b.phi for b in optima.basins[1:] if b.converged and b.objective <= optima.best.objective + rise]
    return np.array(near).reshape(-1, len(phi))


def attach(out: Fit, sampler: Sampler) -> None:
    """Give a fit the intervals of a sampler."""
    problem = sampler.problem
    targets = parameter_targets(problem)
    intervals = sampler.intervals(targets)
    errors = sampler.standard_errors(targets)
    for name, ends, se in zip(problem.free_names, intervals, errors, strict=True):
        stuck = name in out.diagnostics["at_bounds"]
        value = float(out.parameters[name].value or 0.0)
        out.parameters[name] = ends.around(value, None if stuck else float(se))
    first = intervals[0]
    cov = (
        sampler.covariance()
        if sampler.draws is not None
        else covariance(problem, sampler.phi, sampler.clusters)
    )
    out.diagnostics.update(
        interval=first.method,
        assumption=first.assumption,
        covariance={
            "matrix": _uncentred(problem, sampler.phi, cov).tolist(),
            "t": float(t_distribution.ppf(0.5 + sampler.level / 2, sampler.df)),
        },
    )
    out.warnings.extend(dict.fromkeys(sampler.notes))
    open_ends = [n for n, i in zip(problem.free_names, intervals, strict=True) if i.unbounded]
    if open_ends:
        out.warnings.append(f"unbounded {sampler.level:.0%} interval: {', '.join(open_ends)}")


def _uncentred(problem: FitProblem, phi: Array, cov: Array) -> Array:
    """Covariance of the free internal coordinates in original units (logs of natural values)."""
    step = 1e-5
    points = np.concatenate((phi + step * np.eye(len(phi)), phi - step * np.eye(len(phi))))
    with np.errstate(all="ignore"):
        raw = problem.law.to_internal(problem.natural(points))[:, problem.free]
    half = len(phi)
    slope = (raw[:half] - raw[half:]).T / (2 * step)
    return slope @ cov @ slope.T
