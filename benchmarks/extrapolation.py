"""Predictions 3, 10 and 20 times beyond the largest budget: `python -m benchmarks.extrapolation` appends to
benchmarks/results/extrapolation.csv.

Ladders are simulated under laws that the fitted one (Chinchilla's) does not contain: exponents that drift
with scale, and a term of N and D together that is missing. `TRUTHS` has their sizes, `DESIGNS` the runs that
a study has. Fitted to runs without noise, a wrong law errs 20 times beyond the largest budget by up to
4.0 %, as laws fitted to published tables do. The loss of one new run at each distance, with noise of its
own, must lie in the interval. A width is set against the shortest that would have covered 95 %:
``shortest`` lies anywhere about the prediction, at one place for all studies of the row, ``centred`` is
symmetric about it.

Resumable: a truth and design that the file has is not run again. Seeds are fixed beforehand.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit

GROUP = "coverage"
RESULTS = Path(__file__).parent / "results" / "extrapolation.csv"
COLUMNS = [
    *("truth", "design", "beyond", "interval", "studies", "coverage", "mc_error"),
    *("width", "shortest", "centred", "bias", "cpu_s"),
]
NOISE = 0.003
"""Standard deviation of log loss about the truth."""
BEYOND = (3, 10, 20)
"""Budgets predicted, over the largest seen."""
RATIO = 20.0
"""Tokens per parameter of the runs predicted."""
STARTS = 32
REFERENCE = {"N": 1e8, "D": 2e9}
"""Where the terms have their sizes and exponents their nominal values."""
LEVEL, TERM_N, TERM_D, ALPHA, BETA = 1.8, 0.76, 0.67, 0.34, 0.36

TRUTHS: dict[str, dict[str, float]] = {
    "right": {},
    "exponents shrink": {"drift": 0.2},
    "exponents grow": {"drift": -0.2},
    "exponents grow fast": {"drift": -0.3},
    "missing term": {"missing": 0.5},
    "large missing term": {"missing": 1.0},
}
"""``drift``: the share of its nominal value that an exponent loses in each decade of N or D. ``missing``: the
term (ND)**-.15 at the reference, over N's own."""


def mean_loss(n: np.ndarray, d: np.ndarray, drift: float = 0.0, missing: float = 0.0) -> np.ndarray:
    """(n,) the true loss: E + A N**-a(N) + B D**-b(D) + G (ND)**-.15."""
    u, v = np.log10(n / REFERENCE["N"]), np.log10(d / REFERENCE["D"])
    of_n = TERM_N * 10 ** (-ALPHA * (u - 0.5 * drift * u * u))
    of_d = TERM_D * 10 ** (-BETA * (v - 0.5 * drift * v * v))
    return LEVEL + of_n + of_d + missing * TERM_N * 10 ** (-0.15 * (u + v))


def _isoflops() -> pd.DataFrame:
    """Nine budgets, a third of a decade apart, with five sizes each."""
    compute = np.repeat(1e17 * 10 ** (np.arange(9) / 3), 5)
    size = np.sqrt(compute / 6 / RATIO) * np.tile(np.geomspace(0.2, 5, 5), 9)
    return pd.DataFrame({"N": size, "D": compute / 6 / size})


def _ladder() -> pd.DataFrame:
    """Six sizes with four amounts of tokens each."""
    size = np.repeat(np.geomspace(3e7, 1e9, 6), 4)
    return pd.DataFrame({"N": size, "D": size * np.tile([10.0, 20.0, 50.0, 100.0], 6)})


DESIGNS: dict[str, Callable[[], pd.DataFrame]] = {"isoflops": _isoflops, "ladder": _ladder}


