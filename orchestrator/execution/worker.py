"""What a worker does with a task. It never raises: what went wrong comes back as an :class:`Outcome`, as
plain JSON.

A worker talks to its driver through two small files, which work in one process, on one machine and on a
shared file system alike: a stop flag that it looks for, and a progress file that it replaces.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.execution.share import run_config, train_share
from orchestrator.failures import Failure, Outcome, failed


def execute(payload: dict[str, Any]) -> dict[str, Any]:
    """Do one task; the outcome as a dict (see :func:`outcome`)."""
    begin = time.monotonic()
    try:
        result = HANDLERS[payload["kind"]](payload)
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: the driver decides what follows
        result = failed(payload["task"], error, progress=_committed(payload))
    return {**asdict(result), "seconds": time.monotonic() - begin}


def outcome(result: dict[str, Any]) -> Outcome:
    """The outcome that :func:`execute` returned as a dict."""
    failure = result["failure"]
    return Outcome(**{**result, "failure": Failure(failure) if failure else None})


def warm() -> int:
    """Import what training needs, so that a waiting worker is ready; its process id."""
    import trainers.run.loop  # noqa: F401

    return os.getpid()


def _train(payload: dict[str, Any]) -> Outcome:
    from trainers.machine.workers import ALONE

    config = run_config(payload)
    if config.resources.n_workers == 1:
        result = train_share(payload, ALONE)
    else:
        from orchestrator.execution import ray_train

        result = ray_train.train(config, payload)
    if result.state == "diverged":
        return Outcome(
            payload["task"],
            "failed",
            Failure.DIVERGED,
            f"diverged at step {result.step}",
            progress=result.step,
        )
    return Outcome(payload["task"], "done" if result.state == "done" else "stopped", progress=result.step)


def _prepare(payload: dict[str, Any]) -> Outcome:
    from orchestrator.language.derived.supply import fell_short
    from trainers.config import DataConfig
    from trainers.data import prepare

    data = DataConfig.model_validate(payload["data"])
    dataset = prepare(data, Path(payload["data_root"]))
    return Outcome(payload["task"], "done", message=fell_short(data, dataset.manifest) or "")


def _rescore(payload: dict[str, Any]) -> Outcome:
    from trainers.config import EvaluationConfig
    from trainers.run.rescoring import decode, rescore

    if payload.get("decoding"):
        for step in payload["steps"]:
            decode(payload["folder"], step, sequences=payload["decoding"], data_root=payload["data_root"])
        return Outcome(payload["task"], "done")
    evaluation = payload.get("evaluation")
    rescore(
        payload["folder"],
        payload["steps"],
        evaluation=EvaluationConfig.model_validate(evaluation) if evaluation else None,
        precise=payload["precise"],
        replay=payload.get("replay", False),
        data_root=payload["data_root"],
    )
    return Outcome(payload["task"], "done")


HANDLERS: dict[str, Callable[[dict[str, Any]], Outcome]] = {
    "train": _train,
    "prepare": _prepare,
    "rescore": _rescore,
}


def _committed(payload: dict[str, Any]) -> int:
    """Step of the newest commit of the task's run, 0 if there is none."""
    if payload["kind"] != "train":
        return 0
    try:
        from trainers.state.folder import RunFolder

        commit = RunFolder(payload["folder"]).last_commit()
        return commit.step if commit else 0
    except Exception:  # the failure itself matters more than how far the run was
        return 0
