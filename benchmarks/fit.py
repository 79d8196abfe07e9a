"""Figures of the fits: CPU seconds of Chinchilla's 4500 starts and of its 4000 bootstrap draws.

SciPy's L-BFGS-B over the same grid, as it is usually run, takes 66 CPU s, and the usual bootstrap 103.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from analysis.fitting.fitting import fit
from analysis.fitting.starts import rebuild
from analysis.fitting.uncertainty.resampling import bootstrap
from analysis.laws.chinchilla import hoffmann_grid

TABLE = Path(__file__).parents[1] / "tests" / "data" / "published" / "chinchilla_fig4.csv"
COLUMNS = {"N": "Model Size", "C": "Training FLOP"}


def _cpu(work: Callable[[], object], repeats: int = 3) -> float:
    """Least CPU time of a few repeats, in seconds: the others measure the neighbours."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def measure() -> dict[str, dict[str, object]]:
    """Figure -> value, unit, target, ok."""
    grid = hoffmann_grid()
    options = {"columns": COLUMNS, "drop_highest": 5, "interval": "none"}
    found = fit(str(TABLE), "chinchilla", **options)
    problem = rebuild(found)
    phi = problem.phi(grid[:1] * 0 + [[found.values[n] for n in found.law.parameter_names]])
    search_s = _cpu(lambda: fit(str(TABLE), "chinchilla", starts=grid, **options))
    bootstrap_s = _cpu(lambda: bootstrap(problem, phi, 4000, seed=42))
    return {
        "fit.chinchilla_4500_cpu_s": {"value": search_s, "unit": "s", "target": 0.5, "ok": search_s <= 0.5},
        "fit.bootstrap_4000_cpu_s": {
            "value": bootstrap_s,
            "unit": "s",
            "target": 3.0,
            "ok": bootstrap_s <= 3.0,
        },
    }


if __name__ == "__main__":
    for name, figure in measure().items():
        print(
            f"{name} {figure['value']:.3f} {figure['unit']} (target {figure['target']}) "
            f"{'ok' if figure['ok'] else 'MISSED'}"
        )
