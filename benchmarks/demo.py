"""The demo as a person meets it: how long it takes, when it first trains, and where its time goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import figure, spent

GROUP = "demo"
ROOT = Path(__file__).parent.parent
SWEEP = ROOT / "sweeps" / "quickstart.yaml"
COMMAND = [sys.executable, "-m", "orchestrator"]


def measure() -> dict[str, dict[str, Any]]:
    """Runs the quickstart sweep twice in a store of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        store = Path(folder) / "store"
        command = [*COMMAND, "run", str(SWEEP), "--store", str(store), "-q"]
        first_step, seconds = _run(command, store)
        begin = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        again = time.monotonic() - begin
        parts = _parts(store)
        stages = json.loads(next((store / "sweeps").glob("*/timing.json.first"), store / "none").read_text())
    from trainers.machine.cores import usable_cores

    available = seconds * usable_cores()
    return {
        "demo.seconds": figure(seconds, "s", at_most=360),
        "demo.again_s": figure(again, "s", at_most=30),
        "demo.training_share": figure(parts["train_seconds"] / available, "of core time", at_least=0.6),
        "demo.evaluation_share": figure(parts["evaluation_seconds"] / available, "of core time"),
        "demo.checkpoint_share": figure(parts["checkpoint_stall_seconds"] / available, "of core time"),
        "demo.precise_s": figure(stages["precise"], "s"),
        "demo.report_s": figure(stages["report"], "s"),
        "demo.mirror_tail_s": figure(stages["mirror"], "s"),
        "start.first_step_s": figure(first_step, "s"),
        "start.help_s": figure(min(_help() for _ in range(5)), "s", at_most=0.5),
    }


def _run(command: list[str], store: Path) -> tuple[float, float]:
    """(seconds to the first training step, seconds to the end) of a cold run."""
    begin = time.monotonic()
    first = float("nan")
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None:
        if first != first and any(p.get("step", 0) >= 1 for p in _progress(store)):
            first = time.monotonic() - begin
        time.sleep(0.05 if first != first else 0.5)
    seconds = time.monotonic() - begin
    if process.returncode:
        raise RuntimeError(
            f"the demo ended with {process.returncode}: {process.stderr.read() if process.stderr else ''}"
        )
    for timing in (store / "sweeps").glob("*/timing.json"):
        os.replace(timing, timing.with_suffix(".json.first"))
    return first, seconds


def _progress(store: Path) -> Iterator[dict[str, Any]]:
    for path in (store / "control").glob("progress-*.json"):
        try:
            yield json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            continue


def _parts(store: Path) -> dict[str, float]:
    """Seconds of all runs together, by what they were spent on, from telemetry."""
    from orchestrator.store.store import Store
    from trainers.state.folder import RunFolder

    opened = Store(store)
    runs = [spent(RunFolder(opened.run(key))) for key in opened.run_keys()]
    return {name: sum(run[name] for run in runs) for name in runs[0]}


def _help() -> float:
    begin = time.monotonic()
    subprocess.run([*COMMAND, "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
