"""Coverage of intervals by simulation: `python -m benchmarks.coverage` appends to
benchmarks/results/coverage.csv.

For each law on the design of ``benchmarks.designs``: data sets with log-normal noise about a known truth, and
how often the recommended 95 % interval holds it. Profile intervals cover a value exactly when the profile
there stays below the threshold, so thousands of data sets are one batch; ``fit`` itself, with all it decides,
is run on some of them for widths and for what it calls unbounded. Designs that leave a parameter open are
rows of their own, and all of ``fit``'s. Resumable: rows that the file holds are not run again. Seeds are
fixed beforehand.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution
from scipy.stats import norm

from analysis.fitting.estimands import get_estimand
from analysis.fitting.fitting import fit
from analysis.fitting.problem import FitProblem
from analysis.fitting.solver.descent import DescentBatch, Pull, descend
from analysis.fitting.starts import make_problem
from analysis.fitting.uncertainty.intervals import parameter_targets
from analysis.fitting.uncertainty.profiles import with_slopes
from analysis.fitting.uncertainty.resampling import dispersion, residuals_and_slopes, safe_inverse
from analysis.tables.frame import prepare
from benchmarks.designs import DESIGNS, UNIDENTIFIED, Design

RESULTS = Path(__file__).parent / "results" / "coverage.csv"
KEY = ["law", "design", "estimand", "interval", "n"]
COLUMNS = [*KEY, "parameter", "sims", "coverage", "unbounded", "width_ratio", "cpu_s"]


def problem_for(design: Design, estimand: str = "log_mse", rows: int | None = None) -> FitProblem:
    """The centred problem of a design (or of so many of its rows), with one sample as data."""
    data = prepare(_thin(design.sample(0), rows), design.get(), columns=_map(design))
    return make_problem(design.get(), data, get_estimand(estimand), design.frozen)


def _thin(table: pd.DataFrame, rows: int | None) -> pd.DataFrame:
    return table if rows is None else table.iloc[np.linspace(0, len(table) - 1, rows).astype(int)]


def _map(design: Design) -> dict[str, str]:
    return {v: v for v in (*design.get().variables, str(design.get().target))}


def profile_coverage(
    design: Design, sims: int, estimand: str = "log_mse", level: float = 0.95, rows: int | None = None
) -> dict[str, float]:
    """Share of ``sims`` data sets whose profile interval holds the truth, by parameter."""
    problem = problem_for(design, estimand, rows)
    aim = problem.estimand
    truth = problem.phi(np.array([[design.truth[p.name] for p in problem.law.parameters]]))
    mean = np.log(_thin(pd.DataFrame({"mean": design.mean()}), rows)["mean"].to_numpy())
    n, free = len(problem.y), truth.shape[1]
    noise = np.stack([np.random.default_rng(10_000 + s).normal(0, design.noise, n) for s in range(sims)])
    targets = mean + noise
    weights = problem.weights[None]
    start = np.repeat(truth, sims, axis=0)
    found = descend(problem, start, batch=DescentBatch(weights, targets), tolerance=1e-11)
    if aim.squares:
        kappa = 2 * found.objective / (n - free)
    else:
        kappa = np.array(
            [dispersion(problem.with_data(np.exp(t)), p) for t, p in zip(targets, found.phi, strict=True)]
        )
    limit = float(f_distribution.ppf(level, 1, n - free))
    quantities = [t.quantity for t in parameter_targets(problem)]
    evaluate = with_slopes(problem, quantities)
    goal = evaluate(truth)[0][0]
    oracle = np.minimum(oracle_errors(problem, truth[0], design.noise), 1.0)  # of an open parameter: huge
    out = {}
    for k, name in enumerate(problem.free_names):
        strength = np.full(sims, 1e5 * float(np.median(kappa)) / oracle[k] ** 2)
        pull = Pull(evaluate, np.full(sims, k), np.full(sims, goal[k]), strength)
        held = descend(
            problem,
            start,
            batch=DescentBatch(np.repeat(weights, sims, axis=0), targets, pull=pull),
            tolerance=1e-11,
        )
        value = problem.objective(held.phi, targets=targets)
        out[name] = float(np.mean(2 * (value - found.objective) / kappa <= limit))
    return out


def oracle_errors(problem: FitProblem, truth: np.ndarray, noise: float) -> np.ndarray:
    """(K,) standard errors (of logs of positive parameters) of one who knows the noise and fits least
    squares."""
    _, jac = residuals_and_slopes(problem, truth)
    cov = noise**2 * safe_inverse(jac @ jac.T)
    _, slopes = with_slopes(problem, [t.quantity for t in parameter_targets(problem)])(truth[None])
    return np.sqrt(np.einsum("kf,fg,kg->k", slopes[0], cov, slopes[0]))


def fitted_coverage(
    design: Design, sims: int, estimand: str, interval: str, rows: int | None = None, starts: int = 256
) -> pd.DataFrame:
    """``fit`` on simulated data: coverage, share unbounded, and width over the oracle's, by parameter."""
    problem = problem_for(design, estimand, rows)
    oracle = oracle_errors(
        problem,
        problem.phi(np.array([[design.truth[p.name] for p in problem.law.parameters]]))[0],
        design.noise,
    )
    names = problem.free_names
    hit, open_end, width = (
        np.zeros((sims, len(names))),
        np.zeros((sims, len(names))),
        np.full((sims, len(names)), np.nan),
    )
    for s in range(sims):
        table = _thin(design.sample(20_000 + s), rows)
        options = {"bootstrap": 400, "seed": s} if interval in ("bootstrap", "wild") else {}
        result = fit(
            table,
            design.law,
            columns=_map(design),
            estimand=estimand,
            interval=interval,
            fix=design.frozen,
            starts=starts,
            **options,
        )
        for k, name in enumerate(names):
            if not result.converged:
                continue
            e = result.parameters[name]
            low, high = (-math.inf if e.low is None else e.low), (math.inf if e.high is None else e.high)
            hit[s, k], open_end[s, k] = low <= design.truth[name] <= high, e.unbounded
            if not e.unbounded:
                positive = problem.law.parameters[problem.law.index(name)].positive
                width[s, k] = (math.log(high / max(low, 1e-300)) if positive else high - low) / (
                    2 * norm.ppf(0.975) * oracle[k]
                )
    with np.errstate(all="ignore"):
        ratio = [float(np.median(w[np.isfinite(w)])) if np.isfinite(w).any() else math.nan for w in width.T]
    return pd.DataFrame(
        {"parameter": names, "coverage": hit.mean(0), "unbounded": open_end.mean(0), "width_ratio": ratio}
    )


