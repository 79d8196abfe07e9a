"""Evaluations that are asked for after training: computed from kept checkpoints, once, and added to the run
folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from trainers.components.component import digest
from trainers.components.errors import CheckpointGone, Corrupt, UserError
from trainers.config import EvaluationConfig, Resources, RunConfig, Scratch
from trainers.data import prepare
from trainers.evaluation.scoring import Half, evaluate, evaluation_mode, to_precision
from trainers.evaluation.tasks.base import Task
from trainers.machine.allocator import allocation_errors
from trainers.machine.numerics import configure_process, describe
from trainers.run.examination import Examination
from trainers.run.learner import Learner
from trainers.run.lineage import start
from trainers.run.loop import default_data_root
from trainers.state.checkpoint import Snapshot, read, resumable
from trainers.state.folder import Event, RunFolder, step_of

K = TypeVar("K")


def score_key(config: RunConfig, step: int, evaluation: EvaluationConfig, precise: bool) -> str:
    """Key of an added evaluation: the evaluation key, and whether it is scored to ``evaluation.precise`` or
    as on curves.
    """
    key = config.model_copy(update={"evaluation": evaluation}).evaluation_key(step)
    return digest([key, "precise"]) if precise else key


def task_key(config: RunConfig, step: int, task: Task) -> str:
    """Key of a task that is asked after training."""
    return digest([config.training_key, step, "task", task.key])


def checkpoint_at(folder: RunFolder, step: int) -> Snapshot:
    """The checkpoint at ``step``, of this run or of the trunk that it shares; :class:`CheckpointGone` where
    none is kept.
    """
    commit = folder.last_commit()
    if commit is not None and step in commit.checkpoints:
        try:
            return read(folder, commit, step)
        except Corrupt as error:
            raise CheckpointGone(str(error)) from error
    if commit is not None and commit.trunk is not None and step <= commit.trunk.step:
        return checkpoint_at(folder.sibling(commit.trunk.run), step)
    raise CheckpointGone(f"run {folder.name} keeps no checkpoint at step {step}")


def state_before(folder: RunFolder, step: int) -> Snapshot | None:
    """The newest checkpoint at or before ``step`` with its state, of this run or of its trunk."""
    commit = folder.last_commit()
    if commit is None:
        return None
    own = resumable(folder, commit, step)
    if own is not None or commit.trunk is None:
        return own
    return state_before(folder.sibling(commit.trunk.run), min(step, commit.trunk.step))


@allocation_errors()
def rescore(
    folder: str | os.PathLike[str] | RunFolder,
    steps: int | Iterable[int],
    *,
    evaluation: EvaluationConfig | None = None,
    precise: bool = True,
    replay: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    resources: Resources | None = None,
) -> list[Event]:
    """Score steps of a run after training; what is there already is read, and never computed again.

    Args:
        folder: the run's own.
        steps: a step, or several.
        evaluation: how to score; by default as the run was trained with.
        precise: draw as often as it takes for a Monte-Carlo standard error of ``evaluation.precise`` in half
            B; otherwise as on curves, for steps or an ``evaluation`` that the run was not trained with.
        replay: reach a step whose checkpoint is gone by training again from the newest state before it, which
            gives the same weights: that is how a bracket is refined.
        data_root: holds prepared data; as in `train`.
        resources: how to execute; by default as the run says.

    Returns:
        Evaluation events of ``steps``, in that order.

    Raises:
        CheckpointGone: a step has no checkpoint, and ``replay`` is false or has no state to start from.
    """
    folder = RunFolder.of(folder)
    config = folder.config()
    evaluation = evaluation or config.evaluation
    steps = [steps] if isinstance(steps, int) else list(steps)
    events: dict[int, Event] = {}
    for event in folder.history():
        known = event["event"] == "evaluation" and step_of(event) in steps
        if known and suffices(event, config.evaluation, evaluation, precise):
            events[step_of(event)] = event
    keys = {s: score_key(config, s, evaluation, precise) for s in sorted(set(steps) - set(events))}
    events |= _added(
        folder,
        keys,
        evaluation,
        lambda: _Reader(folder, config, data_root, resources, replay),
        lambda reader, step: reader.event(step, evaluation, precise),
    )
    return [events[step] for step in steps]


@allocation_errors()
def examine(
    folder: str | os.PathLike[str] | RunFolder,
    steps: int | Iterable[int],
    tasks: Iterable[Task],
    *,
    replay: bool = False,
    data_root: str | os.PathLike[str] | None = None,
    resources: Resources | None = None,
) -> list[Event]:
    """``task`` events of every task at every step, step by step; what is there already is read.

    Weights are found as by :func:`rescore`.
    """
    folder = RunFolder.of(folder)
    config, steps, tasks = folder.config(), [steps] if isinstance(steps, int) else list(steps), tuple(tasks)
    pairs = [(step, task) for step in sorted(set(steps)) for task in tasks]
    history = (event for event in folder.history() if event["event"] == "task")
    known = {(step_of(event), event["key"]): event for event in history}
    events = {(s, task): known[s, task.key] for s, task in pairs if (s, task.key) in known}
    keys = {(s, task): task_key(config, s, task) for s, task in pairs if (s, task) not in events}
    evaluation = config.evaluation.model_copy(update={"tasks": tasks})
    root = Path(data_root) if data_root is not None else default_data_root(folder)
    events |= _added(
        folder,
        keys,
        evaluation,
        lambda: _Reader(folder, config, root, resources, replay),
        lambda reader, pair: reader.task(pair[0], pair[1], evaluation, root),
    )
    return [events[step, task] for step in steps for task in tasks]


@allocation_errors()
def decode(
    folder: str | os.PathLike[str] | RunFolder,
    step: int,
    *,
    orders: Iterable[str] | None = None,
    sequences: int = 8,
    data_root: str | os.PathLike[str] | None = None,
    resources: Resources | None = None,
) -> list[Event]:
    """``decoding`` events: a run's exact NLL under decoding orders (default: all that its objective has), a
    token a forward pass.

    On the first ``sequences`` of half B, for a verdict that a bound loses: a bound above another model's loss
    proves nothing, a decoder's exact NLL above it does. Kept in the run folder, and never computed again.
    Takes as many forward passes a sequence and order as there are tokens. Raises :class:`CheckpointGone`;
    ``ValueError`` for objectives without decoding orders.
    """
    folder = RunFolder.of(folder)
    config = folder.config()
    if not config.objective.decoding_orders:
        raise UserError(f"objective {config.objective.name!r} has no decoding orders")
    evaluation = config.evaluation.model_copy(update={"sequences": sequences})
    key = score_key(config, step, evaluation, False)
    orders = config.objective.decoding_orders if orders is None else orders
    keys = {order: digest([key, "decoding", order, 1]) for order in orders}
    events = _added(
        folder,
        keys,
        evaluation,
        lambda: _Reader(folder, config, data_root, resources, replay=False),
        lambda reader, order: reader.decoding(step, order, sequences),
    )
    return list(events.values())


def _added(
    folder: RunFolder,
    keys: Mapping[K, str],
    evaluation: EvaluationConfig,
    reader: Callable[[], _Reader],
    event: Callable[[_Reader, K], Event],
) -> dict[K, Event]:
    """The event that the run folder holds under each key. One reader computes and adds what it lacks."""
    stored = {item: folder.score(key) for item, key in keys.items()}
    events = {item: score["event"] for item, score in stored.items() if score is not None}
    weights = None
    for item, key in keys.items():
        if item in events:
            continue
        weights = weights or reader()
        events[item] = event(weights, item)
        score = {"evaluation": evaluation.identity(), "event": events[item], "numerics": weights.numerics}
        folder.add_score(key, score)
    return {item: events[item] for item in keys}


def suffices(event: Event, recorded: EvaluationConfig, requested: EvaluationConfig, precise: bool) -> bool:
    """Whether an evaluation in the history, made under ``recorded``, is what is requested."""
    if recorded.sequences != requested.sequences:
        return False
    if event["kind"] == "exact":
        return True
    if not precise:
        return bool(event["draws"] == requested.draws)
    # The error of few draws is itself too rough to rest a verdict on.
    return event["draws"] >= 8 and event["b"]["mc_se"] <= requested.precise


class _Reader:
    """The weights of a run at any kept step, and with ``replay`` at any step."""

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        data_root: str | os.PathLike[str] | None,
        resources: Resources | None,
        replay: bool,
    ) -> None:
        resources = resources or config.resources
        self.folder, self.replay = folder, replay
        self.config = config.model_copy(update={"resources": resources})
        self.device = configure_process(resources)
        root = Path(data_root) if data_root is not None else default_data_root(folder)
        self.dataset = prepare(config.data, root)
        self.learner = Learner(self.config, self.dataset, self.device)
        self.live = isinstance(config.init, Scratch)
        """Whether the learner can go on training from where it is: it has been given weights and state alike.
        """
        self.numerics = describe(self.device, resources, config.dtype, self.learner.compiled)["class"]

    def event(self, step: int, evaluation: EvaluationConfig, precise: bool) -> Event:
        """The evaluation of a step as it would stand in the history."""
        self.reach(step)
        learner, score = self.learner, to_precision if precise else evaluate
        result = score(learner.evaluated, self.config.objective, self.dataset, evaluation)
        return {"event": "evaluation", **learner.position(), **result.event()}

    def task(self, step: int, task: Task, evaluation: EvaluationConfig, root: Path) -> Event:
        """What the weights of a step give a task."""
        self.reach(step)
        return Examination(self.config, evaluation, self.dataset, root).event(task, self.learner)

    def decoding(self, step: int, order: str, sequences: int) -> Event:
        """The exact NLL of half B under a decoding order."""
        self.reach(step)
        model = self.learner.evaluated
        with evaluation_mode(model) as device:
            batch = self.dataset.validation("b", sequences).to(device)
            half = Half.of(self.config.objective.score_in_order(model, batch, order), exact=True)
        return {
            "event": "decoding",
            **self.learner.position(),
            "order": order,
            "tokens_per_step": 1,
            "kind": "exact",
            "b": {"nll": half.nll, "se": half.se},
            "scores": {"b": half.scores.values[:, 0].tolist()},
            "sequence_tokens": {"b": half.scores.tokens.tolist()},
        }

    def reach(self, step: int) -> None:
        """Bring the learner to ``step``."""
        try:
            snapshot = checkpoint_at(self.folder, step)
        except CheckpointGone:
            if not self.replay:
                raise
        else:
            self.learner.restore(snapshot)
            self.live = snapshot.state is not None
            return
        before = state_before(self.folder, step)
        if not self.live or self.learner.step > step or (before and before.step > self.learner.step):
            if before is not None:
                self.learner.restore(before)
            else:
                self.learner = Learner(self.config, self.dataset, self.device)
                start(self.learner, self.folder, self.config.init)
            self.live = True
        while self.learner.step < step:
            self.learner.update()
