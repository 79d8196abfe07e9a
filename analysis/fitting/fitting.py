"""Fit a law to a table.

    fit("runs.csv", "chinchilla", columns={"N": "params", "D": "tokens", "loss": "val_loss"})

What happens between the table and the result has modules of its own: `analysis.tables.frame` (columns,
filters, exclusions), `problem` and `solver` (the optimum and its proof), `uncertainty` (intervals), `result`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from analysis.fitting.diagnostics import BasinRecord, Convergence, Diagnostics
from analysis.fitting.estimands import Estimand, get_estimand
from analysis.fitting.estimate import Estimate
from analysis.fitting.options import INTERVALS
from analysis.fitting.problem import FitProblem
from analysis.fitting.result import Fit
from analysis.fitting.solver.multistart import Basin, Optima, search
from analysis.fitting.starts import Starts, make_problem, make_starts
from analysis.fitting.uncertainty.choice import Case, IntervalChoice, choose
from analysis.fitting.uncertainty.intervals import IntervalSampler, parameter_targets
from analysis.fitting.uncertainty.resampling import Draws, covariance, dispersion, flat_directions
from analysis.fitting.uncertainty.resampling import bootstrap as bootstrap_draws
from analysis.laws import get_law
from analysis.laws.base import Array, Law
from analysis.tables.frame import Columns, FitError, Table, prepare, read_table
from analysis.tables.keywords import checked_keywords, unknown

DEFAULT_DRAWS = 1000
#: other basins within this share of the best objective are starts of every bootstrap draw, too
RIVAL = 0.05
#: other optima from which profiles are followed, and starts from which far values are tried, at most
BASINS, PROBES = 4, 512
#: followed starts beyond which a best basin that only one of them reaches is doubtful
MANY = 32


@checked_keywords
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
    holdout_table: Table | None = None,
    weights: str | Sequence[float] | None = None,
    cluster: str | None = None,
    interval: str = "auto",
    level: float = 0.95,
    bootstrap: int = 0,
    seed: int | np.random.RandomState = 0,
    starts: Starts | None = None,
) -> Fit:
    """Fit a law to the rows of a table.

    Args:
        table: a DataFrame, columns by name, or the path of a CSV or Parquet file.
        law: the name of a registered law, a formula such as ``"E + A/N**alpha"``, or a ``Law``.
        estimand: what of the losses is estimated: "huber", "lad", "log_mse", "mse" or "quantile".
        delta: where Huber's function turns from squares to absolute values, on log loss.
        tau: the quantile that "quantile" follows.
        columns: standard name (N, D, U, C, Q, loss) -> column of the table, where names do not tell.
        fix: parameter -> value at which it is kept frozen.
        where: a filter that rows must pass, such as ``"C > 1e20"``.
        drop_highest: leave out that many of the highest losses.
        holdout: a filter for rows that are kept for scoring (``analysis.questions.holdout.score``).
        holdout_table: a table of further rows for scoring, with the same names of columns.
        weights: a column, or one weight a row.
        cluster: the column or columns (``"a,b"``) whose equal values mark rows that belong together.
        interval: "profile", "bootstrap", "cluster", "wild", "t", "none", or "auto", which takes the law's
            recommended interval, or a bootstrap if ``bootstrap`` > 0.
        level: coverage of the intervals.
        bootstrap: bootstrap draws; 0 leaves their number to the method.
        seed: seed of the draws.
        starts: their number, parameter values as dictionaries, or an array (S, P). The default depends on the
            law.

    Returns:
        A ``Fit``. One that did not converge is returned too; it has no numbers.

    Raises:
        FitError: the input cannot give a fit.
        ValueError: there is no such law, estimand or parameter.
    """
    chosen, aim = law_of(law, table, columns), get_estimand(estimand, delta=delta, tau=tau)
    if interval not in INTERVALS:
        raise FitError(unknown("interval", interval, INTERVALS))
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
        holdout_table=holdout_table,
        log_target=aim.log,
    )
    problem = make_problem(chosen, data, aim, fix or {})
    optima = search(problem, make_starts(problem, starts))
    return assemble(problem, optima, data, Request(interval, level, bootstrap, seed))


def law_of(law: str | Law, table: Table, columns: Mapping[str, str] | None = None) -> Law:
    """A law by name or formula, for the rows of a table: in a formula, every column that is not mapped to the
    loss is a variable. Raises ValueError for what is neither."""
    if isinstance(law, Law):
        return law
    given = dict(columns or {})
    names = {str(c) for c in read_table(table).columns} | given.keys()
    return get_law(law, names - {"loss", "y", given.get("loss", "loss"), given.get("y", "y")})


@dataclass(frozen=True)
class Request:
    """What uncertainty is requested of a fit: the options of ``fit`` of those names."""

    interval: str = "auto"
    level: float = 0.95
    draws: int = 0
    seed: int | np.random.RandomState = 0


def assemble(problem: FitProblem, optima: Optima, data: Columns, request: Request) -> Fit:
    """A fit from the optima of its problem: the proof of convergence, diagnostics, and intervals.

    Raises FitError where the intervals that are requested need more than the data have.
    """
    law, best = problem.law, optima.best if optima.basins else None
    converged = best is not None and best.converged
    outcome = Fit(
        law=law,
        estimand=problem.estimand,
        n=len(data.y),
        excluded=data.excluded,
        parameters={n: Estimate() for n in law.parameter_names},
        objective=float("nan"),
        convergence=Convergence(optima.starts, converged, _records(problem, optima)),
        diagnostics=Diagnostics(
            frozen=dict(problem.fixed),
            columns=data.sources,
            notes=data.notes,
            refined=optima.refined,
            unsettled_starts=optima.unsettled,
            estimates=problem.estimand.meaning,
            level=request.level,
        ),
        warnings=list(data.warnings),
        source=data,
    )
    if best is None or not best.converged:
        return replace(outcome, warnings=[*outcome.warnings, _unfinished(best)])
    natural = problem.natural(best.phi[None])[0]
    values = zip(law.parameter_names, natural, strict=True)
    outcome = replace(
        outcome,
        objective=best.objective,
        parameters={n: Estimate(problem.fixed.get(n, float(v))) for n, v in values},
        diagnostics=_diagnosed(outcome.diagnostics, problem, optima, data.weights),
    )
    outcome = replace(outcome, warnings=[*outcome.warnings, *_warnings(outcome, optima)])
    return _with_intervals(outcome, problem, optima, data.clusters, request) if len(best.phi) else outcome


def _unfinished(best: Basin | None) -> str:
    left = (
        "no start gave the law a value"
        if best is None
        else f"a Newton step would still remove {best.decrement:.1e} of it"
    )
    return f"not converged: {left}. Try more starts, a simpler law, or fix a parameter"


def _records(problem: FitProblem, optima: Optima) -> tuple[BasinRecord, ...]:
    names = problem.law.parameter_names
    floor = optima.best.objective if optima.basins else 0.0
    return tuple(
        BasinRecord(
            objective=b.objective,
            starts=b.starts,
            converged=b.converged,
            gap=(b.objective - floor) / floor if floor > 0 else 0.0,
            at_bounds=list(b.at_bound),
            parameters=dict(zip(names, map(float, problem.natural(b.phi[None])[0]), strict=True)),
        )
        for b in optima.basins
    )


def _diagnosed(known: Diagnostics, problem: FitProblem, optima: Optima, weights: Array) -> Diagnostics:
    """What the best optimum adds to the diagnostics of a fit."""
    best = optima.best
    r = problem.residuals(best.phi[None])[0]
    dof = max(len(r) - len(best.phi), 1)
    scale = float(np.sqrt(np.sum(weights * r * r) / np.sum(weights) * len(r) / dof))
    rest = [b.objective for b in optima.basins[1:] if b.converged]
    gap = (min(rest) - best.objective) / best.objective if rest and best.objective > 0 else None
    return replace(
        known,
        scaled_gradient=best.decrement,
        at_bounds=list(best.at_bound),
        flat_directions=flat_directions(problem, best.phi),
        gap_to_second_basin=gap,
        residual_scale=scale,
        degrees_of_freedom=dof,
        residual_quantile=scale * float(t_distribution.ppf(0.5 + known.level / 2, dof)),
    )


def _warnings(outcome: Fit, optima: Optima) -> list[str]:
    """What a reader of the optimum must know before believing it."""
    warnings = []
    at_bounds = outcome.diagnostics.at_bounds or []
    if at_bounds:
        warnings.append(f"at a bound, so not an interior optimum: {', '.join(at_bounds)}")
    for direction in outcome.diagnostics.flat_directions or []:
        if set(direction["parameters"]) <= set(at_bounds):
            continue
        warnings.append(
            "not identified by this design: the direction "
            + ", ".join(f"{n} {v:+g}" for n, v in direction["parameters"].items())
            + " (in logs of positive parameters)"
        )
    if optima.best.starts == 1 and optima.refined > MANY:
        warnings.append(
            f"only one of {optima.refined} followed starts ends in the best basin: a better one may have "
            "been missed; try more starts"
        )
    near = [b for b in _rivals(optima) if b is not optima.best]
    if near:
        warnings.append(
            f"{len(near)} other basin{'s' if len(near) > 1 else ''} within {RIVAL:.0%} of the best "
            f"objective: "
            "see convergence.basins; intervals that follow one basin only are too short"
        )
    if outcome.frozen:
        warnings.append(
            f"conditional on frozen {', '.join(outcome.frozen)}: intervals leave out their uncertainty; "
            "fit without `fix` (--joint) to see what freeing them changes"
        )
    return warnings


def _rivals(optima: Optima) -> list[Basin]:
    """The best optimum and those whose objective is nearly as good."""
    limit = optima.best.objective * (1 + RIVAL)
    return [b for b in optima.basins if b.converged and b.objective <= limit]


def _with_intervals(
    outcome: Fit, problem: FitProblem, optima: Optima, clusters: Array | None, request: Request
) -> Fit:
    """The fit with intervals by the method that the rules choose, and with what they warn of."""
    phi, known = optima.best.phi, outcome.diagnostics
    case = Case(request.interval, request.draws, problem, phi, clusters, closed=not known.flat_directions)
    choice = choose(case)
    outcome = replace(
        outcome,
        warnings=[*outcome.warnings, *choice.warnings],
        diagnostics=replace(known, unequal_noise=choice.unequal_noise),
    )
    if choice.method == "none":
        return outcome
    draws, lost = _draws(problem, optima, clusters, choice, request) if choice.resamples else (None, [])
    basins = _not_ruled_out(problem, optima, request.level)
    loose = len(basins) or known.flat_directions or known.at_bounds
    sampler = IntervalSampler(
        problem=problem,
        phi=phi,
        draws=draws,
        clusters=clusters,
        method="bootstrap" if choice.method in ("cluster", "wild") else choice.method,
        level=request.level,
        basins=basins[: max(1, min(BASINS, 20_000 // len(problem.y)))] if len(basins) else None,
        probes=np.concatenate((phi[None], basins, make_starts(problem, PROBES))) if loose else None,
    )
    return _sampled(replace(outcome, warnings=[*outcome.warnings, *lost]), sampler)


def _draws(
    problem: FitProblem, optima: Optima, clusters: Array | None, choice: IntervalChoice, request: Request
) -> tuple[Draws, list[str]]:
    """Bootstrap draws, and a warning if some of them gave no fit."""
    starts = np.array([b.phi for b in _rivals(optima)][:3])
    count = request.draws or DEFAULT_DRAWS
    try:
        draws = bootstrap_draws(problem, starts, count, request.seed, choice.resampling, clusters)
    except ValueError as error:
        raise FitError(str(error)) from None
    if not draws.lost:
        return draws, []
    total = draws.lost + len(draws)
    return draws, [f"{draws.lost} of {total} bootstrap draws gave no fit and are left out"]


def _not_ruled_out(problem: FitProblem, optima: Optima, level: float) -> Array:
    """(B, F) other optima whose objective the F quantile does not tell from the best one's."""
    phi, df = optima.best.phi, max(len(problem.y) - len(optima.best.phi), 1)
    rise = 0.5 * dispersion(problem, phi) * float(f_distribution.ppf(level, 1, df))
    limit = optima.best.objective + rise
    near = [b.phi for b in optima.basins[1:] if b.converged and b.objective <= limit]
    return np.array(near).reshape(-1, len(phi))


