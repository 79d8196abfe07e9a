"""The distinct trainings that end points need, and what the store holds of each.

End points of several sweeps share runs; WSD branches share trunks; children start from parents. Nothing is
written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.language.expansion import EndPoint
from orchestrator.store.store import Store
from trainers.config import Parent, RunConfig
from trainers.evaluation.grid import evaluation_grid, task_steps
from trainers.state.folder import Commit, RunFolder


@dataclass(frozen=True)
class Training:
    """One training as all sweeps together need it: its config reaches to the furthest end."""

    config: RunConfig
    sweeps: frozenset[str] = frozenset()
    ends: Mapping[int, tuple[EndPoint, ...]] = field(default_factory=dict)
    """Step -> the end points that read the run up to there."""
    branches: frozenset[int] = frozenset()
    """Steps whose whole state must stay, because other runs start from it."""
    trunk: str | None = None
    """Training key of the run that it branches off."""
    start: int = 0
    """The step after which its own part begins: its trunk's last."""
    commit: Commit | None = None
    missing: tuple[int, ...] = ()
    """Evaluation steps that an end point reads, and that kept weights can add."""
    gone: Mapping[int, int] = field(default_factory=dict)
    """Evaluation steps that an end point reads and whose weights were not kept -> the step that training goes
    on from to have them again, one after the other."""

    @property
    def done(self) -> int:
        """Steps that are on disk and need not be trained again."""
        return 0 if self.commit is None else self.commit.step

    @property
    def diverged(self) -> bool:
        return self.commit is not None and self.commit.state == "diverged"


class _Draft:
    """A training while its end points are collected."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.sweeps: set[str] = set()
        self.ends: dict[int, list[EndPoint]] = {}
        self.branches: set[int] = set()
        self.trunk: str | None = None
        self.start = 0

    @property
    def furthest(self) -> int:
        return max({*self.ends, *self.branches})

    def finished(self) -> Training:
        furthest = self.furthest
        config = self.config
        if config.steps != furthest:
            config = config.model_copy(update={"steps": furthest})
        ends = {step: tuple(points) for step, points in self.ends.items()}
        return Training(
            config, frozenset(self.sweeps), ends, frozenset(self.branches), self.trunk, self.start
        )


def collect(points: Iterable[EndPoint]) -> dict[str, Training]:
    """Distinct trainings by key, trunks included, before the store is looked at."""
    drafts: dict[str, _Draft] = {}
    for point in points:
        draft = drafts.get(point.run)
        if draft is None:
            draft = drafts[point.run] = _Draft(point.config)
        draft.ends.setdefault(point.config.steps, []).append(point)
        draft.sweeps.add(point.sweep)
        if point.trunk is not None:
            if draft.trunk is None:
                draft.trunk, draft.start = point.trunk.training_key, point.trunk.steps
            trunk = drafts.setdefault(draft.trunk, _Draft(point.trunk))
            trunk.branches.add(draft.start)
            trunk.sweeps.add(point.sweep)
    for draft in list(drafts.values()):
        init = draft.config.init
        if isinstance(init, Parent) and init.run in drafts:
            parent = drafts[init.run]
            if init.step <= parent.furthest:
                parent.branches.add(init.step)
    return {key: draft.finished() for key, draft in drafts.items()}


def read(training: Training, folder: RunFolder) -> Training:
    """The training with what the store holds of it: its newest commit, and which evaluations it lacks."""
    commit, record = folder.last_commit(), folder.record()
    if commit is None or record is None:
        return training
    config = training.config
    then, now = record["config"]["evaluation"], config.evaluation
    kind = ("sequences", "draws")
    had: set[int] = set()
    if all(then[name] == getattr(now, name) for name in kind):
        had = set(evaluation_grid(config, type(now).model_validate(then)))
    scored = {score["key"] for score in folder.scores()} if folder.list("scores") else set()
    kept = _checkpoints(folder, commit)
    due = [s for s in _due(training) if s <= commit.step and s not in had]
    lacking = [s for s in due if not scored or config.evaluation_key(s) not in scored]
    lacking = sorted({*lacking, *(s for s in _unasked(training, folder) if s <= commit.step)})
    states, gone = [s for s, whole in kept.items() if whole], [s for s in lacking if s not in kept]
    return replace(
        training,
        commit=commit,
        missing=tuple(s for s in lacking if s in kept),
        gone={s: max((t for t in (*states, *gone[:i]) if t <= s), default=0) for i, s in enumerate(gone)},
    )


def _unasked(training: Training, folder: RunFolder) -> set[int]:
    """Steps at which an evaluation task is due that the run has not been asked there."""
    config = training.config
    if not config.evaluation.tasks:
        return set()
    events = [*folder.history(), *(score["event"] for score in folder.scores("task"))]
    done = {(event["step"], event["key"]) for event in events if event["event"] == "task"}
    due = (
        (step, task.key)
        for end in training.ends
        for task in config.evaluation.tasks
        for step in task_steps(config.model_copy(update={"steps": end}), task)
    )
    return {step for step, key in due if (step, key) not in done}


def _checkpoints(folder: RunFolder, commit: Commit) -> dict[int, bool]:
    """Steps whose weights are kept, by the run or by the trunk that it shares, and whether training can go on
    from there."""
    kept = {step: checkpoint.state is not None for step, checkpoint in commit.checkpoints.items()}
    if commit.trunk is None:
        return kept
    trunk = folder.sibling(commit.trunk.run)
    newest = trunk.last_commit()
    shared = {} if newest is None else _checkpoints(trunk, newest)
    return {step: whole for step, whole in shared.items() if step <= commit.trunk.step} | kept


def _due(training: Training) -> list[int]:
    """Steps whose evaluation some end point reads."""
    ends = (training.config.model_copy(update={"steps": end}) for end in training.ends)
    return sorted({step for config in ends for step in evaluation_grid(config)})


def blocked_by(trainings: Mapping[str, Training], store: Store | None) -> dict[str, str]:
    """Trainings that cannot start, by key, with the reason: their parent is dead or nowhere."""
    blocked: dict[str, str] = {}
    children = [key for key, training in trainings.items() if isinstance(training.config.init, Parent)]

    def why(key: str) -> str | None:
        training = trainings[key]
        init = training.config.init
        if not isinstance(init, Parent) or training.done >= training.config.steps:
            return None
        parent = trainings.get(init.run)
        if parent is not None and init.step <= parent.config.steps:
            if parent.diverged and parent.done < init.step:
                return f"its parent {init.run} diverged at step {parent.done}"
            return f"its parent {init.run} is blocked" if init.run in blocked else None
        commit = None if store is None else store.run(init.run).last_commit()
        if commit is None:
            return f"its parent {init.run} is neither in the store nor in these sweeps"
        return (
            None
            if init.step in commit.checkpoints
            else f"its parent {init.run} has no checkpoint at step {init.step}"
        )

    changed = True
    while changed:
        further = {key: reason for key in children if key not in blocked and (reason := why(key)) is not None}
        blocked |= further
        changed = bool(further)
    return blocked
