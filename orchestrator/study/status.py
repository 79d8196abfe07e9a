"""How the runs of a plan stand now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.planning.plans import Plan
from orchestrator.planning.standing import Standing, standing_of
from orchestrator.planning.titles import title
from orchestrator.store.leases import Session
from orchestrator.store.store import Store


@dataclass(frozen=True)
class RunStatus:
    """Where one run stands."""

    run: str
    """Training key."""
    name: str
    sweeps: tuple[str, ...]
    state: Standing
    step: int
    committed: int
    """Step of its newest commit."""
    steps: int
    """Where it ends, as far as these sweeps read it."""
    tokens_per_second: float | None
    reason: str | None
    """Why it failed, or is blocked."""

    def json(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "sweeps": list(self.sweeps), "state": self.state.value}


def run_statuses(store: Store, plan: Plan, sweep: str | None = None) -> list[RunStatus]:
    """One status a run of the plan, or of one of its sweeps."""
    blocked = {row.run for row in plan.rows if row.state is Standing.BLOCKED}
    observer = Session(store.leases)
    statuses = []
    for key, training in (plan.trainings if sweep is None else plan.trainings_of(sweep)).items():
        folder = store.run(key)
        commit, failure = folder.last_commit(), store.failure(key)
        committed, steps = (commit.step if commit is not None else 0), training.config.steps
        progress = None
        if observer.holder(f"run-{key}") is not None:  # what its worker last said
            progress = store.control.read_json(f"progress-{key}.json") or {}
        state = standing_of(
            steps, commit, leased=progress is not None, failure=failure, blocked=key in blocked
        )
        reason = None
        if failure and state in (Standing.FAILED, Standing.BLOCKED):
            reason = f"{failure['failure']}: {failure['message'].splitlines()[0]}"
        statuses.append(
            RunStatus(
                key,
                title(training.config),
                tuple(sorted(training.sweeps)),
                state,
                max(committed, int((progress or {}).get("step", 0))),
                committed,
                steps,
                (progress or {}).get("tokens_per_second"),
                reason,
            )
        )
    return statuses
