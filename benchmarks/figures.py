"""What benchmarks report, and what they read from runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.state.folder import RunFolder


def figure(
    value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
) -> dict[str, Any]:
    """A value and whether it meets its target, if it has one."""
    ok = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    return {"value": value, "unit": unit, "target": at_most if at_most is not None else at_least, "ok": ok}


def spent(run: RunFolder) -> dict[str, float]:
    """Seconds that an uninterrupted run took, by what they were spent on, from its telemetry."""
    told = [event for event in run.telemetry() if event["event"] == "speed"]
    parts = {name: sum(e[name] for e in told) for name in ("train_seconds", "evaluation_seconds")}
    stalled = max((e["checkpoint_stall_seconds"] for e in told), default=0.0)
    return {**parts, "checkpoint_stall_seconds": stalled}
