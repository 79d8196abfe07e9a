"""What a suggested design is worth: `python -m benchmarks.suggest` writes benchmarks/results/suggest.csv.

Over truths drawn beforehand: a small first study, then the same FLOPs spent four ways, on the runs that
``suggest`` names for a quantity, at random, on a grid, and cheapest first; every way may spend them on as
many runs as fit. Then the width and the coverage of the quantity's interval.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.design import candidates, suggest
from analysis.fit import fit
from analysis.laws import get_law
from analysis.optimum import best_size, optimal
from analysis.result import Fit

RESULTS = Path(__file__).parent / "results" / "suggest.csv"
WAYS = ("suggest", "random", "grid", "cheapest")
NOISE, TARGET, BUDGET, PER_RUN = 0.005, 1e22, 2e20, 5e19
LAW = "chinchilla"


def truth(rng: np.random.Generator) -> dict[str, float]:
    """A separable law whose terms are of published size at N = 1e8, D = 1e10."""
    alpha, beta = rng.uniform(0.28, 0.42, 2)
    return {
        "A": rng.uniform(0.4, 1.0) * 1e8**alpha,
        "B": rng.uniform(0.4, 1.0) * 1e10**beta,
        "E": rng.uniform(1.5, 2.1),
        "alpha": alpha,
        "beta": beta,
    }


def observe(rows: pd.DataFrame, values: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """Losses of runs, with log-normal noise."""
    mean = get_law(LAW).predict(values, {k: rows[k].to_numpy() for k in "ND"})
    return rows[["N", "D"]].assign(loss=mean * np.exp(rng.normal(0, NOISE, len(rows))))


def first_study() -> pd.DataFrame:
    """Twenty runs: four budgets, five sizes each."""
    rows = [
        {"N": n, "D": c / 6 / n}
        for c in (1e17, 3e17, 1e18, 3e18)
        for n in math.sqrt(c / 6 / 20) * np.geomspace(0.2, 5, 5)
    ]
    return pd.DataFrame(rows)


def spend(way: str, found: Fit, pool: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The runs that one way buys for the budget."""
    if way == "suggest":
        return suggest(
            found, f"N_opt(C={TARGET:g})", BUDGET, count=400, choices=pool[["N", "D"]], per_run=PER_RUN
        ).runs
    if way == "grid":
        for stride in (1, 2, 3, 4, 5, 6):
            sizes, tokens = np.unique(pool["N"])[::stride], np.unique(pool["D"])[::stride]
            chosen = pool[pool["N"].isin(sizes) & pool["D"].isin(tokens)]
            if chosen["C"].sum() <= BUDGET:
                return chosen
    order = np.argsort(pool["C"].to_numpy()) if way == "cheapest" else rng.permutation(len(pool))
    left, rows = BUDGET, []
    for i in order:
        cost = float(pool["C"].iloc[i])
        if cost <= left:
            rows.append(i)
            left -= cost
    return pool.iloc[rows]


def run(truths: int = 200, path: Path = RESULTS) -> pd.DataFrame:
    """One row a truth and way: width of the interval of log N_opt, whether it covers, runs and FLOPs."""
    rows = []
    law = get_law(LAW)
    for seed in range(truths):
        values = truth(np.random.default_rng(seed))
        goal = float(best_size(law, np.array([[values[n] for n in law.parameter_names]]), TARGET)[0])
        first = observe(first_study(), values, np.random.default_rng(10_000 + seed))
        found = fit(first, LAW, estimand="log_mse", interval="t", starts=256)
        if not found.converged:
            continue
        pool = candidates(found, PER_RUN, reach=4.0)
        for k, way in enumerate(WAYS):
            rng = np.random.default_rng([seed, k])
            bought = spend(way, found, pool, rng)
            after = fit(
                pd.concat([first, observe(bought, values, rng)]),
                LAW,
                estimand="log_mse",
                interval="profile",
                starts=256,
            )
            if not after.converged:
                continue
            best = optimal(after, TARGET).N
            low, high = best.low or 1e-300, best.high or math.inf
            rows.append(
                {
                    "seed": seed,
                    "way": way,
                    "width": math.log(high / low),
                    "runs": len(bought),
                    "covers": math.log(low) <= goal <= math.log(high),
                    "flops": float(bought["C"].sum()),
                }
            )
    out = pd.DataFrame(rows)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        summarise(out).to_csv(path)
    return out


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Per way: median width, that over suggest's, coverage, runs and FLOPs."""
    out = rows.groupby("way").agg(
        width=("width", "median"),
        coverage=("covers", "mean"),
        runs=("runs", "median"),
        flops=("flops", "median"),
        truths=("seed", "nunique"),
    )
    out["suggest_over_this"] = out.loc["suggest", "width"] / out["width"]
    return out.round(4)


def measure() -> dict[str, dict[str, object]]:
    """Figures over 40 truths: suggest's median width over the best rival's, and its coverage."""
    found = summarise(run(40, path=None))  # type: ignore[arg-type]
    worst = float(found.drop("suggest")["suggest_over_this"].max())
    cover = float(found.loc["suggest", "coverage"])
    return {
        "suggest.width_over_best_rival": {"value": worst, "unit": "ratio", "target": 0.8, "ok": worst <= 0.8},
        "suggest.coverage": {"value": cover, "unit": "share", "target": 0.93, "ok": cover >= 0.93},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truths", type=int, default=200)
    print(summarise(run(parser.parse_args().truths)))
