"""Bias of isoFLOP minima on a law without noise: `python -m benchmarks.isoflop_bias --to FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.laws import get_law
from analysis.plots.drawing import Drawing
from analysis.plots.style import MARKERS, SERIES, SOFT, log_axis, look, panels
from analysis.questions.isoflop_curves import isoflop
from analysis.questions.optimum import best_size

EXPONENTS = ((0.35, 0.35), (0.25, 0.45))
CENTRES = np.geomspace(1 / 8, 8, 13)
BUDGETS = np.geomspace(1e18, 1e21, 4)
METHODS = ("parabola", "cubic")  # a law through all is exact here
SIZES = np.geomspace(1 / 16, 16, 9)
"""Sizes at each budget, over the centre of the sizes."""


def measure_bias() -> pd.DataFrame:
    """One row a law, centre of the sizes (over the best size) and method: mean relative error of N* over the
    budgets, missing where no budget brackets its minimum."""
    law, rows = get_law("chinchilla"), []
    for alpha, beta in EXPONENTS:
        truth = {"A": 400.0, "B": 1500.0, "E": 1.8, "alpha": alpha, "beta": beta}
        natural = np.array([[truth[n] for n in law.parameter_names]])
        best = np.array([np.exp(best_size(law, natural, c)[0]) for c in BUDGETS])
        for centre in CENTRES:
            size = (best[:, None] * centre * SIZES).ravel()
            compute = np.repeat(BUDGETS, len(SIZES))
            table = pd.DataFrame({"N": size, "C": compute, "D": compute / 6 / size})
            table["loss"] = law.predict(truth, {k: table[k].to_numpy() for k in "ND"})
            for method in METHODS:
                found = isoflop(table, method=method).minima
                at = np.searchsorted(BUDGETS, found["C"].to_numpy() * 0.99)
                error = float(np.mean(found["N"].to_numpy() / best[at] - 1)) if len(found) else np.nan
                rows.append(
                    {"alpha": alpha, "beta": beta, "centre": centre, "method": method, "error": error}
                )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Drawing:
    """Error of N* against where the sizes lie, a panel a pair of exponents."""
    with look():
        figure, axes = panels(
            1, 2, 2.7, 2.3, left=0.6, right=0.2, top=0.35, bottom=0.5, between=0.4, sharey=True
        )
        for axis, ((alpha, beta), part) in zip(
            axes[0], table.groupby(["alpha", "beta"], sort=False), strict=True
        ):
            axis.axhline(0, color=SOFT, lw=0.8)
            for k, (method, line) in enumerate(part.groupby("method", sort=False)):
                style = {"color": SERIES[k], "marker": MARKERS[k], "ms": 3.5, "lw": 1.3}
                axis.plot(line["centre"], 100 * line["error"], label=method, **style)
            log_axis(axis, "x", list(CENTRES), at=[1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8])
            axis.set_xlabel("centre of the sizes / best size")
            axis.set_title(f"alpha = {alpha}, beta = {beta}", loc="left")
        axes[0][0].set_ylabel("error of N*, %")
        axes[0][0].legend(fontsize=7.5)
    worst = table.assign(size=table["error"].abs()).groupby("method", sort=False)["size"].max()
    said = ", ".join(f"{m} {100 * v:.1f} %" for m, v in worst.items())
    return Drawing(figure, table, "Bias of isoFLOP minima", f"Largest error of N* without any noise: {said}.")


def main(arguments: list[str] | None = None) -> None:
    """Measure, draw and say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("isoflop_bias.png"))
    parser.add_argument("--dpi", type=int)
    given = parser.parse_args(arguments)
    drawing = draw(measure_bias())
    print(drawing.write(given.to, given.dpi).caption)


if __name__ == "__main__":
    main()
