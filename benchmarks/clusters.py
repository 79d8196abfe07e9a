"""What ignoring clusters costs: `python -m benchmarks.clusters --to FILE`.

Forty runs, each with a deviation of its own and several rows: how often bootstrap intervals of a law hold the
truth when rows are resampled, and when whole runs are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.fitting.fitting import fit
from analysis.laws import get_law
from analysis.plots.drawing import Drawing
from analysis.plots.style import MARKERS, SERIES, SOFT, log_axis, look, panels

TRUTH = {"A": 800.0, "E": 1.7, "alpha": 0.35}
RUNS, ROWS, BETWEEN, WITHIN = 40, (1, 2, 4, 8, 16), 0.01, 0.003
"""Runs, rows of each, and the standard deviations of log loss between runs and within them."""


def sample(rows: int, seed: int) -> pd.DataFrame:
    """One study: every run has its rows near a place of its own, and its deviation in all of them."""
    rng = np.random.default_rng(seed)
    run = np.repeat(np.arange(RUNS), rows)
    place = np.geomspace(1e6, 1e12, RUNS)[run]
    x = place * np.exp(rng.uniform(-0.7, 0.7, len(run)))
    noise = rng.normal(0, BETWEEN, RUNS)[run] + rng.normal(0, WITHIN, len(run))
    return pd.DataFrame(
        {"x": x, "y": get_law("power_offset").predict(TRUTH, {"x": x}) * np.exp(noise), "run": run}
    )


def measure_coverage(studies: int = 120, draws: int = 200) -> pd.DataFrame:
    """One row a number of rows a run and a unit that is resampled: coverage of the parameters, averaged."""
    out = []
    for rows in ROWS:
        hits: dict[str, list[bool]] = {"row": [], "run": []}
        for s in range(studies):
            table = sample(rows, 30_000 + s)
            for unit, held in hits.items():
                found = fit(
                    table,
                    "power_offset",
                    estimand="log_mse",
                    bootstrap=draws,
                    seed=s,
                    cluster="run" if unit == "run" else None,
                    starts=[TRUTH],
                )
                held += [e.low <= TRUTH[n] <= e.high for n, e in found.parameters.items() if e.low and e.high]
        out += [{"rows": rows, "resampled": u, "coverage": float(np.mean(h))} for u, h in hits.items()]
    return pd.DataFrame(out)


def draw(table: pd.DataFrame) -> Drawing:
    """Coverage against rows a run."""
    with look():
        figure, axes = panels(1, 1, 3.4, 2.2, left=0.6, right=0.2, top=0.3, bottom=0.5)
        axis = axes[0][0]
        axis.axhline(95, color=SOFT, lw=0.9)
        for k, (unit, line) in enumerate(table.groupby("resampled", sort=False)):
            label = {"row": "rows resampled", "run": "runs resampled: --cluster run"}[str(unit)]
            style = {"color": SERIES[k + 1], "marker": MARKERS[k], "ms": 4.5, "lw": 1.3}
            axis.plot(line["rows"], 100 * line["coverage"], label=label, **style)
        log_axis(axis, "x", list(ROWS), at=list(ROWS))
        axis.set_ylim(0, 103)
        axis.set_xlabel(f"rows of each of {RUNS} runs")
        axis.set_ylabel("95% intervals cover, %")
        axis.legend(loc="lower left")
    last = table[table["rows"] == max(ROWS)].set_index("resampled")["coverage"]
    caption = (
        f"With {max(ROWS)} rows a run, 95% intervals cover {100 * last['row']:.0f} % when rows are resampled,"
        f" {100 * last['run']:.0f} % when runs are."
    )
    return Drawing(figure, table, "Rows of a run are not independent", caption)


def main(arguments: list[str] | None = None) -> None:
    """Measure, draw and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("clusters.png"))
    parser.add_argument("--dpi", type=int)
    given = parser.parse_args(arguments)
    print(draw(measure_coverage()).write(given.to, given.dpi).caption)


if __name__ == "__main__":
    main()
