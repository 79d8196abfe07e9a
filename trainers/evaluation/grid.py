"""Which steps are evaluated, and which of them can be gone on from. Torch-free: planning prices them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.config import EvaluationConfig, RunConfig
    from trainers.evaluation.tasks.base import Task


def evaluation_steps(config: EvaluationConfig, steps: int) -> list[int]:
    """Steps in 1..``steps`` at which a run is evaluated.

    They are ``first``, and then each at most ``spacing`` times the one before, or the next integer where that
    is more. The grid does not depend on where the run ends, so that extending a run changes none of its
    earlier results; ``steps`` itself need not be on it.
    """
    return list(_steps(config.first, config.spacing, steps))


@lru_cache(maxsize=1024)
def _steps(first: int, spacing: float, steps: int) -> tuple[int, ...]:
    grid = []
    step = first
    while step <= steps:
        grid.append(step)
        step = max(step + 1, int(step * spacing + 1e-9))
    return tuple(grid)


def evaluation_grid(config: RunConfig, evaluation: EvaluationConfig | None = None) -> list[int]:
    """Steps at which this run is evaluated under ``evaluation`` (default: its own).

    They are :func:`evaluation_steps`, and the end too where the weights depend on it.
    """
    steps = evaluation_steps(evaluation or config.evaluation, config.steps)
    if config.schedule.depends_on_end and config.steps not in steps:
        steps.append(config.steps)
    return steps


def task_steps(config: RunConfig, task: Task, evaluation: EvaluationConfig | None = None) -> set[int]:
    """Steps of :func:`evaluation_grid` at which a task is asked: the first, each then at least ``spacing``
    times the one before, and the end where the weights depend on it.
    """
    steps = thinned(evaluation_steps(evaluation or config.evaluation, config.steps), task.spacing)
    return steps | {config.steps} if config.schedule.depends_on_end else steps


def resume_points(grid: Iterable[int], ratio: float = 1.5) -> set[int]:
    """Steps of an evaluation grid whose optimizer state is kept too.

    A bracket can then be refined, or a branch started, by repeating at most about a third of the way there.
    """
    return thinned(grid, ratio)


def thinned(grid: Iterable[int], ratio: float) -> set[int]:
    """Steps of a grid, each at least ``ratio`` times the one before."""
    points: set[int] = set()
    last = 0.0
    for step in grid:
        if step >= ratio * last:
            points.add(step)
            last = step
    return points
