"""Coverage of crossover intervals by simulation: `python -m benchmarks.coverage_crossover`.

Simulated log-places, as studies give them: 8 cells (4 budgets of unique data, 2 sizes), places that scatter
between cells and between replicates' blocks and within, and runs that end before a third of the cells have
crossed. Counted is how often 95 % intervals hold the truth: of one cell's place (`pool.interval`, without
bounds, and in studies with), of one group's place by the bootstrap of fronts (`replicates.pool`, and
`compute_optimal` on whole curves), of where two fitted laws meet, of the law of the crossing's slopes on U
and N (`law.fit_law`, with the bounds), and of its cure fraction. Resumable: rows that the file holds are not
run again. Seeds are fixed beforehand.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd

from analysis.crossover import locate
from analysis.crossover.fronts.meeting import DRAWS, compute_optimal
from analysis.crossover.places.censored_law import fit_places
from analysis.crossover.pooling import Variance, dirichlet, pool_draws, pool_places, t_interval
from analysis.crossover.same_n.cell_places import cell_place
from analysis.crossover.same_n.location import PAIR
from analysis.crossover.same_n.outcome import CrossingOutcome
from analysis.crossover.surfaces.law_against_law import meet
from analysis.fitting.estimate import Estimate
from analysis.fitting.fitting import fit

RESULTS = Path(__file__).parent / "results" / "coverage_crossover.csv"
COLUMNS = ["interval", "quantity", "replicates", "cell_sd", "sims", "coverage", "median_width", "cpu_s"]
BLOCK, NOISE = 0.05, 0.08
SLOPES = {"U": 0.6, "N": -0.4}
SIMS = {"law": 1000, "cell": 1500, "front": 1500, "curves": 250, "meeting": 600, "cure": 60}


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


def law_coverage(replicates: int, cell_sd: float, sims: int) -> list[dict[str, Any]]:
    """Slopes of the law of the crossing, a third of the cells censored."""
    hits: dict[str, list[bool]] = {k: [] for k in SLOPES}
    widths: dict[str, list[float]] = {k: [] for k in SLOPES}
    for sim in range(sims):
        law = fit_places(
            places(np.random.default_rng([2026, replicates, round(100 * cell_sd), sim]), replicates, cell_sd)
        )
        for name, truth in SLOPES.items():
            c = law.coefficient(name)
            if c is not None:
                hits[name].append(c.low <= truth <= c.high)
                widths[name].append(c.high - c.low)
    return [
        _row("law of the crossing", f"slope on {k}", replicates, cell_sd, hits[k], widths[k]) for k in SLOPES
    ]


def cell_coverage(replicates: int, sims: int) -> list[dict[str, Any]]:
    """One cell's place, the variance pooled over 8 cells whose replicates correlate."""
    hits, widths = [], []
    for sim in range(sims):
        rng = np.random.default_rng([2027, replicates, sim])
        y = rng.normal(0, BLOCK, replicates) + rng.normal(0, NOISE, (8, replicates))
        spread = pool_places([{str(r): v for r, v in enumerate(row)} for row in y])
        low, high = _ends(cell_place(_outcomes(y[0]), "tokens", spread))
        hits.append(low <= 0 <= high)
        widths.append(high - low)
    return [_row("same-N, one cell", "place", replicates, math.nan, hits, widths)]


def censored_cell_coverage(replicates: int, sims: int) -> list[dict[str, Any]]:
    """The places of cells in studies where a third has not crossed: two-sided intervals of those that have in
    every replicate, and one-sided ones of those that have in some."""
    hits: dict[str, list[bool]] = {"place": [], "bound where some crossed": []}
    widths: dict[str, list[float]] = {k: [] for k in hits}
    for sim in range(sims):
        rng = np.random.default_rng([2031, replicates, sim])
        table, truth = places(rng, replicates, 0.06), list(middles().values())
        cells = [part for _, part in table.groupby("cell")]
        seen = [part[part["side"] == 0] for part in cells]
        spread = pool_places([{str(r): y for r, y in zip(p["seed"], p["y"], strict=True)} for p in seen])
        for part, middle, scatter in zip(cells, truth, table.attrs["scatter"], strict=True):
            late = int((part["side"] > 0).sum())
            if late == replicates or spread is None:
                continue
            place = cell_place(_outcomes(part["y"].to_numpy(), part["side"].to_numpy()), "tokens", spread)
            kind = "bound where some crossed" if late else "place"
            low, high = _ends(place)
            hits[kind].append(low <= middle + scatter <= high)
            widths[kind].append(math.nan if late else high - low)
    name = "same-N, a third of the cells censored"
    return [_row(name, kind, replicates, 0.06, hits[kind], widths[kind]) for kind in hits]


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
    return [_row("compute-optimal, one group", "place", replicates, math.nan, hits, widths)]


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
    return [_row("compute-optimal, whole curves", "place", replicates, math.nan, hits, widths)]


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
        _row(name, "fraction", 3, 0.06, hits, widths),
        _row(name, "called for (share)", 3, 0.06, called, widths),
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
    return [_row(f"law against law, {rows} rows a fit", "place", 1, math.nan, hits, widths)]


