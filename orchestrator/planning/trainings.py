"""The distinct trainings that end points need, and what the store holds of each.

End points of several sweeps share runs; WSD branches share trunks; children start from parents. Nothing is
written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.language.expansion import EndPoint
from orchestrator.store.store import Store
from trainers.config import Parent, RunConfig
from trainers.evaluation.grid import evaluation_grid, task_steps
from trainers.state.folder import Commit, RunFolder


@dataclass
class Training:
    """One training, with everything that wants something of it."""

    config: RunConfig
    ends: dict[int, list[EndPoint]] = field(default_factory=dict)
    branches: set[int] = field(default_factory=set)
    trunk: str | None = None
    commit: Commit | None = None
    folder: RunFolder | None = None
    missing: tuple[int, ...] = ()
    """Evaluation steps that are wanted and can be scored from checkpoints."""
    gone: dict[int, int] = field(default_factory=dict)
    """Evaluation steps that are wanted and whose weights are gone -> the step that training goes on from to
    have them again, one after the other."""

    @property
    def furthest(self) -> int:
        return max({*self.ends, *self.branches})

    @property
    def done(self) -> int:
        """Steps that are on disk and need not be trained again."""
        return 0 if self.commit is None else self.commit.step

    @property
    def diverged(self) -> bool:
        return self.commit is not None and self.commit.state == "diverged"


def collect(points: Iterable[EndPoint]) -> dict[str, Training]:
    """Distinct trainings by key, trunks included."""
    runs: dict[str, Training] = {}
    for point in points:
        run = runs.setdefault(point.run, Training(point.config))
        run.ends.setdefault(point.config.steps, []).append(point)
        trunk = point.config.trunk()
        if trunk is not None and run.trunk is None:
            run.trunk = trunk.training_key
            runs.setdefault(run.trunk, Training(trunk)).branches.add(trunk.steps)
    for run in list(runs.values()):
        if isinstance(run.config.init, Parent) and run.config.init.run in runs:
            parent = runs[run.config.init.run]
            if run.config.init.step <= parent.furthest:
                parent.branches.add(run.config.init.step)
    for run in runs.values():
        run.config = run.config.model_copy(update={"steps": run.furthest})
    return runs


def read(run: Training, folder: RunFolder | None) -> None:
    """What the store holds of a run: its newest commit, and which wanted evaluations it lacks."""
    if folder is None:
        return
    run.commit, record = folder.last_commit(), folder.record()
    if run.commit is None or record is None:
        return
    run.folder = folder
    then, now = record["config"]["evaluation"], run.config.evaluation
    kind = ("sequences", "draws")
    had: set[int] = set()
    if all(then[name] == getattr(now, name) for name in kind):
        had = set(evaluation_grid(run.config, type(now).model_validate(then)))
    scored = {score["key"] for score in folder.scores()} if folder.list("scores") else set()
    kept = _checkpoints(folder, run.commit)
    requested = [
        s
        for s in _wanted(run)
        if s <= run.commit.step and s not in had and run.config.evaluation_key(s) not in scored
    ]
    requested = sorted({*requested, *(s for s in _unasked(run, folder) if s <= run.commit.step)})
    run.missing = tuple(s for s in requested if s in kept)
    states, gone = [s for s, whole in kept.items() if whole], [s for s in requested if s not in kept]
    run.gone = {s: max((t for t in (*states, *gone[:i]) if t <= s), default=0) for i, s in enumerate(gone)}


def _unasked(run: Training, folder: RunFolder) -> set[int]:
    """Steps at which an evaluation task is due that the run has not been asked there."""
    if not run.config.evaluation.tasks:
        return set()
    events = [*folder.history(), *(score["event"] for score in folder.scores("task"))]
    asked = {(event["step"], event["key"]) for event in events if event["event"] == "task"}
    due = (
        (step, task.key)
        for end in run.ends
        for task in run.config.evaluation.tasks
        for step in task_steps(run.config.model_copy(update={"steps": end}), task)
    )
    return {step for step, key in due if (step, key) not in asked}


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


def _wanted(run: Training) -> list[int]:
    return sorted(
        {step for end in run.ends for step in evaluation_grid(run.config.model_copy(update={"steps": end}))}
    )


def blocked_by(runs: dict[str, Training], store: Store | None) -> dict[str, str]:
    """Runs that cannot start, by key, with the reason: their parent, or trunk, is dead or nowhere."""
    blocked: dict[str, str] = {}

    def why(key: str) -> str | None:
        run = runs[key]
        init = run.config.init
        if not isinstance(init, Parent) or (run.commit is not None and run.commit.step >= run.furthest):
            return None
        parent = runs.get(init.run)
        if parent is not None and init.step <= parent.furthest:
            if parent.diverged and parent.done < init.step:
                return f"its parent {init.run} diverged at step {parent.done}"
            return f"its parent {init.run} is blocked" if init.run in blocked else None
        commit = store.run(init.run).last_commit() if store is not None else None
        if commit is None:
            return f"its parent {init.run} is neither in the store nor in these sweeps"
        return (
            None
            if init.step in commit.checkpoints
            else f"its parent {init.run} has no checkpoint at step {init.step}"
        )

    changed = True
    while changed:
        further = {key: reason for key in runs if key not in blocked and (reason := why(key)) is not None}
        blocked |= further
        changed = bool(further)
    return blocked
