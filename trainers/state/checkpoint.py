"""Checkpoints: what they hold, how they become bytes, when they are written, and the writer.

A checkpoint is two safetensors objects. *Weights*: parameters, buffers (an objective's state among them) and
the average; enough to evaluate, sample and export. *State*: the optimizer's moments and the window of the
training curve; with the weights enough to go on, bit for bit. Counters travel as JSON in the header of both.
No byte read here reaches ``pickle``.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import safetensors
import torch
from safetensors.torch import load
from torch import Tensor

from trainers.components.errors import Corrupt
from trainers.state.folder import (
    Attempt,
    Checkpoint,
    Commit,
    RunFolder,
    State,
    json_line,
    object_name,
    segment_name,
)
from trainers.state.retention import RetentionPolicy

Tensors = dict[str, Tensor]
Counters = dict[str, Any]
KEY = "crossover"

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Snapshot:
    """A copy of a learner at one step, on the CPU, that training no longer touches. ``state`` is None for
    weights alone.
    """

    step: int
    weights: Tensors
    state: Tensors | None
    counters: Counters


TakeSnapshot = Callable[[], Snapshot]
"""A function that copies the learner; its time counts as a stall."""


def encode(tensors: Mapping[str, Tensor], counters: Counters) -> Iterator[bytes | memoryview]:
    """A safetensors file in pieces: header, then each tensor's own memory. (The library's ``save`` copies
    everything twice.)
    """
    flat = {name: t.detach().to("cpu").contiguous().reshape(-1) for name, t in sorted(tensors.items())}
    header: dict[str, Any] = {"__metadata__": {KEY: json.dumps(counters, sort_keys=True, allow_nan=False)}}
    offset = 0
    for name, data in flat.items():
        end = offset + data.numel() * data.element_size()
        header[name] = {
            "dtype": _TYPES[data.dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for data in flat.values():
        if data.numel():
            yield data.view(torch.uint8).numpy().data


def decode(data: bytes) -> tuple[Tensors, Counters]:
    """Tensors and counters of a safetensors file that :func:`encode` wrote."""
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return load(data), json.loads(metadata[KEY])


def read(folder: RunFolder, commit: Commit, step: int) -> Snapshot:
    """The checkpoint at ``step``. :class:`Corrupt` where it is gone or damaged, ``KeyError`` where there is
    none.
    """
    kept = commit.checkpoints[step]
    try:
        weights, counters = _read(folder, kept.weights, commit)
        state = None if kept.state is None else _read(folder, kept.state, commit)[0]
    except (safetensors.SafetensorError, ValueError) as error:
        raise Corrupt(
            f"the checkpoint of run {folder.name} at step {step} cannot be read: {error}"
        ) from error
    return Snapshot(step, weights, state, counters)


def _read(folder: RunFolder, names: Iterable[str], commit: Commit) -> tuple[Tensors, Counters]:
    """The tensors of all these objects, and the counters, which each of them has."""
    tensors: Tensors = {}
    counters: Counters = {}
    for name in names:
        part, counters = decode(folder.verified(name, commit))
        tensors |= part
    return tensors, counters


def resumable(folder: RunFolder, commit: Commit, until: int) -> Snapshot | None:
    """The newest checkpoint at or before ``until`` that training can go on from; damaged ones are passed
    over.
    """
    for step in sorted(
        (s for s, kept in commit.checkpoints.items() if kept.state and s <= until), reverse=True
    ):
        try:
            return read(folder, commit, step)
        except Corrupt:
            continue
    return None


@dataclass(frozen=True)
class CheckpointPolicy:
    """When to commit: at an evaluation once ``seconds`` have passed and checkpoints have cost at most
    ``share`` of the time.

    Where evaluations are far apart, a commit comes between them after four times as long.
    """

    seconds: float = 10.0
    share: float = 0.02

    def due(self, elapsed: float, cost: float, evaluated: bool) -> bool:
        """Whether ``elapsed`` seconds after the last commit, which cost ``cost`` seconds, another is due."""
        least = max(self.seconds, cost / self.share)
        return elapsed >= (least if evaluated else 4 * least)


class CheckpointWriter:
    """Writes an attempt's events, checkpoints and commits, in one background thread, in order.

    An error there (:class:`~trainers.components.errors.Superseded`, a full disk) is raised in the training
    thread at its next call. ``stalled`` are the seconds that training waited, ``busy`` those that the
    background thread worked.
    """

    def __init__(self, attempt: Attempt, retention: RetentionPolicy, policy: CheckpointPolicy) -> None:
        self.attempt, self.retention, self.policy = attempt, retention, policy
        self.stalled = self.busy = 0.0
        self._history: list[bytes] = []
        self._telemetry: list[bytes] = []
        self._written: dict[int, Checkpoint] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._jobs: deque[Future[None]] = deque()
        self._from, self._restarted = attempt.newest.step, False
        self._last_commit, self._cost_before = time.monotonic(), 0.0

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def history(self, event: dict[str, Any]) -> None:
        """Append to the history of the next commit."""
        self._history.append(json_line(event))

    def telemetry(self, event: dict[str, Any]) -> None:
        """Append to the telemetry of the next commit."""
        self._telemetry.append(json_line(event))

    def restart_history(self, events: Iterable[dict[str, Any]]) -> None:
        """The history so far becomes ``events``, in one segment, with the next commit (a branch, or a fall
        back).
        """
        self._history = [json_line(e) for e in events]
        self._from, self._restarted = 0, True

    @property
    def committed(self) -> int:
        """The step of the newest commit, made or queued."""
        return self._from

    def due(self, evaluated: bool) -> bool:
        """Whether a commit is due."""
        cost = self.stalled + self.busy - self._cost_before
        return self.policy.due(time.monotonic() - self._last_commit, cost, evaluated)

    def write(self, take: TakeSnapshot) -> None:
        """Write a checkpoint for the next commit to name."""
        snapshot = self._taken(take)
        self._submit(lambda: self._write(snapshot))

    def commit(self, step: int, take: TakeSnapshot | None, state: State, **changes: Any) -> None:
        """Commit everything up to ``step``, with a checkpoint (without one where a run ends diverged)."""
        snapshot = None if take is None else self._taken(take)
        history, telemetry, start = b"".join(self._history), b"".join(self._telemetry), self._from
        restarted, self._restarted = self._restarted, False
        self._history, self._telemetry, self._from = [], [], step
        self._last_commit, self._cost_before = time.monotonic(), self.stalled + self.busy

        def job() -> None:
            if snapshot is not None:
                self._write(snapshot)
            newest = self.attempt.newest
            segments = {"history": () if restarted else newest.history, "telemetry": newest.telemetry}
            for stream, data in (("history", history), ("telemetry", telemetry)):
                if data:
                    name = segment_name(self.attempt.name, start, step, stream)  # type: ignore[arg-type]
                    segments[stream] = (*segments[stream], self.attempt.put(name, data))
            kept = self.retention.prune({**newest.checkpoints, **self._written})
            self._written = {}
            self.attempt.commit(step=step, state=state, checkpoints=kept, **segments, **changes)

        self._submit(job)

    def _taken(self, take: TakeSnapshot) -> Snapshot:
        began = time.monotonic()
        snapshot = take()
        self.stalled += time.monotonic() - began
        return snapshot

    def drain(self) -> None:
        """Wait until everything is on the disk; raise what went wrong."""
        while self._jobs:
            self._jobs.popleft().result()

    def _write(self, snapshot: Snapshot) -> None:
        step, name = snapshot.step, self.attempt.name
        weights = self.attempt.put(
            object_name(name, step, "weights"), encode(snapshot.weights, snapshot.counters)
        )
        state = None
        if snapshot.state is not None:
            state = self.attempt.put(
                object_name(name, step, "state"), encode(snapshot.state, snapshot.counters)
            )
        self._written[step] = Checkpoint(weights=(weights,), state=None if state is None else (state,))

    def _submit(self, job: Callable[[], None]) -> None:
        """Queue a job; wait while two are queued already, so that at most two snapshots are held."""
        began = time.monotonic()

        def timed() -> None:
            start = time.monotonic()
            try:
                job()
            finally:
                self.busy += time.monotonic() - start

        while self._jobs and (len(self._jobs) > 1 or self._jobs[0].done()):
            self._jobs.popleft().result()
        self._jobs.append(self._pool.submit(timed))
        self.stalled += time.monotonic() - began


class NullCheckpointWriter(CheckpointWriter):
    """The writer of every worker but the first: it writes nothing, for the first one writes everything."""

    def __init__(self, attempt: Attempt) -> None:
        super().__init__(attempt, RetentionPolicy(), CheckpointPolicy())

    def history(self, event: dict[str, Any]) -> None: ...

    def telemetry(self, event: dict[str, Any]) -> None: ...

    def restart_history(self, events: Iterable[dict[str, Any]]) -> None: ...

    def due(self, evaluated: bool) -> bool:
        return False

    def commit(self, step: int, take: TakeSnapshot | None, state: State, **changes: Any) -> None:
        self._from = step
