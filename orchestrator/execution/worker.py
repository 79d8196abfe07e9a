"""What a worker does with a job: it runs it, and never raises. What went wrong comes back as an
:class:`~orchestrator.failures.Outcome`, as plain JSON.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict
from typing import Any

from orchestrator.execution.jobs import Dispatch
from orchestrator.failures import Failure, Outcome, failed


def execute(payload: dict[str, Any]) -> dict[str, Any]:
    """Run the job of a :class:`~orchestrator.execution.jobs.Dispatch`; the outcome as a dict (see
    :func:`outcome`)."""
    begin = time.monotonic()
    dispatch: Dispatch | None = None
    try:
        dispatch = Dispatch.from_json(payload)
        result = dispatch.job.run(dispatch)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: the driver decides what follows
        result = failed(payload["task"], error, progress=_committed(dispatch))
    return {**asdict(result), "seconds": time.monotonic() - begin}


def outcome(result: dict[str, Any]) -> Outcome:
    """The outcome that :func:`execute` returned as a dict."""
    failure = result["failure"]
    return Outcome(**{**result, "failure": Failure(failure) if failure else None})


def warm() -> int:
    """Import what training needs, so that a waiting worker is ready; its process id."""
    import trainers.run.loop  # noqa: F401

    return os.getpid()


def _committed(dispatch: Dispatch | None) -> int:
    with contextlib.suppress(Exception):  # the failure itself matters more than how far the run was
        return dispatch.committed if dispatch is not None else 0
    return 0
