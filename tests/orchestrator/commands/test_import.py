"""`crossover import` of a chart as Weights & Biases exports it: one column a run, of several sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import Result


def test_sizes_in_runs_names_are_cells(crossover: Callable[..., Result], tmp_path: Path) -> None:
    steps = np.unique(np.geomspace(10, 20_000, 25).astype(int))
    tokens, chart = steps * 5e5, {"Step": steps}
    for size in (25, 100):
        base = 1.8 + 400 / (size * 1e6) ** 0.34 + 1500 / tokens**0.36
        overfit = 0.12 * np.maximum(np.log(tokens * size / 5e10), 0) ** 1.5
        for seed in (0, 1):
            noise = np.random.default_rng([size, seed]).normal(0, 0.001, len(steps))
            chart[f"ar-{size}M-seed{seed} - val/loss"] = base + overfit + noise
            chart[f"mdm-{size}M-seed{seed} - val/loss"] = base + 0.25 - noise
            chart[f"mdm-{size}M-seed{seed} - val/loss__MIN"] = base
    pd.DataFrame(chart).to_csv(tmp_path / "wandb.csv", index=False)
    names = "(?P<objective>ar|mdm)-(?P<N>[0-9]+M)-seed(?P<seed>[0-9]+)"
    options = ("--tokens-per-step", "500000", "--from-name", names, "--set", "U=1e9")
    result = crossover("import", tmp_path / "wandb.csv", *options, "--to", tmp_path / "t", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["runs"] == 8, result.output
    runs = pd.read_csv(tmp_path / "t" / "runs.csv")
    assert set(runs["size"]) == {2.5e7, 1e8} and set(runs["N"]) == {2.5e7, 1e8}
    located = crossover("locate", tmp_path / "t", "--pair", "objective=ar,mdm", "--json")
    found = json.loads(located.stdout)
    raw = [r for r in found["crossovers"] if r["definition"] == "raw" and r["unit"] == "tokens"]
    assert {r["cell"] for r in raw} == {"size=2.5e+07", "size=1e+08"} and not found["excluded"]
    assert all(r["replicates"] == 2 for r in raw)
