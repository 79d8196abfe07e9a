"""Which minimum is bracketed, and which setting is an objective's own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.crossover import locate
from tests.analysis.crossover.verdict.shapes import FALLS, FLAT, OVERFITS, SE, lead, study, twins


def brackets(losses: np.ndarray) -> bool:
    """Whether AR's minimum counts as bracketed."""
    c = locate(*study([twins(losses, lead((1, 0.2))[: len(losses)])]))
    return bool(c.cells[0].arms[0][0].bracketed())


def test_a_noisy_flat_tail_is_not_bracketed() -> None:
    """Every later evaluation lies above the least, by two errors of a difference at most."""
    tail = FLAT.copy()
    tail[12] -= 2 * np.sqrt(2) * SE
    assert int(tail.argmin()) == 12 and (tail[13:] > tail[12]).all()
    assert not brackets(tail)


def test_a_rise_beyond_error_is_bracketed_and_one_that_only_begins_is_not() -> None:
    assert brackets(OVERFITS) and not brackets(OVERFITS[:11]) and not brackets(FALLS)


def test_the_setting_of_an_objective_is_that_of_the_best_mean_not_of_the_luckiest_replicate() -> None:
    """At 2e-3 one replicate of MDM is best of all, and the other worst of all."""
    slow, lucky, unlucky = FLAT + 0.1, FLAT + 0.02, FLAT + 0.5
    steady = study([(OVERFITS, slow)] * 2, axes=[{}])
    other = study([(OVERFITS, lucky), (OVERFITS, unlucky)], axes=[{}])
    runs, curves = [], []
    for lr, (run_rows, curve_rows) in ((1e-3, steady), (2e-3, other)):
        keep = run_rows if lr == 1e-3 else run_rows[run_rows["objective"] == "masked_diffusion"]
        names = {run: f"{run}-{lr}" for run in keep["run"]}
        runs.append(keep.assign(run=keep["run"].map(names), **{"optimizer.lr": lr}))
        mine = curve_rows[curve_rows["run"].isin(keep["run"])]
        curves.append(mine.assign(run=mine["run"].map(names)))
    c = locate(pd.concat(runs, ignore_index=True), pd.concat(curves), pair_over=["optimizer.lr"])
    (raw,) = c.select("raw", "tokens")
    assert raw.tuned["masked_diffusion"] == {"optimizer.lr": 1e-3}
    assert {e["reason"] for e in c.excluded} == {"another setting of optimizer.lr was better on half A"}
