"""The run folder: immutable objects, and commits that say which of them count.

::

    config.json                                    the resolved config, its identity and key; written once
    objects/<attempt>-<step>.weights.safetensors   immutable, named by the attempt that wrote them
    objects/<attempt>-<step>.state.safetensors
    events/<attempt>-<from>-<to>.history.jsonl     deterministic: evaluations and the training curve
    events/<attempt>-<from>-<to>.telemetry.jsonl   the rest: speed, memory, times
    commits/<n>.json                               what counts from now on; created last, whole, if absent
    scores/<evaluation key>.json                   evaluations added after training

Readers see what the newest commit names and nothing else, so a process may be killed at any moment. A
starting attempt writes a commit of its own (the *fence*) that changes nothing but the number: an older
attempt that is still alive then finds its next number taken, and stops with :class:`Superseded`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from trainers.components.component import Frozen
from trainers.components.errors import Corrupt, Superseded, WrongRun
from trainers.config import RunConfig
from trainers.state.storage import Chunks, LocalStorage, Storage

State = Literal["running", "done", "diverged"]
Event = dict[str, Any]
"""One line of a history or of telemetry."""
Events = list[Event]


class Object(Frozen):
    """An object that a commit names: its SHA-256 and size."""

    sha256: str
    bytes: int


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _single(names: tuple[str, ...]) -> str | list[str]:
    return names[0] if len(names) == 1 else list(names)


ObjectNames = Annotated[tuple[str, ...], BeforeValidator(_several), PlainSerializer(_single)]
"""Objects that make one thing together; in a manifest a single one stands by itself, several as a list."""


class Checkpoint(Frozen):
    """A checkpoint: the objects that hold the weights, and where training can go on from it also those that
    hold the state (optimizer, counters, ...). Each has a part of the tensors: one object has all of them.
    """

    weights: ObjectNames
    state: ObjectNames | None = None

    @property
    def objects(self) -> tuple[str, ...]:
        """The names of all its objects."""
        return self.weights + (self.state or ())


class Origin(Frozen):
    """The run whose history up to ``step`` is also this run's: the trunk of a branch."""

    run: str
    step: int


class Commit(Frozen):
    """One manifest. ``checkpoints`` by step; ``history`` and ``telemetry`` are segments in order."""

    n: int = 0
    attempt: str = ""
    step: int = 0
    state: State = "running"
    checkpoints: dict[int, Checkpoint] = Field(default_factory=dict)
    history: tuple[str, ...] = ()
    telemetry: tuple[str, ...] = ()
    objects: dict[str, Object] = Field(default_factory=dict)
    trunk: Origin | None = None

    def names(self) -> set[str]:
        """Every object that this commit needs."""
        kept = {name for checkpoint in self.checkpoints.values() for name in checkpoint.objects}
        return kept | {*self.history, *self.telemetry}

    def pruned(self) -> Commit:
        """The same without the digests of objects that it no longer names."""
        return self.model_copy(
            update={"objects": {k: v for k, v in self.objects.items() if k in self.names()}}
        )


def json_line(event: Event) -> bytes:
    """One event as a line; the same event gives the same bytes."""
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def step_of(event: Event) -> int:
    """The step that an event belongs to."""
    return int(event["step"])


