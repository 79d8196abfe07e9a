"""Plans are made here: from sweeps, or from their expansions, and what a store holds.

Reads the store's run folders and writes nothing; needs neither torch nor Ray nor MLflow. The work is
linear in the end points.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.language.derived.budgets import unique_tokens
from orchestrator.language.expansion import EndPoint, Expansion
from orchestrator.language.spec import SweepSpec
from orchestrator.planning.estimate import Estimator, Sample, sample
from orchestrator.planning.plans import Plan, PlannedTask, PlanRow
from orchestrator.planning.pricing import Costs
from orchestrator.planning.standing import planned_standing, standing_of
from orchestrator.planning.trainings import Training, blocked_by, collect, read
from orchestrator.store.store import Store
from trainers.components.component import digest, identity_of, remembered_identities
from trainers.components.source import Issue, SpecError
from trainers.config import DataConfig, Parent, RunConfig

CALIBRATION_RUNS = 60
"""How many run folders' telemetry is read at most."""


def make_plan(
    sweeps: Sequence[SweepSpec | Expansion],
    store: Store | str | os.PathLike[str] | None = None,
    estimator: Estimator | None = None,
) -> Plan:
    """The plan of these sweeps against a store (or its address; None for an empty one).

    A sweep that is expanded already is not expanded again. Raises SpecError with the errors of all of them.
    """
    expansions = expanded(sweeps)
    opened = Store.at(store) if isinstance(store, str | os.PathLike) else store
    with remembered_identities():
        trainings = collect(point for expansion in expansions for point in expansion.points)
        if opened is not None:
            trainings = {key: read(training, opened.run(key)) for key, training in trainings.items()}
        if estimator is None:
            estimator = Estimator(_samples(opened, trainings))
        draft = _Draft(trainings, blocked_by(trainings, opened), estimator)
        groups: dict[str, list[EndPoint]] = defaultdict(list)
        for expansion in expansions:
            for point in expansion.points:
                groups[point.key].append(point)
        return Plan(
            tuple(expansions),
            tuple(draft.row(group) for group in groups.values()),
            tuple(draft.tasks()),
            trainings,
            tuple(_warnings(expansions, draft.blocked)),
            sum(
                costs.flops(costs.training.start, costs.training.config.steps)
                for costs in draft.costs.values()
            ),
        )


def expanded(sweeps: Sequence[SweepSpec | Expansion]) -> list[Expansion]:
    """The expansions of these sweeps. Raises SpecError with the errors of all of them."""
    expansions: list[Expansion] = []
    issues: list[Issue] = []
    for sweep in sweeps:
        try:
            expansions.append(sweep if isinstance(sweep, Expansion) else Expansion.of(sweep))
        except SpecError as error:
            issues += error.issues
    if issues:
        raise SpecError(issues)
    return expansions


def _warnings(expansions: Sequence[Expansion], blocked: Mapping[str, str]) -> Iterator[str]:
    """What is to be said of the sweeps, of their cells, and of runs that cannot start; each once."""
    warnings: dict[str, None] = {}
    for expansion in expansions:
        name = expansion.spec.name
        texts = dict.fromkeys(text for point in expansion.points for text in point.warnings)
        texts |= dict.fromkeys(f"{i.key}: {i.message}" for point in expansion.points for i in point.lacking)
        warnings |= dict.fromkeys(f"{name}: {text}" for text in (*expansion.warnings, *texts))
    yield from warnings
    yield from (f"run {key}: blocked: {why}" for key, why in blocked.items())


