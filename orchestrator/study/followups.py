"""What follows training: evaluations that a sweep's crossovers call for, in rounds until none is left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.execution import tasks
from orchestrator.study import refinement

if TYPE_CHECKING:
    from analysis.crossover import Crossovers
    from orchestrator.execution.driver import Driver
    from orchestrator.execution.scheduler import ScheduledTask
    from orchestrator.study.studies import Study

ROUNDS = 3
"""Scoring a bracket again can move it by an evaluation, which is then scored in the next round."""

Requests = Collection[tuple[str, int]]
"""(run, step) of evaluations."""


@dataclass(frozen=True)
class FollowUp:
    """Evaluations that crossovers call for, and the tasks that make them."""

    requests: Callable[[Crossovers], Requests]
    tasks: Callable[[Requests], list[ScheduledTask]]
    rounds: int = ROUNDS


def follow_up(driver: Driver, study: Study, spacing: float | None = None) -> None:
    """Do all that follows the training of a sweep. With ``spacing``, brackets of crossings are evaluated
    inside first, until none is wider."""
    from analysis.tables.tables import TableError

    for stage in _stages(study, spacing):
        known: set[tuple[str, int]] = set()
        for _ in range(stage.rounds):
            try:
                requests = set(stage.requests(study.crossovers())) - known
            except TableError:  # nothing to compare; the report says so
                return
            known |= requests
            todo = stage.tasks(sorted(requests))
            if not todo or driver.interrupted:
                break
            driver.run(todo)


def _stages(study: Study, spacing: float | None) -> Iterator[FollowUp]:
    from analysis.crossover import wanted_precision
    from analysis.crossover.same_n.decoding import wanted_decoding

    store, trainings = study.store, study.plan.trainings_of(study.name)
    if spacing is not None:
        yield FollowUp(
            lambda crossovers: refinement.unscored(crossovers, spacing),
            lambda requests: tasks.to_evaluate(requests, trainings, store, replay=True),
        )
    precise = min(point.config.evaluation.precise for point in study.end_points())
    yield FollowUp(
        lambda crossovers: wanted_precision(crossovers, precise=precise),
        lambda requests: tasks.to_evaluate(requests, trainings, store),
    )
    sequences = study.spec.analysis.decoding
    if sequences:
        yield FollowUp(
            wanted_decoding,
            lambda requests: tasks.to_decode(requests, trainings, store, sequences),
            rounds=1,
        )