class RunFolder:
    """A run's folder. ``RunFolder("store/runs/<key>")``, or a name in any :class:`Storage`. Opening one
    creates nothing.
    """

    def __init__(self, path: str | os.PathLike[str], storage: Storage | None = None) -> None:
        self.storage: Storage = storage if storage is not None else LocalStorage(Path(path).resolve().parent)
        self.name = str(path) if storage is not None else Path(path).resolve().name

    def __repr__(self) -> str:
        return f"RunFolder({self.name!r})"

    @classmethod
    def of(cls, folder: str | os.PathLike[str] | RunFolder) -> RunFolder:
        """A run folder: of a path, or the one given."""
        return folder if isinstance(folder, RunFolder) else cls(folder)

    def sibling(self, key: str) -> RunFolder:
        """The folder of another run of the same store."""
        return RunFolder(key, self.storage)

    # --- reading ---

    def get(self, name: str) -> bytes:
        """Bytes of an object of this folder."""
        return self.storage.get(f"{self.name}/{name}")

    def verified(self, name: str, commit: Commit) -> bytes:
        """Bytes of an object, checked against the commit that names it; :class:`Corrupt` where they differ or
        are gone.
        """
        try:
            data = self.get(name)
        except FileNotFoundError:
            raise Corrupt(f"{self.name}/{name} is gone") from None
        if hashlib.sha256(data).hexdigest() != commit.objects[name].sha256:
            raise Corrupt(f"{self.name}/{name} has other content than was committed")
        return data

    def list(self, part: str) -> dict[str, int]:
        """Names and sizes in ``objects``, ``events``, ``commits`` or ``scores``; temporary files left out."""
        sizes = self.storage.list(f"{self.name}/{part}")
        return {name: size for name, size in sizes.items() if not name.startswith(".")}

    def record(self) -> dict[str, Any] | None:
        """``config.json``: ``config``, ``identity`` and ``training_key``; None where nothing has been
        written.
        """
        try:
            return dict(json.loads(self.get("config.json")))
        except FileNotFoundError:
            return None

    def config(self) -> RunConfig:
        """The config that the run was first started with; ``FileNotFoundError`` where it has not been."""
        return RunConfig.model_validate(json.loads(self.get("config.json"))["config"])

    def last_commit(self) -> Commit | None:
        """The newest commit; None before the first."""
        numbers = [int(name.removesuffix(".json")) for name in self.list("commits")]
        if not numbers:
            return None
        return Commit.model_validate_json(self.get(f"commits/{max(numbers):08d}.json"))

    def history(self, until: int | None = None) -> Events:
        """Committed history events in order, those after step ``until`` left out."""
        commit = self.last_commit()
        events = [] if commit is None else self._events(commit.history)
        return [e for e in events if until is None or step_of(e) <= until]

    def telemetry(self) -> Events:
        """Committed telemetry events in order."""
        commit = self.last_commit()
        return [] if commit is None else self._events(commit.telemetry)

    def scores(self, event: str = "evaluation") -> Events:
        """What was scored after training: ``{"key", "evaluation", "event"}``, in order of step.

        ``event``: ``evaluation``, or ``decoding`` for exact likelihoods under a decoding order.
        """
        scores = (json.loads(self.get(f"scores/{name}")) for name in sorted(self.list("scores")))
        of_kind = [score for score in scores if score["event"]["event"] == event]
        return sorted(of_kind, key=lambda score: (step_of(score["event"]), score["key"]))

    def score(self, key: str) -> dict[str, Any] | None:
        """The added evaluation of this key, or None."""
        try:
            return dict(json.loads(self.get(f"scores/{key}.json")))
        except FileNotFoundError:
            return None

    def size(self) -> int:
        """Bytes that the folder holds."""
        return sum(sum(self.list(part).values()) for part in ("", "objects", "events", "commits", "scores"))

    def _events(self, segments: Iterable[str]) -> Events:
        return [json.loads(line) for name in segments for line in self.get(name).splitlines()]

    # --- writing ---

    def add_score(self, key: str, score: dict[str, Any]) -> bool:
        """Add an evaluation; False where there is one of this key already, which stays."""
        return self.storage.put_if_absent(f"{self.name}/scores/{key}.json", json_line({"key": key, **score}))

    def begin(self, config: RunConfig) -> Attempt:
        """Take the run over: write ``config.json`` where there is none, then the fence.

        Raises :class:`WrongRun` where the folder holds a run of another training key.
        """
        key, identity = config.training_key, config.identity()
        record = {"training_key": key, "config": config.model_dump(mode="json"), "identity": identity}
        self.storage.put_if_absent(f"{self.name}/config.json", json.dumps(record, indent=1).encode())
        self.check(config)
        while True:
            newest = self.last_commit() or Commit()
            fence = newest.model_copy(update={"n": newest.n + 1, "attempt": f"{newest.n + 1:08d}"})
            if self._commit(fence):
                return Attempt(self, fence)

    def check(self, config: RunConfig) -> None:
        """Raise :class:`WrongRun`, naming what differs, where the folder holds another run."""
        record = self.record()
        if record is not None and record["training_key"] != config.training_key:
            differing = sorted(differences(record["identity"], config.identity()))
            raise WrongRun(
                f"folder {self.name} holds run {record['training_key']}, not {config.training_key}; "
                f"they differ in {', '.join(differing)}"
            )

    def _commit(self, commit: Commit) -> bool:
        data = commit.model_dump_json(exclude_defaults=False).encode()
        return self.storage.put_if_absent(f"{self.name}/commits/{commit.n:08d}.json", data)


