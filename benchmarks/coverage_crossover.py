"""Coverage of crossover intervals by simulation: `python -m benchmarks.coverage_crossover`.

Whole studies of the shapes that studies have (``benchmarks.study_shapes``) go through `locate`: counted is
how often 95 % intervals hold the truth, of each cell's place and of the law's slopes, and how often two runs
of one law cross robustly. Beside them: one group's place by the bootstrap of fronts (and `compute_optimal` on
whole curves), where two fitted laws meet, and the cure fraction. Resumable: a row goes on from the studies
that it has. Seeds are fixed beforehand.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossover import locate
from analysis.crossover.fronts.meeting import DRAWS, compute_optimal
from analysis.crossover.places.censored_law import fit_places
from analysis.crossover.pooling import Variance, dirichlet, pool_draws, t_interval
from analysis.crossover.same_n.arm import Arm, ValidationHalf
from analysis.crossover.same_n.location import PAIR
from analysis.crossover.same_n.outcome import outcomes
from analysis.crossover.surfaces.law_against_law import meet
from analysis.fitting.estimate import Estimate
from analysis.fitting.fitting import fit
from benchmarks.study_shapes import SHAPES, SLOPES, noise, simulate

GROUP = "coverage"
RESULTS = Path(__file__).parent / "results" / "coverage_crossover.csv"
COLUMNS = ["shape", "quantity", "replicates", "studies", "intervals", "coverage", "error_pp", "median_width"]
BLOCK, NOISE = 0.05, 0.08
SIMS = {"study": 1000, "front": 1500, "curves": 250, "meeting": 600, "cure": 60}


def middles(budgets: int = 4) -> dict[tuple[float, float], float]:
    """(U, N) -> log of the median place."""
    return {
        (u, n): 13.0 + SLOPES["U"] * math.log(u / 1e4) + SLOPES["N"] * math.log(n / 1.9e5)
        for u in np.geomspace(5e3, 4e4, budgets)
        for n in (4e4, 1.9e5)
    }


def places(
    rng: np.random.Generator, replicates: int, cell_sd: float, censored: float = 1 / 3, budgets: int = 4
) -> pd.DataFrame:
    """One simulated study: columns cell, seed, U, N, y, side, and in ``attrs`` each cell's ``scatter``. Runs
    end where ``censored`` of the cells have not crossed in the middle."""
    middle = middles(budgets)
    horizon = float(np.quantile(list(middle.values()), 1 - censored)) if censored else math.inf
    blocks = rng.normal(0, BLOCK, replicates)
    rows, scatters = [], []
    for cell, ((u, n), mean) in enumerate(middle.items()):
        scatter = rng.normal(0, cell_sd)
        scatters.append(scatter)
        for r in range(replicates):
            y = mean + scatter + blocks[r] + rng.normal(0, NOISE)
            rows.append(
                {"cell": cell, "seed": r, "U": u, "N": n, "y": min(y, horizon), "side": int(y > horizon)}
            )
    table = pd.DataFrame(rows)
    table.attrs["scatter"] = scatters
    return table


def study_coverage(name: str, replicates: int, first: int, sims: int) -> list[dict[str, Any]]:
    """Studies ``first`` to ``first + sims`` of a shape through ``locate``: the place of each cell that
    crossed in every replicate, by scatter where cells differ, and the law's slopes."""
    shape = SHAPES[name]
    hits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}

    def count(quantity: str, low: float | None, high: float | None, truth: float) -> None:
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        hits.setdefault(quantity, []).append(low <= truth <= high)
        widths.setdefault(quantity, []).append(high - low)

    for sim in range(first, first + sims):
        runs, curves, truth = simulate(shape, np.random.default_rng([2033, replicates, sim]), replicates)
        crossovers = locate(runs, curves)
        places = {cell: float(t) for cell, t in zip(shape.cells, truth, strict=True)}
        for c in crossovers.select("raw", "tokens"):
            if c.censored is None and c.low and c.high and c.U and c.N:
                at = min(
                    shape.cells, key=lambda cell: abs(math.log(cell[0] / c.U)) + abs(math.log(cell[1] / c.N))
                )
                ends = math.log(c.low), math.log(c.high), places[at]
                count("place", *ends)
                if len(shape.within) > 1:
                    count(f"place, scatter {shape.scatter(shape.cells.index(at)):g}", *ends)
        law = crossovers.law("raw", "tokens") if len(shape.within) == 1 and len(shape.cells) > 1 else None
        for slope in law.coefficients() if law is not None else ():
            if slope.name in SLOPES:
                count(f"slope on {slope.name}", slope.low, slope.high, SLOPES[slope.name])
    return [_row(name, q, replicates, hits[q], widths[q], sims) for q in hits]


