"""The tasks of an evaluation config, asked of a learner at the steps where they are due."""

from __future__ import annotations

from pathlib import Path

from trainers.config import EvaluationConfig, RunConfig
from trainers.data.dataset import Dataset
from trainers.data.preparation import prepare_validation
from trainers.evaluation.grid import task_steps
from trainers.evaluation.scoring import HALVES, evaluation_mode
from trainers.evaluation.tasks.base import Scorer, Task
from trainers.run.learner import Learner
from trainers.state.folder import Event


class Examination:
    """Tasks with their data, prepared under ``root``. ``UserError`` where the data gives a task no items."""

    def __init__(self, config: RunConfig, evaluation: EvaluationConfig, dataset: Dataset, root: Path) -> None:
        self.tasks = evaluation.tasks
        self.steps = {task: frozenset(task_steps(config, task, evaluation)) for task in self.tasks}
        self.data = {
            task: dataset.validation_set
            if task.corpus is None
            else prepare_validation(config.data, root, task.corpus)
            for task in self.tasks
        }

    def due(self, step: int) -> list[Task]:
        """The tasks that are asked at a step."""
        return [task for task in self.tasks if step in self.steps[task]]

    def event(self, task: Task, learner: Learner) -> Event:
        """What the learner gives, as plain JSON values for a history."""
        objective, model = learner.config.objective, learner.evaluated
        with evaluation_mode(model) as device:
            scorer = Scorer(model, objective, device, learner.workers)
            halves = {half: task.items(scorer, self.data[task], half) for half in HALVES}
        learner.model.train()
        metrics: dict[str, dict[str, float]] = {
            half: {
                name: value
                for metric, at in items.metrics.items()
                for name, value in ((metric, at.value), (f"{metric}_se", at.se))
            }
            for half, items in halves.items()
        }
        return {
            "event": "task",
            **learner.position(),
            "task": task.title,
            "key": task.key,
            "kind": objective.likelihood,
            "draws": 1 if objective.likelihood == "exact" else task.draws,
            **metrics,
            "items": {half: items.columns() for half, items in halves.items()},
        }
