"""CPU seconds that a plan of 1,000, 3,000 and 10,000 rows takes, from the sweep to the tasks left.

Rows are distinct runs: two objectives, five sizes, ten amounts of data and one to ten rates, in ten
replicates.
"""

from __future__ import annotations

import gc
import time
from typing import Any

from benchmarks.figures import figure
from orchestrator.planning.drafting import make_plan
from orchestrator.planning.estimate import Estimator
from orchestrator.study.sweeps import Sweep

GROUP = "scheduler"
SECONDS, LINEAR = 5.0, 1.2


def seconds(rates: int) -> float:
    """CPU seconds to plan a sweep of a thousand rows for each of so many rates."""
    sweep = {
        "name": "large",
        "base": {"batch_size": 8, "data": {"context": 64}, "budget.tokens": "1M"},
        "axes": {
            "objective": ["autoregressive", "masked_diffusion"],
            "model.size": ["d32", "d48", "d64", "d96", "d128"],
            "data.unique_bytes": [f"{k}k" for k in range(5, 55, 5)],
            "optimizer.lr": [k / 1e4 for k in range(10, 10 + rates)],
        },
        "seeds": 10,
    }
    gc.collect()
    begin = time.process_time()
    expansion = Sweep.from_dict(sweep)._expansion
    plan = make_plan([expansion], None, Estimator(gemm=1e10))
    spent = time.process_time() - begin
    if len(plan.rows) != 1000 * rates:
        raise ValueError(f"{len(plan.rows)} rows")
    return spent


def measure() -> dict[str, dict[str, Any]]:
    """The time of each plan, and a row's of the largest against that of the smallest."""
    seconds(1)  # imports, registries and the corpus's digest
    few, some, many = (min(seconds(count) for _ in range(2)) for count in (1, 3, 10))
    ratio = (many / 10) / few
    return {
        "scheduler.plan_1k_s": figure(few, "CPU s"),
        "scheduler.plan_3k_s": figure(some, "CPU s"),
        "scheduler.plan_10k_s": figure(many, "CPU s", at_most=SECONDS),
        "scheduler.plan_row_10k_over_1k": figure(ratio, "x", at_most=LINEAR),
    }
