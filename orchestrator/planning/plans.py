"""What a set of sweeps takes: every end point with its counts and costs, and the tasks left, in a DAG.

    plan = plan(load(["sweeps/quickstart.yaml"]), "store")
    plan.rows      one an end point, shared ones once
    plan.tasks     data to prepare, runs to train, evaluations to add; each after what it needs
    plan.json()    {"runs": [...], "totals": {...}}

Reads the store's run folders and writes nothing; needs neither torch nor Ray nor MLflow.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.language.derived.budgets import unique_tokens
from orchestrator.language.expansion import EndPoint, Labels, expand
from orchestrator.language.spec import SweepSpec
from orchestrator.planning.estimate import Estimator, Sample, disk_bytes, on_card, sample
from orchestrator.planning.standing import Standing, planned_standing, standing_of
from orchestrator.planning.trainings import Training, blocked_by, collect, read
from orchestrator.store.store import Store
from trainers.components.component import digest
from trainers.components.source import Issue, SpecError
from trainers.config import Parent, RunConfig
from trainers.evaluation.grid import evaluation_grid
from trainers.flops import matmul_flops, six_nd

CALIBRATION_RUNS = 60
"""How many run folders' telemetry is read at most."""


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


@dataclass(frozen=True)
class Plan:
    """Rows, tasks and warnings, for several sweeps at once. `points` maps each row's key to the end points of
    all sweeps."""

    specs: tuple[SweepSpec, ...]
    rows: tuple[PlanRow, ...]
    tasks: tuple[PlannedTask, ...]
    points: dict[str, tuple[EndPoint, ...]]
    warnings: tuple[str, ...] = ()
    flops_distinct: float = 0.0
    """FLOPs of all its runs from nothing, every trunk and shared run once."""

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


def plan(
    specs: Sequence[SweepSpec],
    store: Store | str | os.PathLike[str] | None = None,
    estimator: Estimator | None = None,
) -> Plan:
    """The plan of these sweeps against a store (or its address; None for an empty one).

    Raises SpecError with the errors of all of them.
    """
    points: list[EndPoint] = []
    issues: list[Issue] = []
    for spec in specs:
        try:
            points += expand(spec)
        except SpecError as error:
            issues += error.issues
    if issues:
        raise SpecError(issues)
    opened = Store.at(store) if isinstance(store, str | os.PathLike) else store
    runs = collect(points)
    for key, run in runs.items():
        read(run, None if opened is None else opened.run(key))
    estimator = estimator or Estimator(_samples(opened, runs))
    blocked = blocked_by(runs, opened)
    by_key: dict[str, list[EndPoint]] = defaultdict(list)
    for point in points:
        by_key[point.key].append(point)
    costs = {key: _Costs(run, estimator) for key, run in runs.items()}
    rows = [_row(group, runs, costs, estimator, blocked) for group in by_key.values()]
    warnings = dict.fromkeys(f"{point.sweep}: {text}" for point in points for text in point.warnings)
    warnings |= dict.fromkeys(
        f"{p.sweep}: {issue.key}: {issue.message}" for p in points for issue in p.lacking
    )
    warnings |= dict.fromkeys(f"run {key}: blocked: {why}" for key, why in blocked.items())
    tasks = tuple(_tasks(runs, estimator, blocked))
    grouped = {k: tuple(v) for k, v in by_key.items()}
    distinct = sum(flops_between(run.config, _start(run), run.furthest) for run in runs.values())
    return Plan(tuple(specs), tuple(rows), tasks, grouped, tuple(warnings), distinct)


def flops_between(config: RunConfig, start: int, stop: int) -> float:
    """Training FLOPs (`matmul`) of the steps after ``start`` up to ``stop``."""
    return float(max(0, stop - start) * config.tokens_per_step * matmul_flops(config))


def _start(run: Training) -> int:
    """The step that a run's own part begins after: its trunk's last, else none."""
    trunk = run.config.trunk() if run.trunk is not None else None
    return 0 if trunk is None else trunk.steps


class _Costs:
    """Seconds and bytes of one run, handed out to its rows so that each part is counted once."""

    def __init__(self, run: Training, estimator: Estimator) -> None:
        self.run, self.estimator = run, estimator
        self.reached, self.bytes_to = run.done, 0
        self.unscored = {*run.missing, *run.gone}

    def take(self, steps: int) -> tuple[float, float, int]:
        """Seconds, FLOPs and bytes that reaching ``steps``, all scored, adds to what earlier rows reach."""
        seconds = segment_seconds(self.run, self.estimator, self.reached, steps)
        scoring = {step for step in self.unscored if step <= steps}
        seconds += sum(rescore_seconds(self.run, self.estimator, step) for step in scoring)
        self.unscored -= scoring
        flops = 0.0 if self.run.diverged else flops_between(self.run.config, self.reached, steps)
        total = disk_bytes(self.run.config, steps, _start(self.run), self.run.branches) if steps > 0 else 0
        added = max(0, total - self.bytes_to)
        self.reached, self.bytes_to = max(self.reached, steps), max(self.bytes_to, total)
        return seconds, flops, added


def segment_seconds(run: Training, estimator: Estimator, start: int, stop: int) -> float:
    """Seconds of steps ``start`` (exclusive) to ``stop`` of a run, evaluations included."""
    if run.diverged or stop <= start:
        return 0.0
    count = sum(start < step <= stop for step in evaluation_grid(run.config))
    return estimator.training_seconds(run.config, stop - start) + estimator.evaluation_seconds(
        run.config, count
    )