def control_rate(correlation: float, sd: float, first: int, sims: int) -> list[dict[str, Any]]:
    """How often two runs of one law cross robustly, 34 evaluations 1.1 apart, the paired text error .004."""
    x = np.log(1e5) + np.arange(34) * math.log(1.1)
    units = dict.fromkeys(("tokens", "epochs", "flops"), np.exp(x))
    hits = []
    for sim in range(first, first + sims):
        rng = np.random.default_rng([2034, round(1000 * sd), round(10 * correlation), sim])
        text = rng.normal(0, 0.004 / math.sqrt(2), 2)
        loss = 2.5 + noise(rng, sd, correlation, (2, len(x))) + text[:, None]
        one, two = (
            Arm(str(i), "exact", np.arange(len(x)) * 1.0, units, half, half)
            for i, half in enumerate(
                ValidationHalf(row, np.full(len(x), 0.004 / math.sqrt(2)), np.zeros(len(x))) for row in loss
            )
        )
        outcome = outcomes(one, two, 0)["raw"]
        hits.append(outcome.robust or any(c.robust for c in outcome.others))
    name = f"A/A, training noise {sd:g}, lag-one {correlation:g}"
    return [_row(name, "robust crossings", 1, hits, [math.nan] * len(hits), sims)]


def front_coverage(replicates: int, sims: int) -> list[dict[str, Any]]:
    """A place that is a mean over replicates, by the bootstrap of fronts, pooled over 4 groups."""
    hits, widths = [], []
    for sim in range(sims):
        rng = np.random.default_rng([2028, replicates, sim])
        y = rng.normal(0, BLOCK, replicates) + rng.normal(0, NOISE, (4, replicates))
        sampled = y @ dirichlet(replicates, DRAWS, sim).T
        spread = pool_draws(sampled, [replicates] * 4)
        if spread is not None:
            place = t_interval(float(y[0].mean()), spread.of_mean(replicates), Variance(0.0, math.inf), 0.95)
            low, high = _ends(place)
            hits.append(low <= 0 <= high)
            widths.append(high - low)
    return [_row("compute-optimal, one group", "place", replicates, hits, widths, sims)]


def best_losses(flops: np.ndarray, size: np.ndarray, arm: int) -> np.ndarray:
    """Losses of runs of two arms: the first over-fits, the sooner the larger it is; the second does not."""
    tokens = flops / 6 / size
    loss = 1.2 + 40 / size**0.35 + (60 / tokens**0.33 if arm == 0 else 140 / tokens**0.36)
    if arm == 0:
        loss = loss + 0.3 * np.maximum(np.log(tokens / (2e7 * (size / 1e6) ** -0.8)), 0) ** 2
    return np.asarray(loss)


def whole_front_coverage(replicates: int, sims: int) -> list[dict[str, Any]]:
    """The crossing of two fronts of five sizes at one U, from curves: sizes and stopping points selected anew
    in each study, whose replicates, arms and runs scatter (.01, .01, .005 nats)."""
    grid = np.geomspace(1e12, 1e16, 20_000)
    sizes = np.geomspace(1e5, 2.56e7, 5)
    fronts = [
        np.minimum.accumulate(best_losses(grid, sizes[:, None], arm).min(axis=0)) for arm in range(len(PAIR))
    ]
    truth = math.log(grid[np.flatnonzero(fronts[1] <= fronts[0])[0]])
    tokens = np.geomspace(1e5, 4e8, 45)
    hits, widths = [], []
    for sim in range(sims):
        rng = np.random.default_rng([2032, replicates, sim])
        runs, curves = [], []
        for r, block in enumerate(rng.normal(0, 0.01, replicates)):
            for arm, objective in enumerate(PAIR):
                shift = block + rng.normal(0, 0.01)
                for n in sizes:
                    facts = {"run": f"{objective}-{n:g}-{r}", "objective": objective, "seed": r}
                    runs.append({**facts, "size": f"{n:g}", "N": n, "U": 1e6, "likelihood": "exact"})
                    loss = best_losses(6 * n * tokens, n, arm) + shift + rng.normal(0, 0.005)
                    values = {"nll_a": loss, "nll_b": loss, "se_a": 1e-3, "se_b": 1e-3, "mc_se_b": 0.0}
                    flops = {"tokens": tokens, "flops": 6 * n * tokens, "step": np.arange(len(tokens))}
                    curves.append(pd.DataFrame({"run": facts["run"], **flops, **values}))
        record = compute_optimal(locate(pd.DataFrame(runs), pd.concat(curves, ignore_index=True))).records[0]
        low = math.log(record["low"]) if record["low"] else -math.inf
        high = math.log(record["high"]) if record["high"] else math.inf
        hits.append(low <= truth <= high)
        widths.append(high - low)
    return [_row("compute-optimal, whole curves", "place", replicates, hits, widths, sims)]


