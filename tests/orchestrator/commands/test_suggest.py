"""`crossover suggest` for the crossing of two objectives' laws."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import Result

Cli = Callable[..., Result]
LAWS = {
    "autoregressive": {"A": 40.0, "B": 30.0, "E": 1.7, "alpha": 0.34, "beta": 0.28},
    "masked_diffusion": {"A": 40.0, "B": 50.0, "E": 1.7, "alpha": 0.34, "beta": 0.32},
}
CROSSING = "crossover(D, N=2e5)"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(2e4, 2e6, 6), np.geomspace(2e5, 2e8, 6)))
    parts = []
    for name, p in LAWS.items():
        loss = p["E"] + p["A"] / n ** p["alpha"] + p["B"] / d ** p["beta"]
        parts.append(
            pd.DataFrame({"objective": name, "N": n, "D": d, "loss": loss * np.exp(rng.normal(0, 0.002, 36))})
        )
    path = tmp_path / "runs.csv"
    pd.concat(parts[::-1]).to_csv(path, index=False)
    return path


def test_runs_of_both_objectives_that_narrow_their_crossing_make_a_sweep_that_plans(
    crossover: Cli, runs: Path, tmp_path: Path
) -> None:
    result = crossover("suggest", runs, "--for", CROSSING, "--budget", "1e15", "--count", "6")
    assert result.exit_code == 0, result.output
    assert "crossover(D, N=200000): standard error" in result.stderr
    points = yaml.safe_load(result.stdout)["zip"][0]
    assert {p["objective"] for p in points} <= set(LAWS)
    assert len({json.dumps(p) for p in points}) == len(points) == 6
    sweep = tmp_path / "next.yaml"
    sweep.write_text(result.stdout)
    planned = crossover("plan", sweep, "--store", tmp_path / "store", "--json")
    assert planned.exit_code == 0 and len(json.loads(planned.stdout)["runs"]) == 6


def test_the_order_of_the_pair_is_the_usual_one_or_as_given(crossover: Cli, runs: Path) -> None:
    """MDM passes AR, never AR MDM: the other way round there is nothing to narrow."""
    swapped = ("--pair", "objective=masked_diffusion,autoregressive")
    result = crossover("suggest", runs, "--for", CROSSING, "--budget", "1e15", *swapped)
    assert result.exit_code == 2 and "do not cross along D" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--for", "alpha", "--pair", "objective=a,b"), "is a quantity of one law"),
        (("--for", CROSSING, "--pair", "arm=a,b"), "has no column 'arm'"),
        (("--for", CROSSING, "--pair", "objective=autoregressive,sedd"), "objective has masked_diffusion"),
        (("--for", "crossover(D)"), "give N, which the laws need beside D"),
        (("--for", "crossover(N=1e5)"), "name the axis first"),
    ],
)
def test_wrong_questions_exit_2_and_say_what_is_allowed(
    crossover: Cli, runs: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = crossover("suggest", runs, "--budget", "1e15", *arguments)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.stderr
