"""Whether bfloat16 learns what float32 learns; writes benchmarks/results/bf16.csv.

Pairs of runs that differ in `dtype` alone, of several seeds on one text, at a pocket shape. The *seed
interval* of a step is where the float32 loss of one more seed is expected with 95 % (mean and spread of the
float32 seeds, Student's t). Resumable: run folders are kept under build/.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmarks.figures import figure
from benchmarks.train import has_bfloat16

if TYPE_CHECKING:
    from trainers.config import RunConfig

GROUP = "train"
ROOT = Path(__file__).parent.parent
STORE = ROOT / "build" / "bf16"
RESULTS = Path(__file__).parent / "results" / "bf16.csv"
OBJECTIVES = {"ar": "autoregressive", "mdm": "masked_diffusion"}
DTYPES = ("float32", "bfloat16")
SEEDS, STEPS = range(5), 180


def measure() -> dict[str, dict[str, Any]]:
    """Per objective: the share of bfloat16's losses that lie in the seed interval of their step, and by how
    much the last ones differ from their twins'; nothing where the processor has no bfloat16."""
    if not has_bfloat16():
        return {}
    curves = pd.DataFrame(row for name in OBJECTIVES for seed in SEEDS for row in pair(name, seed))
    RESULTS.parent.mkdir(exist_ok=True)
    curves.round(6).to_csv(RESULTS, index=False)
    figures: dict[str, dict[str, Any]] = {}
    for name, table in curves.groupby("objective"):
        inside, shift = compare(table)
        figures[f"train.bf16_curve_inside.{name}"] = figure(inside, "of losses", at_least=0.95)
        figures[f"train.bf16_final_shift.{name}"] = figure(shift, "nats")
    return figures


def pair(name: str, seed: int) -> list[dict[str, Any]]:
    """One row an evaluation: half B's loss in both dtypes."""
    from trainers.run.loop import train

    curves = []
    for dtype in DTYPES:
        run = config(name, seed, dtype)
        result = train(run, STORE / "runs" / run.training_key)
        curves.append({e["step"]: (e["tokens"], e["b"]["nll"]) for e in result.evaluations})
    return [
        {
            "objective": name,
            "seed": seed,
            "step": step,
            "tokens": tokens,
            **{dtype: curve[step][1] for dtype, curve in zip(DTYPES, curves, strict=True)},
        }
        for step, (tokens, _) in curves[0].items()
    ]


def config(name: str, seed: int, dtype: str) -> RunConfig:
    """A run of 193k parameters and 737k tokens; all seeds on the same 20 kB, so that they differ least."""
    from trainers.config import RunConfig

    return RunConfig.model_validate(
        {
            "model": {"name": "transformer", "width": 64, "layers": 3},
            "objective": OBJECTIVES[name],
            "optimizer": {"name": "adamw", "lr": 2e-3},
            "schedule": {"name": "constant", "warmup": 20},
            "data": {"unique_bytes": 20_000},
            "dtype": dtype,
            "seed": seed,
            "steps": STEPS,
            "keep": "last",
        }
    )


def compare(table: pd.DataFrame) -> tuple[float, float]:
    """(share of bfloat16 losses within the seed interval of their step; mean paired difference at the last
    step, nats)."""
    from scipy.stats import t

    one, other = (table.pivot(index="step", columns="seed", values=dtype) for dtype in DTYPES)
    seeds = one.shape[1]
    half = t.ppf(0.975, seeds - 1) * math.sqrt(1 + 1 / seeds) * one.std(axis=1, ddof=1)
    inside = other.sub(one.mean(axis=1), axis=0).abs().le(half, axis=0)
    return float(inside.to_numpy().mean()), float((other - one).iloc[-1].mean())


if __name__ == "__main__":
    for key, value in measure().items():
        print(key, value["value"], value["unit"])