def simulate(truth: str, design: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of one study, and the runs to predict: N, D and loss."""
    rng = np.random.default_rng(seed)
    runs = DESIGNS[design]()
    compute = float((6 * runs["N"] * runs["D"]).max()) * np.array(BEYOND, dtype=float)
    size = np.sqrt(compute / 6 / RATIO)
    later = pd.DataFrame({"N": size, "D": compute / 6 / size})
    for table in (runs, later):
        mean = mean_loss(table["N"].to_numpy(), table["D"].to_numpy(), **TRUTHS[truth])
        table["loss"] = mean * np.exp(rng.normal(0, NOISE, len(table)))
    return runs, later


def _own(result: Fit, later: pd.DataFrame) -> pd.DataFrame:
    return result.predict(later, kind="run")


INTERVALS: dict[str, Callable[[Fit, pd.DataFrame], pd.DataFrame]] = {"law's own": _own}


def study(truth: str, design: str, seed: int) -> pd.DataFrame:
    """One row a distance and kind of interval: error (log observed / predicted), low and high (in logs, about
    the law's prediction)."""
    runs, later = simulate(truth, design, seed)
    result = fit(runs, "chinchilla", estimand="log_mse", interval="t", starts=STARTS)
    centre = np.log(result.predict(later, interval=False)["prediction"].to_numpy())
    rows = []
    for name, interval in INTERVALS.items():
        ends = interval(result, later)
        rows.append(
            pd.DataFrame(
                {
                    "beyond": BEYOND,
                    "interval": name,
                    "error": np.log(later["loss"].to_numpy()) - centre,
                    "low": np.log(ends["low"].to_numpy()) - centre,
                    "high": np.log(ends["high"].to_numpy()) - centre,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def shortest(errors: np.ndarray, level: float = 0.95) -> float:
    """Width of the shortest interval that holds so many of the errors."""
    ordered = np.sort(errors)
    count = math.ceil(level * len(ordered))
    return float((ordered[count - 1 :] - ordered[: len(ordered) - count + 1]).min())


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a distance and kind of interval, over studies."""
    out = []
    for (beyond, interval), group in rows.groupby(["beyond", "interval"], sort=False):
        error = group["error"].to_numpy()
        share = float(((group["low"] <= error) & (error <= group["high"])).mean())
        out.append(
            {
                "beyond": beyond,
                "interval": interval,
                "studies": len(group),
                "coverage": share,
                "mc_error": math.sqrt(share * (1 - share) / len(group)),
                "width": float((group["high"] - group["low"]).median()),
                "shortest": shortest(error),
                "centred": 2 * float(np.quantile(np.abs(error), 0.95)),
                "bias": float(error.mean()),
            }
        )
    return pd.DataFrame(out)


def run(studies: int = 1000, path: Path | None = RESULTS, minutes: float = 20.0) -> pd.DataFrame:
    """Every truth and design that ``path`` has not got; stops after so many minutes of CPU time."""
    begin, out = time.process_time(), []
    known = pd.read_csv(path) if path is not None and path.exists() else pd.DataFrame(columns=COLUMNS)
    done = set(zip(known["truth"], known["design"], strict=True))
    for truth in TRUTHS:
        for design in DESIGNS:
            if (truth, design) in done or time.process_time() - begin > 60 * minutes:
                continue
            clock = time.process_time()
            rows = pd.concat([study(truth, design, seed) for seed in range(studies)])
            block = summary(rows).assign(truth=truth, design=design, cpu_s=time.process_time() - clock)
            out.append(block[COLUMNS].round(5))
            if path is not None:
                out[-1].to_csv(path, mode="a", header=not path.exists(), index=False)
    return pd.concat(out, ignore_index=True) if out else known


def measure() -> dict[str, dict[str, object]]:
    """Lowest coverage over 40 studies of each truth and design."""
    table = run(40, path=None)
    worst = float(table["coverage"].min())
    return {
        "fit.extrapolation_coverage": {
            "value": worst,
            "unit": "share",
            "target": "at least 0.85",
            "ok": worst >= 0.85,
        }
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=20.0)
    arguments = parser.parse_args()
    print(run(arguments.studies, minutes=arguments.minutes).to_string(index=False))
