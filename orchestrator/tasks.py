"""From end points to tasks: which data must be prepared, which runs trained and how far, and what waits for what. Pure but for
looking at what the store holds already."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.metrics import title
from orchestrator.scheduler import Resources, Task
from orchestrator.store import Store
from trainers.config import Parent, RunConfig

if TYPE_CHECKING:
    from orchestrator.expand import EndPoint


@dataclass
class Run:
    """A run as the sweeps together want it: its config at the furthest end, and what else must be kept on the way."""

    config: RunConfig
    sweeps: set[str] = field(default_factory=set)
    branch_steps: set[int] = field(default_factory=set)
    parents: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        return self.config.training_key

    def extend(self, config: RunConfig) -> None:
        if config.steps > self.config.steps:
            self.config = config


def runs_of(end_points: Iterable[EndPoint]) -> dict[str, Run]:
    """Every run that the end points need, trunks included, by training key."""
    runs: dict[str, Run] = {}

    def want(config: RunConfig, sweep: str) -> Run:
        run = runs.setdefault(config.training_key, Run(config))
        run.extend(config)
        run.sweeps.add(sweep)
        return run

    for point in end_points:
        run = want(point.config, point.sweep)
        trunk = point.config.trunk()
        if trunk is not None:
            stem = want(trunk, point.sweep)
            stem.branch_steps.add(trunk.steps)
            run.parents.add(stem.key)
    for run in list(runs.values()):
        init = run.config.init
        if isinstance(init, Parent):
            run.parents.add(init.run)
            if init.run in runs:
                runs[init.run].branch_steps.add(init.step)
    return runs


def data_key(config: RunConfig) -> str:
    """Key of the task that prepares a run's data; runs that read the same sequences share it."""
    from trainers.data import subset_digest

    return f"data-{subset_digest(config.data)}-{config.data.context}"


def position(store: Store, key: str) -> tuple[int, str]:
    """(step, state) of the newest commit; (0, "new") where there is none."""
    from trainers.folder import RunFolder

    commit = RunFolder(store.run(key)).last_commit()
    return (commit.step, commit.state) if commit is not None else (0, "new")


def finished(store: Store, config: RunConfig) -> bool:
    """Nothing is left to train: the run is at its end, or diverged on the way."""
    step, state = position(store, config.training_key)
    return step >= config.steps or state == "diverged"


def to_train(runs: dict[str, Run], store: Store, seconds: Callable[[RunConfig], float]) -> list[Task]:
    """Tasks of everything that is not done: preparations, then runs. ``seconds``: a run's whole training, estimated."""
    open_runs = {key: run for key, run in runs.items() if not finished(store, run.config)}
    tasks: dict[str, Task] = {}
    for key, run in open_runs.items():
        config = run.config
        data = data_key(config)
        if data not in tasks:
            payload = {"data": config.data.model_dump(mode="json"), "data_root": str(store.data)}
            tasks[data] = Task(data, "prepare", seconds=1.0, title="data", payload=payload)
        done, _ = position(store, key)
        share = 1 - min(done / config.steps, 1.0)
        resources = Resources(config.resources.threads, config.resources.gpus)
        payload = {
            "config": config.model_dump(mode="json"),
            "folder": str(store.run(key)),
            "data_root": str(store.data),
            "branch_steps": sorted(run.branch_steps),
        }
        needs = (data, *sorted(parent for parent in run.parents if parent in open_runs))
        tasks[key] = Task(
            key,
            "train",
            needs=needs,
            seconds=max(seconds(config) * share, 0.1),
            resources=resources,
            batch=config.resources.micro_batch or config.batch_size,
            title=title(config),
            payload=payload,
        )
    return list(tasks.values())


def to_rescore(wanted: Iterable[tuple[str, int]], runs: dict[str, Run], store: Store, known: set[str]) -> list[Task]:
    """Tasks that score these (run, step) precisely, one a run and round; ``known`` are the keys of tasks there have been."""
    steps: dict[str, list[int]] = {}
    for key, step in wanted:
        steps.setdefault(key, []).append(step)
    tasks = []
    for key, todo in sorted(steps.items()):
        task = f"rescore-{key}-{'-'.join(map(str, sorted(todo)))}"
        if task in known:
            continue
        resources = runs[key].config.resources
        payload = {"folder": str(store.run(key)), "steps": sorted(todo), "data_root": str(store.data)}
        tasks.append(
            Task(task, "rescore", seconds=float(len(todo)), resources=Resources(resources.threads, resources.gpus),
                 title=f"precise {title(runs[key].config)}", payload=payload)  # fmt: skip
        )
    return tasks
