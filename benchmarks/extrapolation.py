"""Predictions 3, 10 and 20 times beyond the largest budget: `python -m benchmarks.extrapolation` appends to
benchmarks/results/extrapolation.csv.

Ladders are simulated under laws that the fitted one (Chinchilla's) does not contain: exponents that drift
with scale, and a term of N and D together that is missing. `TRUTHS` has their sizes, `DESIGNS` the runs that
a study has. Fitted to runs without noise, a wrong law errs 20 times beyond the largest budget by up to
4.0 %, as laws fitted to published tables do. The loss of one new run at each distance, with noise of its
own, must lie in the interval. A width is set against the shortest that would have covered 95 %:
``shortest`` lies anywhere about the prediction, at one place for all studies of the row, ``centred`` is
symmetric about it.

Published tables are fitted up to each of `CUTS`, and their runs beyond predicted:
benchmarks/results/extrapolation_published.csv.

Resumable: a truth and design that the file has is not run again. Seeds are fixed beforehand.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.questions.drift import drift_of
from analysis.tables.rows import chosen_rows

GROUP = "coverage"
RESULTS = Path(__file__).parent / "results" / "extrapolation.csv"
PUBLISHED = RESULTS.with_name("extrapolation_published.csv")
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
STARTS = 8
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


def _drifting(result: Fit, later: pd.DataFrame) -> pd.DataFrame:
    return drift_of(result).predict(later)


INTERVALS: dict[str, Callable[[Fit, pd.DataFrame], pd.DataFrame]] = {"law's own": _own, "drift": _drifting}


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


def published() -> Iterator[tuple[str, pd.DataFrame]]:
    """Name, and N, D and loss, of the published tables of the tests that are of fresh text."""
    folder = Path(__file__).parent.parent / "tests" / "data" / "published"
    columns = {"N": "Model Size", "C": "Training FLOP"}
    yield "Hoffmann et al. 2022", chosen_rows(folder / "chinchilla_fig4.csv", columns, drop_highest=5).rows
    rows = pd.read_csv(folder / "gadre_overtraining.csv")
    for corpus in sorted(rows["dataset"].unique()):
        part = rows[rows["dataset"] == corpus].rename(columns={"params": "N", "tokens": "D"})
        yield f"Gadre et al. 2024, {corpus}", part.assign(loss=part["loss_c4_val"])[["N", "D", "loss"]]
    rows = pd.read_csv(folder / "datablations_all.csv")
    fresh = rows[rows["tokens"] <= 2.5 * rows["unique_tokens"]]
    fresh = fresh.rename(columns={"params": "N", "tokens": "D", "val_loss": "loss"})
    yield "Muennighoff et al. 2023, up to 2.5 epochs", fresh[["N", "D", "loss"]].dropna()


CUTS = np.linspace(0.15, 0.95, 17)
"""Shares of the runs, by compute, up to which published tables are fitted."""
BANDS = {3: (1.7, 5.5), 10: (5.5, 14.0), 20: (14.0, 40.0)}
"""Distances of published runs that count as 3, 10 and 20 times beyond."""


def run_published(path: Path | None = PUBLISHED) -> pd.DataFrame:
    """Runs beyond each cut of each published table: one row a table, distance and kind of interval."""
    out = []
    for name, rows in published():
        rows, parts = rows.astype(float), []
        compute = 6 * rows["N"] * rows["D"]
        for cut in np.unique(compute.quantile(CUTS)):
            past, later = rows[compute <= cut], rows[compute > cut]
            try:
                result = fit(past, interval="t", starts=64).require()
                ends = {kind: interval(result, later) for kind, interval in INTERVALS.items()}
            except (ValueError, RuntimeError):  # too few runs below the cut, or no optimum
                continue
            beyond = ends["drift"]["beyond"].to_numpy()
            for kind, table in ends.items():
                logs = {k: np.log(table[k] / table["prediction"]) for k in ("low", "high")}
                error = np.log(later["loss"] / table["prediction"])
                parts.append(
                    pd.DataFrame({"at": beyond, "interval": kind, "error": error, **logs, "cut": cut})
                )
        tests = pd.concat(parts)
        for beyond, (low, high) in BANDS.items():
            band = tests[(tests["at"] > low) & (tests["at"] <= high)].assign(beyond=beyond)
            if len(band):
                cuts = band["cut"].nunique()
                out.append(
                    summary(band).rename(columns={"studies": "predictions"}).assign(table=name, cuts=cuts)
                )
    names = ["table", "beyond", "interval", "predictions", "cuts"]
    table = pd.concat(out)[[*names, "coverage", "width", "shortest", "centred", "bias"]].round(4)
    if path is not None:
        table.to_csv(path, index=False)
    return table


def page() -> str:
    """What was measured, as the page on fitting shows it."""
    head = (
        "| truth, or table | runs | times beyond | the law's own, % | allowing drift, % | width | studies |"
    )
    lines = [head, "|---|---|---|---|---|---|---|"]
    simulated = pd.read_csv(RESULTS).rename(columns={"truth": "what", "studies": "count"})
    tables = pd.read_csv(PUBLISHED).rename(columns={"table": "what", "predictions": "count"})
    tables["design"] = "published"
    for (what, design, beyond), two in pd.concat([simulated, tables]).groupby(
        ["what", "design", "beyond"], sort=False
    ):
        own, drift = (two[two["interval"] == kind].iloc[0] for kind in INTERVALS)
        cells = [what, design, beyond, f"{100 * own['coverage']:.1f}", f"{100 * drift['coverage']:.1f}"]
        cells += [f"{drift['width'] / drift['centred']:.2f}", drift["count"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


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
    parser.add_argument("--table", action="store_true", help="print what was measured, as Markdown")
    arguments = parser.parse_args()
    if arguments.table:
        print(page())
        raise SystemExit
    print(run_published().to_string(index=False))
    print(run(arguments.studies, minutes=arguments.minutes).to_string(index=False))