def _ends(place: Estimate) -> tuple[float, float]:
    """The ends of an interval of a logarithm, infinite where it is open."""
    low, high = place.low, place.high
    return -math.inf if low is None else low, math.inf if high is None else high


def _outcomes(values: np.ndarray, sides: np.ndarray | None = None) -> list[CrossingOutcome]:
    """Replicates of which nothing but the place (or the bound, where ``sides`` is not 0) is known."""
    return [
        cast(
            CrossingOutcome,
            SimpleNamespace(
                x={"tokens": math.exp(v)},
                censored="right" if sides is not None and sides[i] else None,
                seed=i,
                crossing=None,
                curve=SimpleNamespace(parts=1),
            ),
        )
        for i, v in enumerate(values)
    ]


def _row(
    interval_name: str, quantity: str, replicates: int, cell_sd: float, hits: list[bool], widths: list[float]
) -> dict[str, Any]:
    return {
        "interval": interval_name,
        "quantity": quantity,
        "replicates": replicates,
        "cell_sd": cell_sd,
        "sims": len(hits),
        "coverage": round(float(np.mean(hits)), 4),
        "median_width": round(float(np.median(widths)), 4),
    }


def main() -> None:
    """Run what the table lacks, a configuration at a time."""
    parser = argparse.ArgumentParser(description="Coverage of crossover intervals.")
    parser.add_argument("--sims", type=int, help="simulations of each law configuration")
    options = parser.parse_args()
    table = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame(columns=COLUMNS)
    sims = options.sims or SIMS["law"]
    jobs: list[tuple[str, int, float, Any]] = []
    for r in (2, 3, 5):
        jobs.append(("same-N, one cell", r, math.nan, lambda r=r: cell_coverage(r, SIMS["cell"])))
        name = "same-N, a third of the cells censored"
        jobs.append((name, r, 0.06, lambda r=r: censored_cell_coverage(r, SIMS["cell"])))
        jobs.append(("compute-optimal, one group", r, math.nan, lambda r=r: front_coverage(r, SIMS["front"])))
        name = "compute-optimal, whole curves"
        jobs.append((name, r, math.nan, lambda r=r: whole_front_coverage(r, SIMS["curves"])))
    for n in (24, 48):
        name = f"law against law, {n} rows a fit"
        jobs.append((name, 1, math.nan, lambda n=n: meeting_coverage(n, SIMS["meeting"])))
    for f in (0.0, 0.2):
        jobs.append((f"cure fraction {f:g}", 3, 0.06, lambda f=f: cure_coverage(f, SIMS["cure"])))
    for r in (5, 3, 2):
        for sd in (0.06, 0.15):
            jobs.append(("law of the crossing", r, sd, lambda r=r, sd=sd: law_coverage(r, sd, sims)))
    for name, r, sd, job in jobs:
        done = (table["interval"] == name) & (table["replicates"] == r)
        done &= table["cell_sd"].isna() if math.isnan(sd) else table["cell_sd"] == sd
        if done.any():
            continue
        start = time.process_time()
        rows = pd.DataFrame(job())
        rows["cpu_s"] = round((time.process_time() - start) / len(rows), 2)
        table = pd.concat([table, rows], ignore_index=True) if len(table) else rows
        RESULTS.parent.mkdir(exist_ok=True)
        table[COLUMNS].to_csv(RESULTS, index=False)
        print(rows.to_string(index=False, header=False), flush=True)


if __name__ == "__main__":
    main()