class Attempt:
    """The right to write to a run, until a newer attempt takes it."""

    def __init__(self, folder: RunFolder, fence: Commit) -> None:
        self.folder = folder
        self.name = fence.attempt
        self.newest = fence
        self._written: dict[str, Object] = {}

    def put(self, name: str, data: Chunks) -> str:
        """Write an object durably, and remember its digest for the commit that will name it; returns the
        name.
        """
        hasher, size = hashlib.sha256(), 0

        def counted() -> Iterable[bytes | memoryview]:
            nonlocal size
            for chunk in [data] if isinstance(data, bytes) else data:
                hasher.update(chunk)
                size += len(chunk) if isinstance(chunk, bytes) else chunk.nbytes
                yield chunk

        self.folder.storage.put(f"{self.folder.name}/{name}", counted())
        self._written[name] = Object(sha256=hasher.hexdigest(), bytes=size)
        return name

    def commit(self, **changes: Any) -> Commit:
        """Make ``changes`` to the newest commit count (fields of :class:`Commit`); :class:`Superseded` if the
        run was taken.

        Objects that the new commit no longer names are deleted afterwards, for nobody can need them.
        """
        before = self.newest
        update = {**changes, "n": before.n + 1, "objects": {**before.objects, **self._written}}
        after = before.model_copy(update=update).pruned()
        missing = after.names() - after.objects.keys()
        if missing:
            raise ValueError(f"a commit names objects that were not written: {sorted(missing)}")
        if not self.folder._commit(after):
            raise Superseded(f"attempt {self.name} of run {self.folder.name} was superseded by a newer one")
        self.newest = after
        dropped = (before.objects.keys() | self._written.keys()) - after.names() - self._pending(after)
        for name in dropped:
            self.folder.storage.delete(f"{self.folder.name}/{name}")
            self._written.pop(name, None)
        return after

    def _pending(self, commit: Commit) -> set[str]:
        """Objects written for a later commit (weights of evaluations since)."""
        return {name for name in self._written if object_step(name) > commit.step}


def object_name(attempt: str, step: int, part: Literal["weights", "state"]) -> str:
    """Name of a checkpoint's object."""
    return f"objects/{attempt}-{step:08d}.{part}.safetensors"


def segment_name(attempt: str, start: int, stop: int, stream: Literal["history", "telemetry"]) -> str:
    """Name of an event segment that covers steps ``start`` (exclusive) to ``stop``."""
    return f"events/{attempt}-{start:08d}-{stop:08d}.{stream}.jsonl"


def object_step(name: str) -> int:
    """The (last) step in the name of an object or a segment."""
    return int(name.rpartition("/")[2].partition(".")[0].rpartition("-")[2])


def object_attempt(name: str) -> str:
    """The attempt in the name of an object or a segment."""
    return name.rpartition("/")[2].partition("-")[0]


def garbage(folder: str | os.PathLike[str] | RunFolder) -> dict[str, int]:
    """Names and sizes of what no commit needs: what killed attempts left, objects and temporary files alike.

    What a live attempt has written and not yet committed is no garbage. Whatever the newest commit names is
    needed: its retention kept it for a branch, a child, or an evaluation.
    """
    folder = RunFolder.of(folder)
    commit = folder.last_commit()
    if commit is None:
        return {}
    needed, unneeded = commit.names(), {}
    for part in ("objects", "events"):
        for name, size in folder.storage.list(f"{folder.name}/{part}").items():
            path, stem = f"{part}/{name}", name.lstrip(".")
            live = (
                commit.state == "running"
                and object_attempt(stem) >= commit.attempt
                and object_step(stem) > commit.step
            )
            if path not in needed and not live:
                unneeded[path] = size
    return unneeded


def collect(folder: str | os.PathLike[str] | RunFolder) -> int:
    """Delete the garbage of a folder; the bytes freed."""
    folder = RunFolder.of(folder)
    unneeded = garbage(folder)
    for name in unneeded:
        folder.storage.delete(f"{folder.name}/{name}")
    return sum(unneeded.values())


def differences(a: Any, b: Any, path: str = "") -> set[str]:
    """Key paths at which two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        inner = (differences(a.get(k), b.get(k), f"{path}.{k}" if path else k) for k in a.keys() | b.keys())
        return set().union(*inner)
    return set() if a == b else {path or "(everything)"}