class _Draft:
    """A plan in the making: the trainings, and what of their costs is handed out already."""

    def __init__(
        self, trainings: Mapping[str, Training], blocked: Mapping[str, str], estimator: Estimator
    ) -> None:
        self.trainings, self.blocked, self.estimator = trainings, blocked, estimator
        self.costs = {key: Costs(training, estimator) for key, training in trainings.items()}
        self._data: dict[DataConfig, str] = {}

    def row(self, group: Sequence[EndPoint]) -> PlanRow:
        """The row of end points of one key."""
        point = group[0]
        config, training, costs = point.config, self.trainings[point.run], self.costs[point.run]
        kind = self.estimator.kind(config)
        tokens = config.steps * kind.tokens_per_step
        unique = unique_tokens(config)
        seconds, flops, disk, done, start = 0.0, 0.0, 0, training.done, training.start
        if training.trunk is not None:
            done = max(done, min(start, self.trainings[training.trunk].done))
            if training.done < start:
                seconds, flops, disk = self.costs[training.trunk].take(start)
                costs.reached = max(costs.reached, start)
        own_seconds, own_flops, own_disk = costs.take(config.steps)
        blocked = point.run in self.blocked
        progress = standing_of(config.steps, training.commit, blocked=blocked)
        return PlanRow(
            key=point.key,
            run=point.run,
            trunk=training.trunk,
            sweeps=tuple(dict.fromkeys(p.sweep for p in group)),
            cell=point.cell,
            axes=point.axes,
            seed=point.seed,
            objective=config.objective.name,
            steps=config.steps,
            requested=point.requested,
            N=kind.parameters.total,
            N_embedding=kind.parameters.embedding,
            D=tokens,
            U=unique,
            epochs=None if unique is None else tokens / unique,
            flops=tokens * kind.flops_per_token,
            flops_6nd=kind.six_n * tokens,
            flops_to_go=0.0 if blocked else flops + own_flops,
            trained=min(1.0, done / config.steps),
            seconds=0.0 if blocked else seconds + own_seconds,
            memory_bytes=kind.memory_bytes,
            disk_bytes=disk + own_disk,
            state=planned_standing(progress, config.steps, training.missing, training.gone),
        )

    def tasks(self) -> Iterator[PlannedTask]:
        """Data, then runs after their trunks and parents, then evaluations to add."""
        served = _served(self.trainings)
        todo = {
            key: training
            for key, training in self.trainings.items()
            if key not in self.blocked
            and not training.diverged
            and training.done < training.config.steps
            and key not in served
        }
        prepared: dict[str, RunConfig] = {}
        for training in todo.values():
            prepared.setdefault(self._prepare(training.config.data), training.config)
        for key, config in prepared.items():
            yield PlannedTask(key, "prepare", config, title=_data_title(config))
        for key, training in todo.items():
            yield self._training_task(key, training, todo)
        for key, training in self.trainings.items():
            yield from self._rescore_tasks(key, training, (f"train:{key}",) if key in todo else ())

    def _training_task(self, key: str, training: Training, todo: Mapping[str, Training]) -> PlannedTask:
        init = training.config.init
        parents = (training.trunk, init.run if isinstance(init, Parent) else None)
        costs = self.costs[key]
        return PlannedTask(
            f"train:{key}",
            "train",
            training.config,
            (self._prepare(training.config.data), *(f"train:{other}" for other in parents if other in todo)),
            costs.segment_seconds(max(training.done, training.start), training.config.steps),
            costs.kind.memory_bytes,
            key,
            tuple(points[0].key for points in training.ends.values()),
            tuple(sorted(training.branches)),
            title=_title(training),
        )

    def _rescore_tasks(self, key: str, training: Training, needs: tuple[str, ...]) -> Iterator[PlannedTask]:
        passes: list[tuple[int, ...]] = [(step,) for step in sorted(training.missing)]
        passes += [tuple(sorted(training.gone))] if training.gone else []
        for steps in passes:
            yield PlannedTask(
                f"rescore:{training.config.evaluation_key(steps[0])}",
                "rescore",
                training.config,
                needs,
                sum(map(self.costs[key].rescore_seconds, steps)),
                0,
                key,
                tuple(points[0].key for end, points in training.ends.items() if steps[0] <= end),
                steps=steps,
                title=f"{_title(training)} @{'+'.join(map(str, steps[:3]))}{'...' if len(steps) > 3 else ''}",
            )

    def _prepare(self, data: DataConfig) -> str:
        """Key of the task that prepares this data."""
        try:
            if data not in self._data:
                self._data[data] = f"prepare:{digest(identity_of(data))}"
            return self._data[data]
        except TypeError:  # a component with a field that cannot be hashed
            return f"prepare:{digest(identity_of(data))}"


def _served(trainings: Mapping[str, Training]) -> set[str]:
    """Trunks that are needed no more: no end point reads them, and all their branches are past them."""
    waiting = {run.trunk for run in trainings.values() if run.trunk is not None and run.done < run.start}
    used = {run.trunk for run in trainings.values()}
    return {key for key, run in trainings.items() if key in used and key not in waiting and not run.ends}


def _title(training: Training) -> str:
    point = next((points[0] for points in training.ends.values()), None)
    if point is None:
        return f"trunk {training.config.objective.name}"
    return f"{point.cell} seed={point.seed}"


def _data_title(config: RunConfig) -> str:
    amount = config.data.unique_tokens or config.data.unique_bytes
    data = config.data
    return f"data {data.corpus.name} {amount or 'all'} {data.quality.name} seed={data.subset_seed}"


def _samples(store: Store | None, trainings: Mapping[str, Training]) -> list[Sample]:
    """Speeds that the store knows: those of the sweeps' own runs first, then those of others."""
    if store is None:
        return []
    own = [key for key, training in trainings.items() if training.commit is not None]
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
