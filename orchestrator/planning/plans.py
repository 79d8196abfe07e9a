"""What a set of sweeps takes: every end point with its counts and costs, and the tasks left, in a DAG.

    plan = make_plan(load(["sweeps/quickstart.yaml"]), "store")
    plan.rows      one an end point, shared ones once
    plan.tasks     data to prepare, runs to train, evaluations to add; each after what it needs
    plan.json()    {"runs": [...], "totals": {...}}

A plan is made once, by `orchestrator.planning.drafting`, and handed from stage to stage: it holds the
expansions of its sweeps, their end points, the trainings behind these, and what the store holds of each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from orchestrator.language.expansion import EndPoint, Expansion, Labels
from orchestrator.language.spec import SweepSpec
from orchestrator.planning.estimate import on_card
from orchestrator.planning.standing import Standing
from orchestrator.planning.trainings import Training, collect
from trainers.config import RunConfig


@dataclass(frozen=True)
class PlanRow:
    """One end point. ``seconds``, ``flops_to_go`` and ``disk_bytes`` are what it adds to the rows before it:
    shared parts are counted once."""

    key: str
    run: str
    trunk: str | None
    sweeps: tuple[str, ...]
    cell: str
    axes: Labels
    seed: int
    objective: str
    steps: int
    requested: int | None
    """Steps that the sweep asks for, where its stop rule ended the run before."""
    N: int
    N_embedding: int
    D: int
    U: int | None
    epochs: float | None
    flops: float
    flops_6nd: float
    flops_to_go: float
    trained: float
    """Share of its steps that is on disk, those of its trunk among them."""
    seconds: float
    memory_bytes: int
    disk_bytes: int
    state: Standing


@dataclass(frozen=True)
class PlannedTask:
    """One thing to do. ``config`` reaches to the furthest end point of its run; ``needs`` are keys of other
    tasks.

    ``rescore`` adds evaluations that the run was not trained with: one from kept weights, or in one pass all
    of those whose weights are gone, by training again.
    """

    key: str
    kind: Literal["prepare", "train", "rescore"]
    config: RunConfig
    needs: tuple[str, ...] = ()
    seconds: float = 0.0
    memory_bytes: int = 0
    run: str | None = None
    """Training key, None for a data preparation."""
    end_points: tuple[str, ...] = ()
    """Keys of the rows that this serves."""
    branch_steps: tuple[int, ...] = ()
    """Steps whose whole state must stay, for branches and children that start there."""
    steps: tuple[int, ...] = ()
    """The steps to score."""
    title: str = ""

    @property
    def workers(self) -> int:
        """Those of a run train; one is enough to score."""
        return self.config.resources.n_workers if self.kind == "train" else 1

    @property
    def gpus(self) -> float:
        """GPUs that it holds."""
        resources = self.config.resources
        each = (resources.gpus or 1.0) / resources.n_workers
        return each * self.workers if on_card(self.config) else 0.0

    @property
    def cores(self) -> int:
        """Cores that it keeps busy; none where GPUs do the work."""
        return 0 if on_card(self.config) else self.config.resources.threads * self.workers


@dataclass(frozen=True, repr=False)
class Plan:
    """What several sweeps take together, against what a store held when the plan was made."""

    expansions: tuple[Expansion, ...]
    rows: tuple[PlanRow, ...]
    tasks: tuple[PlannedTask, ...]
    trainings: Mapping[str, Training]
    """Training key -> the training, for every run that an end point reads, done or not, trunks included."""
    warnings: tuple[str, ...] = ()
    flops_distinct: float = 0.0
    """FLOPs of all its runs from nothing, every trunk and shared run once."""

    def __repr__(self) -> str:
        states = ", ".join(f"{n} {state}" for state, n in self.totals["states"].items())
        return f"Plan of {len(self.rows)} end points ({states})"

    @cached_property
    def specs(self) -> tuple[SweepSpec, ...]:
        """The sweeps, with the limits of their stop rules."""
        return tuple(expansion.spec for expansion in self.expansions)

    def end_points(self, sweep: str | None = None) -> tuple[EndPoint, ...]:
        """The end points of one sweep, or of all."""
        return tuple(p for e in self.expansions if sweep in (None, e.spec.name) for p in e.points)

    def trainings_of(self, sweep: str) -> Mapping[str, Training]:
        """The trainings that one sweep reads, each as that sweep alone asks for it."""
        return self.trainings if len(self.expansions) == 1 else collect(self.end_points(sweep))

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over the rows; memory is of the largest run. ``seconds`` are of the tasks one by one,
        ``core_seconds`` and ``gpu_seconds`` what they hold for so long.

        ``flops`` is what the end points would take one by one; ``flops_saved`` of it is shared (trunks, runs
        of several end points), ``flops_trained`` on disk, ``flops_to_go`` left, as are ``seconds``.
        """
        states: dict[str, int] = defaultdict(int)
        for row in self.rows:
            states[row.state] += 1
        training = [task for task in self.tasks if task.kind == "train"]
        flops, to_go = sum(row.flops for row in self.rows), sum(row.flops_to_go for row in self.rows)
        return {
            "end_points": len(self.rows),
            "runs": len({row.run for row in self.rows}),
            "tasks": len(self.tasks),
            "states": dict(sorted(states.items())),
            "D": sum(row.D for row in self.rows),
            "flops": flops,
            "flops_saved": max(0.0, flops - self.flops_distinct),
            "flops_trained": max(0.0, self.flops_distinct - to_go),
            "flops_to_go": to_go,
            "seconds": sum(task.seconds for task in self.tasks),
            "core_seconds": sum(task.seconds * task.cores for task in self.tasks),
            "gpu_seconds": sum(task.seconds * task.gpus for task in self.tasks),
            "longest_seconds": max((task.seconds for task in training), default=0.0),
            "memory_bytes": max((row.memory_bytes for row in self.rows), default=0),
            "disk_bytes": sum(row.disk_bytes for row in self.rows),
        }

    def json(self) -> dict[str, Any]:
        """The plan as the command line prints it with ``--json``."""
        runs = [{**vars(row), "sweeps": list(row.sweeps)} for row in self.rows]
        return {"runs": runs, "totals": self.totals, "warnings": list(self.warnings)}
