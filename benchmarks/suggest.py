"""What a suggested design is worth: `python -m benchmarks.suggest` writes benchmarks/results/suggest.csv.

Over truths drawn beforehand: a small first study, then the same FLOPs spent four ways, on the runs that
``suggest`` names for a quantity, at random, on a grid, and cheapest first; every way may spend them on as
many runs as fit. Then the width and the coverage of the quantity's interval. Resumable: truths that
``build/suggest.csv`` holds are not done again.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.laws import get_law
from analysis.questions.design import candidates, suggest
from analysis.questions.optimum import best_size, optimal

RESULTS = Path(__file__).parent / "results" / "suggest.csv"
ROWS = Path(__file__).parent.parent / "build" / "suggest.csv"
WAYS = ("suggest", "random", "grid", "cheapest")
NOISE, TARGET, BUDGET, PER_RUN = 0.005, 1e22, 2e20, 5e19
LAW = "chinchilla"
REPLICATES = 8
"""Of the finest grid that fits, at most; the first that are too dear are left out."""


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
        grids = (_grid(pool, stride) for stride in range(1, 7))
        pool = next(g for g in grids if g["C"].sum() <= BUDGET)
        order = np.tile(np.argsort(-pool["C"].to_numpy()), REPLICATES)
    elif way == "cheapest":
        order = np.argsort(pool["C"].to_numpy())
    else:
        order = rng.permutation(len(pool))
    cost = pool["C"].to_numpy()
    left, rows = BUDGET, []
    for i in order:
        if cost[i] <= left:
            rows.append(i)
            left -= cost[i]
    return pool.iloc[rows]


def _grid(pool: pd.DataFrame, stride: int) -> pd.DataFrame:
    """Every ``stride``-th size and length."""
    sizes, tokens = np.unique(pool["N"])[::stride], np.unique(pool["D"])[::stride]
    return pool[pool["N"].isin(sizes) & pool["D"].isin(tokens)].reset_index(drop=True)


def one(seed: int) -> list[dict[str, object]]:
    """One truth, a row a way: width of the interval of log N_opt, whether it covers, runs and FLOPs."""
    law = get_law(LAW)
    values = truth(np.random.default_rng(seed))
    goal = float(best_size(law, np.array([[values[n] for n in law.parameter_names]]), TARGET)[0])
    first = observe(first_study(), values, np.random.default_rng(10_000 + seed))
    found = fit(first, LAW, estimand="log_mse", interval="t", starts=256)
    pool = candidates(found, PER_RUN, reach=4.0)
    rows: list[dict[str, object]] = []
    for k, way in enumerate(WAYS):
        rng = np.random.default_rng([seed, k])
        bought = spend(way, found, pool, rng)
        both = pd.concat([first, observe(bought, values, rng)])
        best = optimal(fit(both, LAW, estimand="log_mse", interval="profile", starts=256), TARGET).N
        low, high = best.low or 1e-300, best.high or math.inf
        facts = {"runs": len(bought), "flops": float(bought["C"].sum())}
        covers = math.log(low) <= goal <= math.log(high)
        rows.append({"seed": seed, "way": way, "width": math.log(high / low), "covers": covers, **facts})
    return rows


def run(truths: int = 200, path: Path | None = ROWS) -> pd.DataFrame:
    """The rows of all truths; those that ``path`` holds are taken from it."""
    done = pd.read_csv(path) if path is not None and path.exists() else pd.DataFrame(columns=["seed"])
    parts = [done[done["seed"] < truths]]
    for seed in sorted(set(range(truths)) - set(done["seed"])):
        new = pd.DataFrame(one(seed))
        parts.append(new)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            new.to_csv(path, mode="a", header=not path.exists(), index=False)
    return pd.concat([p for p in parts if len(p)], ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Per way: median width, that over suggest's, coverage, runs and FLOPs."""
    out = rows.groupby("way").agg(
        width=("width", "median"),
        coverage=("covers", "mean"),
        runs=("runs", "median"),
        flops=("flops", "median"),
        truths=("seed", "nunique"),
    )
    out["suggest_over_this"] = float(out["width"]["suggest"]) / out["width"]
    return out.round(4)


def measure() -> dict[str, dict[str, object]]:
    """Figures over 40 truths: suggest's median width over the best rival's, and its coverage."""
    found = summarise(run(40, path=None))
    worst = float(found.drop("suggest")["suggest_over_this"].max())
    cover = float(found["coverage"]["suggest"])
    return {
        "suggest.width_over_best_rival": {"value": worst, "unit": "ratio", "target": 0.8, "ok": worst <= 0.8},
        "suggest.coverage": {"value": cover, "unit": "share", "target": 0.93, "ok": cover >= 0.93},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truths", type=int, default=400)
    table = summarise(run(parser.parse_args().truths))
    table.to_csv(RESULTS)
    print(table)