def _done(path: Path) -> set[tuple[str, str, str, str, int]]:
    if not path.exists():
        return set()
    return set(pd.read_csv(path)[KEY].itertuples(index=False, name=None))


def _append(path: Path, rows: pd.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows[COLUMNS].round(4).to_csv(path, mode="a", header=not path.exists(), index=False)


def recommended(design: Design, sims: int, checks: int) -> pd.DataFrame:
    """The law's recommended interval: coverage over ``sims`` data sets, and what ``fit`` gives on ``checks``
    of them when asked for no interval in particular."""
    covered = profile_coverage(design, sims)
    checked = fitted_coverage(design, checks, "log_mse", "auto").set_index("parameter")
    frame = pd.DataFrame({"parameter": list(covered), "coverage": list(covered.values())})
    return frame.join(checked[["unbounded", "width_ratio"]], on="parameter").assign(sims=sims)


def run(
    sims: int = 2000,
    checks: int = 100,
    laws: list[str] | None = None,
    path: Path = RESULTS,
    minutes: float = 20.0,
) -> None:
    """The study: every law's recommended interval, designs that leave a parameter open, then the other
    intervals on two laws at several sizes. Stops after ``minutes`` of CPU time; run again to go on."""
    begin = time.process_time()
    for design, estimand, interval, rows, count in [
        *((d, "log_mse", str(d.get().interval), 0, sims) for d in DESIGNS.values()),
        *((d, "log_mse", "auto", len(d.rows()), checks) for d in UNIDENTIFIED),
        *((DESIGNS[law], *rest) for law, *rest in OTHERS),
    ]:
        n = rows or len(design.rows())
        if (laws and design.law not in laws) or (design.law, design.name, estimand, interval, n) in _done(
            path
        ):
            continue
        if time.process_time() - begin > 60 * minutes:
            return
        clock = time.process_time()
        frame = (
            fitted_coverage(design, count, estimand, interval, rows, starts=64).assign(sims=count)
            if rows
            else recommended(design, count, checks)
        )
        named = {"law": design.law, "design": design.name, "estimand": estimand, "interval": interval, "n": n}
        _append(path, frame.assign(**named, cpu_s=time.process_time() - clock))


#: the other intervals: law, estimand, interval, rows, data sets
OTHERS = [
    ("power_offset", estimand, interval, rows, 300)
    for rows in (12, 20, 40)
    for estimand in ("log_mse", "huber")
    for interval in ("profile", "t", "wild", "bootstrap")
    if interval != "bootstrap" or rows >= 40  # below, a bootstrap is the wild one
] + [
    ("chinchilla", estimand, interval, 80, 200)
    for estimand, interval in (
        ("huber", "profile"),
        ("huber", "auto"),
        ("log_mse", "t"),
        ("huber", "t"),
        ("log_mse", "bootstrap"),
        ("huber", "bootstrap"),
        ("log_mse", "wild"),
        ("lad", "profile"),
    )
]


def table(path: Path = RESULTS) -> str:
    """What was measured, as the page on fitting shows it: identified designs by law, estimand, interval and
    size, with the lowest and highest coverage over the parameters; then the open parameters of the others."""
    measured = pd.read_csv(path)
    whole = measured[measured["design"] == "identified"].sort_values("sims", ascending=False, kind="stable")
    lines = [
        "| law | estimand | interval | rows | covers, % | width | data sets |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, group in whole.groupby([k for k in KEY if k != "design"], sort=False):
        low, high, width = group["coverage"].min(), group["coverage"].max(), group["width_ratio"].max()
        cells = [*map(str, key), f"{100 * low:.1f} - {100 * high:.1f}", f"{width:.2f}", group["sims"].iloc[0]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    opened = {(d.law, d.name, p) for d in UNIDENTIFIED for p in d.open}
    lines += [
        "",
        "| law | design | parameter | covers, % | unbounded, % | data sets |",
        "|---|---|---|---|---|---|",
    ]
    for r in measured.itertuples():
        if (r.law, r.design, r.parameter) in opened:
            cells = [
                r.law,
                r.design,
                r.parameter,
                f"{100 * r.coverage:.1f}",
                f"{100 * r.unbounded:.0f}",
                r.sims,
            ]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def measure() -> dict[str, dict[str, object]]:
    """A quick figure for the bench: coverage of Chinchilla's profile intervals over 2000 data sets, worst
    parameter."""
    covered = profile_coverage(DESIGNS["chinchilla"], 2000)
    worst = max(covered.values(), key=lambda v: abs(v - 0.95))
    return {
        "fit.coverage_chinchilla_profile": {
            "value": worst,
            "unit": "share",
            "target": "0.93 to 0.97",
            "ok": 0.93 <= worst <= 0.97,
        }
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sims", type=int, default=2000)
    parser.add_argument("--checks", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--laws", nargs="*")
    parser.add_argument("--table", action="store_true", help="print what was measured, as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        print(table())
        raise SystemExit
    run(arguments.sims, arguments.checks, arguments.laws, minutes=arguments.minutes)
