"""Failure classes, and the one policy of each. The only place that says what a failure leads to."""

from __future__ import annotations

import errno
import hashlib
import re
import sys
import traceback
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pydantic import ValidationError

from trainers.components.errors import Preempted, UserError


class Failure(StrEnum):
    """Why something did not finish."""

    OUT_OF_MEMORY = "out of memory"
    PREEMPTED = "preempted"
    DIVERGED = "diverged"
    USER_ERROR = "user error"
    CODE_ERROR = "code error"
    HANG = "hang"
    DISK_FULL = "disk full"
    TRACKER_AWAY = "tracker away"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Policy:
    """What a failure leads to.

    ``attempts``: how often in a row a task may end this way *without a newer commit* before it counts as
    failed (a task that gets further each time is never given up); None for no bound. ``delay``: seconds
    before the next attempt, doubled each time up to ``longest_delay``. ``halve_micro_batch``: the next
    attempt holds half as many sequences at once. ``halts``: after this many identical ones in a sweep nothing
    more is started; None for never. ``result``: the run's history is a result and stays in the tables.
    """

    attempts: int | None
    meaning: str
    delay: float = 0.0
    longest_delay: float = 60.0
    halve_micro_batch: bool = False
    halts: int | None = None
    result: bool = False

    def wait(self, failures: int) -> float:
        """Seconds before the next attempt, after ``failures`` (1, 2, ...) in a row."""
        return min(self.delay * 2 ** min(failures - 1, 32), self.longest_delay)


POLICIES: dict[Failure, Policy] = {
    Failure.OUT_OF_MEMORY: Policy(
        attempts=None,
        halve_micro_batch=True,
        meaning="tried again with half the micro-batch, until that is one sequence",
    ),
    Failure.PREEMPTED: Policy(
        attempts=4,
        delay=1.0,
        meaning="goes on from its newest commit; given up after four deaths without progress",
    ),
    Failure.DIVERGED: Policy(attempts=1, result=True, meaning="kept as a result, not tried again"),
    Failure.USER_ERROR: Policy(
        attempts=1, halts=None, meaning="not tried again: the sweep or its data must change"
    ),
    Failure.CODE_ERROR: Policy(
        attempts=1, halts=3, meaning="not tried again; after three identical ones nothing more is started"
    ),
    Failure.HANG: Policy(attempts=2, delay=1.0, meaning="killed and tried once more"),
    Failure.DISK_FULL: Policy(
        attempts=1, halts=1, meaning="nothing more is started; free some space and run again"
    ),
    Failure.TRACKER_AWAY: Policy(
        attempts=None,
        delay=1.0,
        meaning="training goes on; the mirror tries again and can be replayed at any time",
    ),
    Failure.BLOCKED: Policy(attempts=1, meaning="a run it starts from failed; retry that one"),
}


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a task ended; plain JSON values, so that it crosses processes.

    ``progress`` is the step of the newest commit afterwards; ``fingerprint`` is equal for identical
    tracebacks.
    """

    task: str
    state: Literal["done", "stopped", "failed"]
    failure: Failure | None = None
    message: str = ""
    traceback: str = ""
    fingerprint: str = ""
    progress: int = 0
    seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.state == "failed") != (self.failure is not None):
            raise ValueError(
                f"an outcome names its failure exactly where it failed: {self.state}, {self.failure}"
            )


_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_DISK = {errno.ENOSPC, errno.EDQUOT}
_CUDA_MEMORY = ("cuda", 2)
"""cudaErrorMemoryAllocation."""

Classes = tuple[type[BaseException], ...]


@dataclass(frozen=True)
class _Known:
    """The exception classes that decide a failure's class."""

    memory: Classes
    preempted: Classes
    user: Classes


def _known() -> _Known:
    """Those of this project, and of Ray and torch as far as this process has imported them: what a library
    raises exists only where the library does.
    """
    memory: Classes = (MemoryError,)
    preempted: Classes = (Preempted, KeyboardInterrupt)
    user: Classes = (UserError, ValidationError, FileNotFoundError, PermissionError)
    if "torch" in sys.modules:
        import torch

        memory += (torch.OutOfMemoryError,)
    if "ray" in sys.modules:
        from ray import exceptions as ray

        memory += (ray.OutOfMemoryError,)
        preempted += (ray.NodeDiedError, ray.WorkerCrashedError, ray.ActorDiedError, ray.TaskCancelledError)
        user += (ray.RuntimeEnvSetupError,)
    if "ray.train" in sys.modules:
        preempted += _of_ray_train()
    return _Known(memory, preempted, user)


def _of_ray_train() -> Classes:
    try:
        from ray.train.v2.api.exceptions import PreemptionError
    except ImportError:  # Ray Train before it noticed preemption
        return ()
    return (PreemptionError,)


def classify(error: BaseException) -> Failure:
    """Class of an exception that left a task, by its type and those of its causes; never by its text."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    known = _known()
    for e in chain:
        if isinstance(e, known.memory) or _number(e) in (errno.ENOMEM, _CUDA_MEMORY):
            return Failure.OUT_OF_MEMORY
        if _number(e) in _DISK:
            return Failure.DISK_FULL
    if isinstance(error, known.preempted):
        return Failure.PREEMPTED
    return Failure.USER_ERROR if isinstance(error, known.user) else Failure.CODE_ERROR


def _number(error: BaseException) -> Any:
    """What the system says in an ``OSError``, or a card's driver in torch's ``AcceleratorError``."""
    return error.errno if isinstance(error, OSError) else ("cuda", getattr(error, "error_code", None))


def failed(task: str, error: BaseException, progress: int = 0, seconds: float = 0.0) -> Outcome:
    """The outcome of a task that raised ``error``."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{f.name}:{f.line}" for f in frames]
    fingerprint = hashlib.sha256("\n".join([type(error).__name__, *places]).encode()).hexdigest()[:16]
    text = _ANSI.sub("", "".join(traceback.format_exception(error)))
    message = _ANSI.sub("", str(error)).strip() or type(error).__name__
    plain = isinstance(error, UserError) or message.startswith(type(error).__name__)
    return Outcome(
        task,
        "failed",
        failure=classify(error),
        message=message if plain else f"{type(error).__name__}: {message}",
        traceback=text[-20_000:],
        fingerprint=fingerprint,
        progress=progress,
        seconds=seconds,
    )