def _sampled(outcome: Fit, sampler: IntervalSampler) -> Fit:
    """The fit with the intervals of a sampler."""
    problem, names = sampler.problem, sampler.problem.free_names
    targets = parameter_targets(problem)
    intervals = sampler.intervals(targets)
    errors = sampler.standard_errors(targets)
    stuck = outcome.diagnostics.at_bounds or []
    estimates = {
        name: ends.around(float(outcome.parameters[name].value or 0.0), None if name in stuck else float(se))
        for name, ends, se in zip(names, intervals, errors, strict=True)
    }
    draws = sampler.draws
    cov = sampler.covariance() if draws is not None else covariance(problem, sampler.phi, sampler.clusters)
    diagnostics = replace(
        outcome.diagnostics,
        interval=intervals[0].method,
        assumption=intervals[0].assumption,
        covariance={
            "matrix": _uncentred(problem, sampler.phi, cov).tolist(),
            "t": float(t_distribution.ppf(0.5 + sampler.level / 2, sampler.df)),
        },
        bootstrap=None
        if draws is None
        else {"draws": len(draws), "kind": draws.kind, "units": draws.units, "seed": draws.seed},
    )
    warnings = [*outcome.warnings, *dict.fromkeys(sampler.notes)]
    open_ends = [n for n, e in estimates.items() if e.unbounded]
    if open_ends:
        warnings.append(f"unbounded {sampler.level:.0%} interval: {', '.join(open_ends)}")
    return replace(
        outcome,
        parameters={**outcome.parameters, **estimates},
        diagnostics=diagnostics,
        warnings=warnings,
        sampler=sampler,
    )


def _uncentred(problem: FitProblem, phi: Array, cov: Array) -> Array:
    """Covariance of the free internal coordinates in original units (logs of natural values)."""
    step = 1e-5
    points = np.concatenate((phi + step * np.eye(len(phi)), phi - step * np.eye(len(phi))))
    with np.errstate(all="ignore"):
        raw = problem.law.to_internal(problem.natural(points))[:, problem.free]
    half = len(phi)
    slope = (raw[:half] - raw[half:]).T / (2 * step)
    return slope @ cov @ slope.T
