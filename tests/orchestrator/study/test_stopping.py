"""The stop rule: it ends pairs that have crossed, records it, and never touches what a run is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import Result

from analysis.crossover import locate
from orchestrator.language.expansion import Expansion, expand
from orchestrator.language.loading import load
from orchestrator.study import stopping
from tests.analysis.synthetic import study
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.base import Term, objectives

Cli = Callable[..., Result]

SWEEP = """\
name: stopped
base:
  model: {width: 16, layers: 1}
  data: {unique_bytes: 5k, context: 32}
  steps: 40
  batch_size: 8
  evaluation: {sequences: 4, spacing: 1.5, first: 4, precise: 0.5}
axes: {objective: [autoregressive, masked_diffusion]}
seeds: 2
analysis: {stop: {after_crossing: 1.5}}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "stopped.yaml"
    path.write_text(SWEEP)
    return path


def test_twins_are_past_once_both_have_the_margin_behind_them() -> None:
    (runs, curves, scores), truth = study(sizes=(190_000,), budgets=(10_000,), horizon=1.2e6)
    places = {
        f"{o}-190000-10000-{seed}": place for (_, _, seed), place in truth.items() for o in ("au", "ma")
    }
    assert len(places) == 4 and set(places) == set(runs["run"])
    for margin in (1.0, 1.5, 2.0):
        for horizon in (3e5, 9e5, 1.2e6):
            found = locate(runs, curves[curves["tokens"] <= horizon], scores)
            reach = curves[curves["tokens"] <= horizon]["tokens"].max()
            expected = {run for run, place in places.items() if reach >= 1.1 * margin * place}
            never = {run for run, place in places.items() if reach < 0.9 * margin * place}
            assert stopping.past(found, margin) >= (expected if margin > 1.0 else set())
            assert not stopping.past(found, margin) & never


def test_rounds_limit_what_can_be_limited(sweep: Path) -> None:
    (spec,) = load([sweep])
    points = stopping.until(Expansion.of(spec), 0.5).points
    assert {(p.config.steps, p.requested) for p in points} == {(20, 40)}
    assert {p.run for p in points} == {p.run for p in expand(spec)}, "the rule is no part of a run"
    first = points[0].run
    ended = stopping.until(Expansion.of(spec).limited({first: 15}), 1.0)
    assert {p.run: p.config.steps for p in ended.points}[first] == 15
    (annealed,) = load([sweep], ["base.schedule=wsd"])
    assert {p.config.steps for p in stopping.until(Expansion.of(annealed), 0.5).points} == {40}, (
        "its end is part of it"
    )


def plan(crossover: Cli, sweep: Path, store: Path, *options: str) -> list[dict[str, Any]]:
    result = crossover("plan", sweep, "--store", store, "--json", *options)
    assert result.exit_code == 0, result.output
    rows: list[dict[str, Any]] = json.loads(result.stdout)["runs"]
    return rows


def test_an_end_point_ends_early_and_stays_so(
    crossover: Cli, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    calls: list[float] = []

    def past(found: Any, margin: float) -> set[str]:
        """At the second look replicate 0 has crossed."""
        assert margin == 1.5
        calls.append(margin)
        twins = [t for cell in found.cells for t in cell.pair.twins if t.seed == 0]
        return {str(r["run"]) for t in twins for r in (t.first, t.second)} if len(calls) == 2 else set()

    monkeypatch.setattr(stopping, "past", past)
    run = ("run", sweep, "--local", "--no-mlflow", "-q", "--store", store)
    result = crossover(*run)
    assert result.exit_code == 0, result.output + repr(result.exception)
    rows = plan(crossover, sweep, store)
    ends = {(row["seed"], row["steps"], row["requested"]) for row in rows}
    early = {steps for seed, steps, _ in ends if seed == 0}
    assert len(early) == 1 and early < {*range(40)} and {s for seed, s, _ in ends if seed == 1} == {40}
    assert {asked for seed, _, asked in ends if seed == 0} == {40} and {row["state"] for row in rows} == {
        "cached"
    }
    again = crossover(*run)
    assert again.exit_code == 0 and plan(crossover, sweep, store) == rows, "it is not trained further"
    without = plan(crossover, sweep, store, "--set", "analysis.stop=null")
    assert {row["steps"] for row in without} == {40} and {row["run"] for row in without} == {
        r["run"] for r in rows
    }
    other = plan(crossover, sweep, store, "--set", "analysis.stop.after_crossing=3")
    assert {row["steps"] for row in other} == {40}, "another rule starts anew"
    exported = crossover("export", sweep, "--to", tmp_path / "tables", "--store", store)
    assert exported.exit_code == 0 and "steps_asked" in (tmp_path / "tables" / "runs.csv").read_text()


class Early(Autoregressive):
    """Learns for sixty steps, and then no more."""

    name: ClassVar[str] = "early"

    def terms(self, model: Any, batch: Any, noise: Any, step: int) -> dict[str, Term]:
        (term,) = super().terms(model, batch, noise, step).values()
        return {"loss": Term(term.numerator * (step < 60), term.denominator)}


class Late(Autoregressive):
    """Begins to learn at the tenth step."""

    name: ClassVar[str] = "late"

    def terms(self, model: Any, batch: Any, noise: Any, step: int) -> dict[str, Term]:
        (term,) = super().terms(model, batch, noise, step).values()
        return {"loss": Term(term.numerator * (step >= 10), term.denominator)}


CROSSING = """\
name: crossing
base:
  model: {width: 16, layers: 1}
  data: {corpus: {name: markov, documents_held: 500}, unique_bytes: 20k, context: 32}
  optimizer: {lr: 1e-2, weight_decay: 0}
  schedule: {warmup: 2}
  steps: 140
  batch_size: 8
  evaluation: {sequences: 16, spacing: 1.1, first: 10}
axes: {objective: [early, late]}
seeds: [0]
analysis: {pair: [early, late], stop: {after_crossing: 1.2}}
"""


def test_real_curves_that_cross_end_their_runs(
    crossover: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained, evaluated, located and ended, with nothing replaced."""
    for objective in (Early, Late):
        monkeypatch.setitem(objectives._classes, objective.name, objective)
    store, path = tmp_path / "store", tmp_path / "crossing.yaml"
    path.write_text(CROSSING)
    result = crossover("run", path, "--local", "--no-mlflow", "-q", "--store", store)
    assert result.exit_code == 0, result.output + repr(result.exception)
    rows = plan(crossover, path, store)
    assert {(row["steps"], row["requested"], row["state"]) for row in rows} == {(99, 140, "cached")}
    report = json.loads((store / "sweeps" / "crossing" / "report" / "report.json").read_text())
    (place,) = [c["value"] for c in report["crossovers"] if (c["definition"], c["unit"]) == ("raw", "tokens")]
    assert 70 * 256 <= 1.2 * place <= 88 * 256, "behind the look at 70 steps, before the last evaluation"