def cure_coverage(fraction: float, sims: int) -> list[dict[str, Any]]:
    """The cure fraction, 10 cells of 3 replicates: its interval, and how often it is called for."""
    hits, widths, called = [], [], []
    for sim in range(sims):
        rng = np.random.default_rng([2029, round(100 * fraction), sim])
        table = places(rng, 3, 0.06, censored=0.2, budgets=5)
        never = np.flatnonzero(rng.random(10) < fraction)
        dead = table["cell"].isin(never)
        table.loc[dead, ["y", "side"]] = [float(max(middles(5).values())) + 0.5, 1]
        if table.loc[table["side"] == 0, "cell"].nunique() < 4:
            continue
        found = fit_places(table, cure=True).cure
        if found is not None:
            hits.append(found.low <= fraction <= found.high)
            widths.append(found.high - found.low)
            called.append(found.called_for)
    name = f"cure fraction {fraction:g}"
    return [
        _row(name, "fraction", 3, hits, widths, sims),
        _row(name, "called for (share)", 3, called, widths, sims),
    ]


def meeting_coverage(rows: int, sims: int) -> list[dict[str, Any]]:
    """Where E1 + B1/D**b1 and E2 + B2/D**b2 meet, from fits to ``rows`` rows each."""
    hits, widths = [], []
    d = np.geomspace(1e6, 1e9, rows)
    truth = 10.0 ** (1 / 0.15)
    for sim in range(sims):
        rng = np.random.default_rng([2030, rows, sim])
        fits = []
        for amplitude, exponent in ((30.0, 0.2), (300.0, 0.35)):
            loss = (1.0 + amplitude / d**exponent) * np.exp(rng.normal(0, 0.003, rows))
            table = pd.DataFrame({"D": d, "loss": loss})
            law = "E + B/D**beta"
            fits.append(
                fit(table, law, estimand="log_mse", interval="bootstrap", bootstrap=200, seed=sim, starts=64)
            )
        found = meet(fits[0], fits[1], "D", between=(1e4, 1e10))
        low, high = found.low or 0.0, found.high or math.inf
        hits.append(low <= truth <= high)
        if found.low and found.high:
            widths.append(math.log(found.high / found.low))
    return [_row(f"law against law, {rows} rows a fit", "place", 1, hits, widths, sims)]


def _ends(place: Estimate) -> tuple[float, float]:
    """The ends of an interval of a logarithm, infinite where it is open."""
    low, high = place.low, place.high
    return -math.inf if low is None else low, math.inf if high is None else high


def _row(
    shape: str, quantity: str, replicates: int, hits: list[bool], widths: list[float], studies: int
) -> dict[str, Any]:
    finite = [w for w in widths if math.isfinite(w)]
    return {
        "shape": shape,
        "quantity": quantity,
        "replicates": replicates,
        "studies": studies,
        "intervals": len(hits),
        "coverage": float(np.mean(hits)),
        "median_width": float(np.median(finite)) if finite else math.nan,
    }


