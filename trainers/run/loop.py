"""The training loop: from a config and a folder to committed history and checkpoints.

Kill the process at any moment and call :func:`train` again: it goes on from the newest commit, and the
weights, the optimizer and the history are bit for bit those of a run that was never disturbed (within a
numerics class).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from trainers import flops
from trainers.components.files import cache_folder
from trainers.config import EvaluationConfig, RunConfig
from trainers.data import prepare
from trainers.evaluation.grid import evaluation_grid, resume_points
from trainers.evaluation.scoring import evaluate
from trainers.machine.allocator import allocation_errors
from trainers.machine.numerics import configure_process, describe, peak_memory
from trainers.machine.workers import ALONE, Workers
from trainers.run.examination import Examination
from trainers.run.learner import Learner, Window
from trainers.run.lineage import start
from trainers.run.result import Result
from trainers.state.checkpoint import (
    CheckpointPolicy,
    CheckpointWriter,
    NullCheckpointWriter,
    Snapshot,
    resumable,
)
from trainers.state.folder import Attempt, Commit, Event, Origin, RunFolder
from trainers.state.retention import RetentionPolicy
from trainers.state.storage import LocalStorage

Report = Callable[[Event], None]


@allocation_errors()
def train(
    config: RunConfig,
    folder: str | os.PathLike[str] | RunFolder,
    *,
    data_root: str | os.PathLike[str] | None = None,
    report: Report | None = None,
    stop: Callable[[], bool] | None = None,
    branch_steps: Iterable[int] = (),
    checkpoint_policy: CheckpointPolicy | None = None,
    workers: Workers = ALONE,
) -> Result:
    """Train a run to ``config.steps``, from wherever its folder stands.

    The history's evaluations follow the evaluation config that the run was first started with; others are
    added by `trainers.run.rescoring`.

    Args:
        config: the run.
        folder: the run's own; its siblings are searched for trunks and parents by training key.
        data_root: holds prepared data; by default ``data`` beside the folder, or beside ``runs`` where the
            folder is in one.
        report: receives every event as it happens, history and telemetry, before it is committed.
        stop: is asked before each step; once true, the run commits and returns.
        branch_steps: steps whose whole state is kept for runs that will start there.
        checkpoint_policy: when to commit; it changes no number.
        workers: those who train the run together. Each makes this call (see `trainers.machine.workers`); the
            first writes, reports and is asked whether to stop. Their number may change from call to call.

    Returns:
        How it ended, and the history.

    Raises:
        WrongRun: the folder holds a run of another training key.
        Superseded: a newer attempt has taken the run over.
        MissingParent: the run starts from one that the store does not hold.
        OSError: the disk is full, or the storage away.
    """
    folder = RunFolder.of(folder)
    with workers.turns():
        config = config.pinned()
    folder.check(config)
    commit = folder.last_commit()
    if commit is None or (commit.step < config.steps and commit.state != "diverged"):
        device = configure_process(config.resources)
        root = Path(data_root) if data_root is not None else default_data_root(folder)
        with workers.turns():
            dataset = prepare(config.data, root)
        learner = Learner(config, dataset, device, workers=workers)
        with workers.turns():
            run = _begin(
                config,
                folder,
                learner,
                root,
                report,
                frozenset(branch_steps),
                checkpoint_policy or CheckpointPolicy(),
            )
        with run.writer:
            run.go(stop or (lambda: False))
            with workers.turns():
                run.writer.drain()
    return Result.of(config, folder)


def _begin(
    config: RunConfig,
    folder: RunFolder,
    learner: Learner,
    root: Path,
    report: Report | None,
    branch_steps: frozenset[int],
    checkpoint_policy: CheckpointPolicy,
) -> _Run:
    """Take the run over, and bring its learner to where it stands. A worker that is not the first writes and
    reports nothing, and finds on the disk what the first one starts from.
    """
    workers = learner.workers
    attempt = folder.begin(config) if workers.first else Attempt(folder, folder.last_commit() or Commit())
    evaluation = folder.config().evaluation
    grid = frozenset(evaluation_grid(config, evaluation))
    retention = RetentionPolicy.of(config.keep, grid, resume_points(sorted(grid)), branch_steps)
    writer = (
        CheckpointWriter(attempt, retention, checkpoint_policy)
        if workers.first
        else NullCheckpointWriter(attempt)
    )
    tell = report if report is not None and workers.first else lambda event: None
    examination = Examination(config, evaluation, learner.dataset, root)
    run = _Run(config, folder, learner, writer, tell, evaluation, grid, examination, branch_steps)
    run.start()
    if workers.size > 1:
        writer.drain()
    return run


def default_data_root(folder: RunFolder) -> Path:
    """``<store>/data`` for ``<store>/runs/<key>``; else ``data`` beside the folder. Where the folder is on no
    disk, in the user's cache.
    """
    if not isinstance(folder.storage, LocalStorage):
        return cache_folder() / "data"
    root = folder.storage.root
    return (root.parent if root.name == "runs" else root) / "data"


def on_curve(step: int) -> bool:
    """Whether the training curve has a point at ``step``: each up to 100, then 90 a decade, whatever the
    horizon.
    """
    return step % 10 ** max(0, len(str(step)) - 2) == 0


class Diverged(Exception):
    """The loss is no number any more."""


class _Run:
    """One call's work on one run."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        learner: Learner,
        writer: CheckpointWriter,
        report: Report,
        evaluation: EvaluationConfig,
        grid: frozenset[int],
        examination: Examination,
        branch_steps: frozenset[int],
    ) -> None:
        self.config, self.folder, self.learner, self.writer = config, folder, learner, writer
        self.report, self.evaluation = report, evaluation
        self.grid, self.examination, self.branch_steps = grid, examination, branch_steps
        self.flops_per_token = flops.training_flops(config)
        self.began = self.mark = time.monotonic()
        self.marked_tokens, self.evaluating = learner.tokens, 0.0

    # --- where to start ---

    def start(self) -> None:
        """Become what the newest commit holds, or the trunk, or the parent, or the initial state."""
        self.telemetry(
            {
                "event": "attempt",
                "step": self.writer.attempt.newest.step,
                "attempt": self.writer.attempt.name,
                "time": time.time(),
                "numerics": describe(
                    self.learner.device,
                    self.config.resources,
                    self.config.dtype,
                    self.learner.compiled,
                    self.learner.workers.size,
                ),
            }
        )
        commit = self.writer.attempt.newest
        snapshot = resumable(self.folder, commit, self.config.steps)
        if snapshot is not None:
            self.learner.restore(snapshot)
            if snapshot.step != commit.step:  # what lies behind a damaged checkpoint is done again
                self.writer.restart_history(self.folder.history(until=snapshot.step))
        elif not self._start_from_trunk():
            self.writer.restart_history([])
            elsewhere = start(self.learner, self.folder, self.config.init)
            self.history(self.description())
            if elsewhere:
                self.writer.commit(self.learner.step, self._whole, "running")
        self.marked_tokens = self.learner.tokens

    def _start_from_trunk(self) -> bool:
        """Go on from the trunk's newest usable checkpoint and history, where a sibling folder has one."""
        trunk = self.config.trunk()
        if trunk is None:
            return False
        folder = self.folder.sibling(trunk.training_key)
        commit = folder.last_commit()
        if commit is None or folder.config().evaluation != self.evaluation:
            return False
        snapshot = resumable(folder, commit, trunk.steps)
        if snapshot is None:
            return False
        self.learner.restore(snapshot)
        self.writer.restart_history(folder.history(until=snapshot.step))
        origin = Origin(run=trunk.training_key, step=snapshot.step)
        self.writer.commit(snapshot.step, self._whole, "running", trunk=origin)
        return True

    # --- the loop ---

    def go(self, stop: Callable[[], bool]) -> None:
        """Train until the end, ``stop``, or divergence."""
        learner, writer = self.learner, self.writer
        try:
            while learner.step < self.config.steps:
                if self.learner.workers.first_says(stop):
                    if learner.step > writer.committed:
                        self._speed()
                        writer.commit(learner.step, self._whole, "running")
                    return
                learner.update()
                self._after(learner.step)
        except Diverged:
            self.history({"event": "diverged", "step": learner.step})
            writer.commit(learner.step, None, "diverged")

    def _after(self, step: int) -> None:
        """What follows an update: a point of the curve, an evaluation, a checkpoint, a commit; each where it
        is due.
        """
        writer, last = self.writer, step == self.config.steps
        if on_curve(step):
            self._curve()
        evaluated = step in self.grid
        if evaluated:
            self._evaluate()
            self._examine()
        commits = last or step in self.branch_steps or writer.due(evaluated)
        if evaluated or commits:
            self._speed()
        if commits:
            writer.commit(step, self._whole, "done" if last else "running")
        elif step in writer.retention.weights:
            writer.write(lambda: self.learner.snapshot(step in writer.retention.states))

    def _whole(self) -> Snapshot:
        return self.learner.snapshot(with_state=True)

    # --- events ---

    def history(self, event: Event) -> None:
        """Record a deterministic event and report it."""
        self.writer.history(event)
        self.report(event)

    def telemetry(self, event: Event) -> None:
        """Record an event of this attempt alone and report it."""
        self.writer.telemetry(event)
        self.report(event)

    def description(self) -> Event:
        """The ``start`` event: what the run is made of, counted."""
        dataset, config = self.learner.dataset, self.config
        counts = config.counts
        return {
            "event": "start",
            "step": self.learner.step,
            "N": counts.total,
            "N_embedding": counts.embedding,
            "N_extra": counts.extra,
            **({"N_active": counts.active} if counts.inactive else {}),
            **({"N_objective": counts.objective} if counts.objective else {}),
            "vocab": dataset.vocab,
            "unique_tokens": dataset.unique_tokens,
            "unique_bytes": dataset.unique_bytes,
            "sequences": dataset.sequences,
            "unigram_entropy": dataset.unigram_entropy,
            "manifest": dataset.manifest["digest"],
            "flops_per_token": self.flops_per_token,
            "inherited": self.learner.inherited,
        }

    def _curve(self) -> None:
        """Mean loss and gradient norm since the last point."""
        learner = self.learner
        mean = learner.window.mean()
        learner.window = Window()
        if not all(math.isfinite(value) for value in mean.values()):
            raise Diverged
        terms, metrics = (
            {n.removeprefix(kind): v for n, v in mean.items() if n.startswith(kind)}
            for kind in ("term/", "metric/")
        )
        factor = self.config.schedule.factor(learner.step - 1, self.config.steps)
        self.history(
            {
                "event": "train",
                **self.learner.position(),
                "loss": mean["loss"],
                "terms": terms,
                "lr": self.config.optimizer.lr * factor,
                "grad_norm": mean["grad_norm"],
                **({"metrics": metrics} if metrics else {}),
            }
        )

    def _evaluate(self) -> None:
        began = time.monotonic()
        learner = self.learner
        evaluation = evaluate(
            learner.evaluated,
            self.config.objective,
            learner.dataset,
            self.evaluation,
            workers=learner.workers,
        )
        learner.model.train()
        self.evaluating += time.monotonic() - began
        if not (math.isfinite(evaluation.a.nll) and math.isfinite(evaluation.b.nll)):
            raise Diverged
        self.history({"event": "evaluation", **self.learner.position(), **evaluation.event()})

    def _examine(self) -> None:
        """Ask the tasks that are due."""
        began = time.monotonic()
        learner, examination = self.learner, self.examination
        events = [examination.event(task, learner) for task in examination.due(learner.step)]
        self.evaluating += time.monotonic() - began
        for event in events:
            self.history(event)

    def _speed(self) -> None:
        """Telemetry since the last of its kind."""
        now, writer = time.monotonic(), self.writer
        elapsed = max(now - self.mark - self.evaluating, 1e-9)
        self.telemetry(
            {
                "event": "speed",
                "step": self.learner.step,
                "time": time.time(),
                "tokens_per_second": (self.learner.tokens - self.marked_tokens) / elapsed,
                "train_seconds": elapsed,
                "evaluation_seconds": self.evaluating,
                "checkpoint_stall_seconds": writer.stalled,
                "checkpoint_seconds": writer.busy,
                "peak_memory_bytes": peak_memory(self.learner.device),
            }
        )
        self.mark, self.marked_tokens, self.evaluating = now, self.learner.tokens, 0.0