def rescore_seconds(run: Training, estimator: Estimator, step: int) -> float:
    """Seconds of an evaluation added at ``step``, the training that brings its weights back included."""
    again = step - run.gone.get(step, step)
    return estimator.training_seconds(run.config, again) + estimator.evaluation_seconds(run.config, 1)


def _row(
    group: list[EndPoint],
    runs: dict[str, Training],
    costs: dict[str, _Costs],
    estimator: Estimator,
    blocked: dict[str, str],
) -> PlanRow:
    point = group[0]
    config, run = point.config, runs[point.run]
    counted = config.counts
    tokens = config.steps * config.tokens_per_step
    unique = unique_tokens(config)
    seconds, flops, disk, start = 0.0, 0.0, 0, _start(run)
    progress = standing_of(config.steps, run.commit, blocked=point.run in blocked)
    done = max(run.done, min(start, runs[run.trunk].done)) if run.trunk is not None else run.done
    if run.trunk is not None and run.done < start:
        seconds, flops, disk = costs[run.trunk].take(start)
        costs[point.run].reached = max(costs[point.run].reached, start)
    own_seconds, own_flops, own_disk = costs[point.run].take(config.steps)
    return PlanRow(
        key=point.key,
        run=point.run,
        trunk=run.trunk,
        sweeps=tuple(dict.fromkeys(p.sweep for p in group)),
        cell=point.cell,
        axes=point.axes,
        seed=point.seed,
        objective=config.objective.name,
        steps=config.steps,
        requested=point.requested,
        N=counted.total,
        N_embedding=counted.embedding,
        D=tokens,
        U=unique,
        epochs=None if unique is None else tokens / unique,
        flops=tokens * matmul_flops(config),
        flops_6nd=six_nd(config, tokens),
        flops_to_go=0.0 if point.run in blocked else flops + own_flops,
        trained=min(1.0, done / config.steps),
        seconds=0.0 if point.run in blocked else seconds + own_seconds,
        memory_bytes=estimator.memory_bytes(config),
        disk_bytes=disk + own_disk,
        state=planned_standing(progress, config.steps, run.missing, run.gone),
    )


def _tasks(runs: dict[str, Training], estimator: Estimator, blocked: dict[str, str]) -> Iterable[PlannedTask]:
    """Data, then runs after their trunks and parents, then evaluations to add."""
    prepared: dict[str, str] = {}
    todo = {
        key: run
        for key, run in runs.items()
        if key not in blocked
        and not run.diverged
        and run.done < run.furthest
        and not _trunk_served(key, runs)
    }
    for run in todo.values():
        data = digest(run.config.data.identity())
        if data not in prepared:
            prepared[data] = f"prepare:{data}"
            yield PlannedTask(prepared[data], "prepare", run.config, title=_data_title(run.config))
    for key, run in todo.items():
        needs = [prepared[digest(run.config.data.identity())]]
        parent = run.config.init.run if isinstance(run.config.init, Parent) else None
        needs += [f"train:{other}" for other in (run.trunk, parent) if other in todo]
        start = run.done
        if run.trunk is not None:
            start = max(start, run.config.trunk().steps)  # type: ignore[union-attr]
        yield PlannedTask(
            f"train:{key}",
            "train",
            run.config,
            tuple(needs),
            segment_seconds(run, estimator, start, run.furthest),
            estimator.memory_bytes(run.config),
            key,
            tuple(point.key for points in run.ends.values() for point in points[:1]),
            tuple(sorted(run.branches)),
            title=_title(run),
        )
    for key, run in runs.items():
        needs_training = (f"train:{key}",) if key in todo else ()
        passes = [(step,) for step in sorted(run.missing)] + ([tuple(sorted(run.gone))] if run.gone else [])
        for steps in passes:
            yield PlannedTask(
                f"rescore:{run.config.evaluation_key(steps[0])}",
                "rescore",
                run.config,
                needs_training,
                sum(rescore_seconds(run, estimator, step) for step in steps),
                0,
                key,
                tuple(points[0].key for end, points in run.ends.items() if steps[0] <= end),
                steps=steps,
                title=f"{_title(run)} @{'+'.join(map(str, steps[:3]))}{'...' if len(steps) > 3 else ''}",
            )


def _trunk_served(key: str, runs: dict[str, Training]) -> bool:
    """Whether a trunk is needed no more: nobody reads it, and all its branches are past it."""
    run = runs[key]
    users = [other for other in runs.values() if other.trunk == key]
    return not run.ends and bool(users) and all(u.done >= u.config.trunk().steps for u in users)  # type: ignore[union-attr]


def _title(run: Training) -> str:
    point = next((points[0] for points in run.ends.values()), None)
    return f"{point.cell} seed={point.seed}" if point is not None else f"trunk {run.config.objective.name}"


def _data_title(config: RunConfig) -> str:
    amount = config.data.unique_tokens or config.data.unique_bytes
    data = config.data
    return f"data {data.corpus.name} {amount or 'all'} {data.quality.name} seed={data.subset_seed}"


def _samples(store: Store | None, runs: dict[str, Training]) -> list[Sample]:
    """Speeds that the store knows: those of the sweeps' own runs first, then those of others."""
    if store is None:
        return []
    own = [key for key, run in runs.items() if run.commit is not None]
    others = store.run_keys() if len(own) < CALIBRATION_RUNS else []
    samples: list[Sample] = []
    for key in list(dict.fromkeys([*own, *others]))[:CALIBRATION_RUNS]:
        try:
            folder = store.run(key)
            speed = sample(folder.config(), folder.telemetry())
        except (OSError, ValueError):
            continue
        if speed is not None:
            samples.append(speed)
    return samples
