"""Predictions two budgets beyond the data: `python -m benchmarks.calibration` writes
benchmarks/results/calibration.csv.

Ten budgets are simulated, eight are seen, and the runs of the tenth are predicted: by the law's own
intervals, and by those that a rolling origin calibrates. Once the law fitted is the true one, once it is not
(the truth is coupled).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fitting import fit
from analysis.laws import get_law
from analysis.questions.holdout import rolling_origin

RESULTS = Path(__file__).parent / "results" / "calibration.csv"
TRUTHS = {
    "right": ("chinchilla", {"A": 400.0, "B": 1500.0, "E": 1.8, "alpha": 0.34, "beta": 0.36}),
    "wrong": ("coupled", {"A": 2000.0, "B": 9000.0, "E": 1.6, "alpha": 0.42, "beta": 0.44, "gamma": 0.75}),
}
NOISE = 0.005


def simulate(law: str, values: dict[str, float], seed: int, budgets: int) -> pd.DataFrame:
    """Runs of so many budgets from 1e17 up, a third of a decade apart, five sizes each."""
    rows = [
        {"N": n, "D": c / 6 / n, "C": c, "budget": k}
        for k, c in enumerate(1e17 * 10 ** (np.arange(budgets) / 3))
        for n in math.sqrt(c / 6 / 20) * np.geomspace(0.2, 5, 5)
    ]
    table = pd.DataFrame(rows)
    mean = get_law(law).predict(values, {k: table[k].to_numpy() for k in "ND"})
    return table.assign(loss=mean * np.exp(np.random.default_rng(seed).normal(0, NOISE, len(table))))


def run(sims: int = 200, budgets: int = 10, path: Path | None = RESULTS) -> pd.DataFrame:
    """Coverage and median width (of logs) of 95 % intervals for runs two budgets beyond the data."""
    rows = []
    for kind, (law, values) in TRUTHS.items():
        for seed in range(sims):
            table = simulate(law, values, seed, budgets)
            seen, last = table[table["budget"] < budgets - 2], table[table["budget"] == budgets - 1]
            options = {"estimand": "log_mse", "interval": "t", "starts": 64}
            found = fit(seen[["N", "D", "loss"]], "chinchilla", **options)
            calibration = rolling_origin(
                seen[["N", "D", "loss"]], "chinchilla", horizon=2, groups=budgets * 3, **options
            )
            for method, ends in (
                ("law's own", found.predict(last, kind="run")),
                ("calibrated", calibration.predict(found, last)),
            ):
                inside = (ends["low"].to_numpy() <= last["loss"].to_numpy()) & (
                    last["loss"].to_numpy() <= ends["high"].to_numpy()
                )
                rows.append(
                    {
                        "law": kind,
                        "interval": method,
                        "kind": calibration.kind if method == "calibrated" else "t",
                        "coverage": inside.mean(),
                        "width": float(np.log(ends["high"] / ends["low"]).median()),
                    }
                )
    out = (
        pd.DataFrame(rows)
        .groupby(["law", "interval", "kind"], as_index=False)
        .agg(coverage=("coverage", "mean"), width=("width", "median"), sims=("width", "size"))
        .assign(budgets_seen=budgets - 2)
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        out.round(4).to_csv(path, index=False)
    return out


def measure() -> dict[str, dict[str, object]]:
    """Coverage over 40 simulations of calibrated predictions two budgets out, the law being right."""
    found = run(40, path=None)
    value = float(found[(found["law"] == "right") & (found["interval"] == "calibrated")]["coverage"].iloc[0])
    return {
        "fit.calibrated_two_budgets_out": {
            "value": value,
            "unit": "share",
            "target": "at least 0.93",
            "ok": value >= 0.93,
        }
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sims", type=int, default=200)
    print(run(parser.parse_args().sims))