def add(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The table with more studies: shares by number of intervals, widths by the weighted mean of medians. The
    Monte-Carlo error takes the studies as the units, for cells of a study share their text and blocks."""
    keys = ["shape", "quantity", "replicates"]
    both = pd.concat([table[COLUMNS], rows[COLUMNS]], ignore_index=True) if len(table) else rows
    out = []
    for key, part in both.groupby(keys, sort=False):
        n = part["intervals"].to_numpy(float)
        share = float(np.average(part["coverage"], weights=n))
        studies = int(part["studies"].sum())
        error = 100 * math.sqrt(max(share * (1 - share), 0.25 / studies) / studies)
        widths = part["median_width"].to_numpy(float)
        width = float(np.average(widths, weights=n)) if np.isfinite(widths).all() else math.nan
        values = {"studies": studies, "intervals": int(n.sum()), "coverage": share, "error_pp": error}
        out.append(dict(zip(keys, key, strict=True)) | values | {"median_width": width})
    return pd.DataFrame(out)[COLUMNS]


def jobs() -> list[tuple[str, int, int, Callable[[int, int], list[dict[str, Any]]]]]:
    """(name, replicates, studies in the end, run studies from .. so many) of every row."""
    out: list[tuple[str, int, int, Callable[[int, int], list[dict[str, Any]]]]] = []
    for correlation in (0.0, 0.5, 0.9):
        for sd in (0.02, 0.05):
            name = f"A/A, training noise {sd:g}, lag-one {correlation:g}"
            out.append((name, 1, SIMS["study"], partial(control_rate, correlation, sd)))
    for r in (2, 3, 5):
        out += [(name, r, SIMS["study"], partial(study_coverage, name, r)) for name in SHAPES]
        whole: tuple[tuple[str, int, Any], ...] = (
            ("compute-optimal, one group", SIMS["front"], front_coverage),
            ("compute-optimal, whole curves", SIMS["curves"], whole_front_coverage),
        )
        out += [(name, r, n, lambda first, sims, job=job, r=r: job(r, sims)) for name, n, job in whole]
    for n in (24, 48):
        name = f"law against law, {n} rows a fit"
        out.append((name, 1, SIMS["meeting"], lambda first, sims, n=n: meeting_coverage(n, sims)))
    for f in (0.0, 0.2):
        name = f"cure fraction {f:g}"
        out.append((name, 3, SIMS["cure"], lambda first, sims, f=f: cure_coverage(f, sims)))
    return out


BATCHED = ("A/A", *SHAPES)


def run(minutes: float, batch: int, only: str = "") -> None:
    """Add a batch of studies to each row that lacks some, the least studied first, until ``minutes`` of CPU
    time are over. Rows that are not made in batches run whole."""
    begin = time.process_time()
    while time.process_time() - begin < 60 * minutes:
        table = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame(columns=COLUMNS)
        lacking = []
        for name, r, total, job in jobs():
            mine = table[(table["shape"] == name) & (table["replicates"] == r)]
            done = int(mine["studies"].max()) if len(mine) else 0
            whole = len(mine) and not name.startswith(BATCHED)
            if done < total and not whole and name.startswith(only):
                lacking.append((done, name, r, total, job))
        if not lacking:
            return
        done, name, r, total, job = min(lacking, key=lambda row: row[0])
        more = min(batch, total - done) if name.startswith(BATCHED) else total
        rows = pd.DataFrame(job(done, more)).assign(error_pp=math.nan)
        table = add(table, rows)
        RESULTS.parent.mkdir(exist_ok=True)
        table.round(4).to_csv(RESULTS, index=False)
        print(name, r, done + more, flush=True)


def table() -> str:
    """What was measured, as Markdown: a row a shape and quantity, a column a number of replicates. A share is
    in percent, with the studies it was counted in and its Monte-Carlo error."""
    measured = pd.read_csv(RESULTS)
    lines = ["| study | quantity | 2 replicates | 3 replicates | 5 replicates |", "|---|---|---|---|---|"]
    several = measured[
        measured["shape"].isin([*SHAPES]) | measured["shape"].str.startswith("compute-optimal")
    ]
    for (shape, quantity), part in several.groupby(["shape", "quantity"], sort=False):
        cells = [_share(part[part["replicates"] == r]) for r in (2, 3, 5)]
        lines.append("| " + " | ".join((str(shape), str(quantity), *cells)) + " |")
    lines += ["", "| other | quantity | share |", "|---|---|---|"]
    for row in measured.drop(several.index).itertuples():
        lines.append(f"| {row.shape} | {row.quantity} | {_share(measured.loc[[row.Index]])} |")
    return "\n".join(lines)


def _share(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    row = rows.iloc[0]
    return f"{100 * row['coverage']:.1f} ± {row['error_pp']:.1f} ({int(row['studies'])})"


def measure() -> dict[str, dict[str, object]]:
    """What the table holds, for the bench: the rows of whole studies outside their limits, the most false
    crossings."""
    run(minutes=20, batch=50)
    table = pd.read_csv(RESULTS)
    places = table[(table["quantity"] == "place") & table["shape"].isin(SHAPES)]
    slack = 2 * places["error_pp"] / 100
    low = np.where(places["replicates"] >= 5, 0.93, 0.90) - slack
    high = np.where(places["replicates"] >= 5, 0.97, 0.98) + slack
    outside = int(((places["coverage"] < low) | (places["coverage"] > high)).sum())
    false = table[table["quantity"] == "robust crossings"]
    worst = float((false["coverage"] - 2 * false["error_pp"] / 100).max())
    return {
        "coverage.rows_outside": {"value": outside, "unit": "rows", "target": "0", "ok": outside == 0},
        "coverage.false_crossings": {
            "value": float(false["coverage"].max()),
            "unit": "share",
            "target": "5 % at most",
            "ok": worst <= 0.05,
        },
    }


def main() -> None:
    """Run what the table lacks."""
    parser = argparse.ArgumentParser(description="Coverage of crossover intervals.")
    parser.add_argument("--minutes", type=float, default=20.0, help="CPU time after which to stop")
    parser.add_argument("--batch", type=int, default=50, help="studies at a time")
    parser.add_argument("--only", default="", help="rows whose shape begins so")
    parser.add_argument("--table", action="store_true", help="print what was measured, as Markdown")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    run(options.minutes, options.batch, options.only)


if __name__ == "__main__":
    main()
