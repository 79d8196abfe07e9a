"""Which evaluations a sweep reads of a run that another sweep wanted scored otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.execution import worker
from orchestrator.execution.jobs import Dispatch
from orchestrator.execution.tasks import to_evaluate
from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from orchestrator.planning.trainings import Training
from orchestrator.results.event_readings import readings
from orchestrator.results.tables import RunRecord
from orchestrator.store.store import Store

FEW = {"sequences": 48, "draws": 2, "spacing": 1.1}
MANY = {"sequences": 96, "draws": 2, "spacing": 1.1}


def event(step: int, draws: int, value: float) -> dict[str, Any]:
    return {"step": step, "draws": draws, "value": value}


def score(evaluation: dict[str, Any], step: int, draws: int, value: float) -> dict[str, Any]:
    return {"evaluation": evaluation, "event": event(step, draws, value)}


HISTORY = [event(8, 2, 3.0), event(16, 2, 2.0)]


def values(found: tuple[dict[int, Any], dict[int, Any]]) -> dict[int, float]:
    own, added = found
    return {step: e["value"] for step, e in sorted({**own, **added}.items())}


def test_each_sweep_reads_what_was_scored_on_its_own_sequences() -> None:
    """Precise values of both sweeps, in either order: neither overrides the other's."""
    scores = [
        score(FEW, 16, 64, 2.1),
        score(MANY, 8, 2, 4.0),
        score(MANY, 16, 2, 3.5),
        score(MANY, 16, 32, 3.1),
    ]
    for given in (scores, scores[::-1]):
        assert values(readings(HISTORY, given, FEW, FEW)) == {8: 3.0, 16: 2.1}
        assert values(readings(HISTORY, given, FEW, MANY)) == {8: 4.0, 16: 3.1}


def test_more_draws_of_the_same_sequences_sharpen_a_value_whoever_asked() -> None:
    other = {**FEW, "draws": 8}
    assert values(readings(HISTORY, [score(other, 16, 8, 2.2)], FEW, FEW)) == {8: 3.0, 16: 2.2}
    assert values(readings([event(8, 16, 3.0)], [score(other, 8, 8, 2.2)], FEW, FEW)) == {8: 3.0}


def test_another_sweeps_steps_are_not_added() -> None:
    dense = {**FEW, "spacing": 1.05}
    found = [score(dense, 12, 2, 2.5), score(FEW, 14, 2, 2.4)]
    assert values(readings(HISTORY, found, FEW, FEW)) == {8: 3.0, 14: 2.4, 16: 2.0}


def test_where_nothing_was_scored_as_wanted_it_is_read_as_it_was_first() -> None:
    assert values(readings(HISTORY, [], FEW, MANY)) == {8: 3.0, 16: 2.0}
    assert values(readings(HISTORY, [score(FEW, 16, 64, 2.1)], FEW, MANY)) == {8: 3.0, 16: 2.1}


def test_precise_scores_are_made_as_the_sweep_asks(store_copy: Path, tiny: Path) -> None:
    """A second sweep that wants another number of sequences has values of its own, made once, beside the
    first's."""
    store, (spec,) = Store(store_copy), load([tiny])
    point = next(p for p in expand(spec) if p.config.objective.name == "masked_diffusion")
    more = point.config.evaluation.model_copy(update={"sequences": 6})
    config = point.config.model_copy(update={"evaluation": more})
    wanted = [(point.run, point.config.steps)]
    before = RunRecord(store, point.run).evaluations()
    (task,) = to_evaluate(wanted, {point.run: Training(config)}, store)
    assert task.job is not None
    assert worker.execute(Dispatch(task=task.key, job=task.job).to_json())["state"] == "done"
    assert to_evaluate(wanted, {point.run: Training(config)}, store) == []
    assert RunRecord(store, point.run).evaluations() == before
    ((event, precise),) = RunRecord(store, point.run, more).evaluations()
    assert precise and len(event["scores"]["b"]) == 6 and event["step"] == point.config.steps
