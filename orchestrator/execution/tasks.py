"""A plan's tasks in the scheduler's terms: what each holds while it runs, and its worker's job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.execution.capacity import Capacity
from orchestrator.execution.jobs import Decode, Evaluate, Job, Prepare, Train
from orchestrator.execution.scheduler import ScheduledTask
from orchestrator.planning.titles import title
from orchestrator.planning.trainings import Training
from orchestrator.store.store import Store
from trainers.config import RunConfig

if TYPE_CHECKING:
    from orchestrator.planning import plans as planning

LEAST_SECONDS = 0.1
LEAST_PRECISE_DRAWS = 8
"""Fewer draws are a curve's; a value that a verdict rests on has more, whatever its error came to."""


def finished(store: Store, config: RunConfig) -> bool:
    """Nothing is left to train: the run is at its end, or diverged on the way."""
    commit = store.run(config.training_key).last_commit()
    return commit is not None and (commit.step >= config.steps or commit.state == "diverged")


def of_plan(plan: planning.Plan, store: Store) -> list[ScheduledTask]:
    """Everything that a plan leaves to do. The key of a training task is the run's training key."""
    return [_task(task, store) for task in plan.tasks]


def _task(task: planning.PlannedTask, store: Store) -> ScheduledTask:
    config, address = task.config, store.address
    needs = tuple(need.removeprefix("train:") for need in task.needs)
    seconds = max(task.seconds, LEAST_SECONDS)
    job: Job
    if task.kind == "prepare":
        job = Prepare(store=address, data=config.data)
        return ScheduledTask(task.key, "prepare", needs, seconds, title=task.title, job=job)
    if task.run is None:
        raise ValueError(f"task {task.key} trains or scores no run")
    if task.kind == "rescore":
        job = Evaluate(
            store=address,
            key=task.run,
            steps=task.steps,
            evaluation=config.evaluation,
            precise=False,
            replay=True,
        )
        return ScheduledTask(
            task.key, "evaluate", needs, seconds, _resources(config), title=task.title, job=job
        )
    workers = config.resources.n_workers
    return ScheduledTask(
        task.run,
        "train",
        needs,
        seconds,
        _resources(config, workers),
        batch=config.resources.micro_batch or config.batch_size // workers,
        workers=workers,
        title=title(config),
        job=Train(store=address, config=config, branch_steps=task.branch_steps),
    )


def to_evaluate(
    requests: Iterable[tuple[str, int]],
    trainings: Mapping[str, Training],
    store: Store,
    *,
    replay: bool = False,
) -> list[ScheduledTask]:
    """Tasks that score these (run, step) precisely, as their configs in ``trainings`` ask, one a run. Left
    out: what is scored already as precisely as it can be, and steps whose weights are not kept, unless
    ``replay`` trains up to them again."""
    steps: dict[str, set[int]] = {}
    for key, step in requests:
        steps.setdefault(key, set()).add(step)
    tasks = []
    for key, requested in sorted(steps.items()):
        config, folder = trainings[key].config, store.run(key)
        commit, evaluation = folder.last_commit(), config.evaluation.identity()
        scored = {
            s["event"]["step"]
            for s in folder.scores()
            if s["evaluation"] == evaluation and _is_precise(s["event"])
        }
        kept = set(commit.checkpoints) if commit is not None else set()
        if commit is not None and commit.trunk is not None:
            kept |= {step for step in requested if step <= commit.trunk.step}
        left = sorted((requested if replay else requested & kept) - scored)
        if left:
            job = Evaluate(
                store=store.address,
                key=key,
                steps=tuple(left),
                evaluation=config.evaluation,
                precise=True,
                replay=replay,
            )
            name, heading = f"precise:{key}@{'+'.join(map(str, left))}", f"precise {title(config)}"
            resources = _resources(config)
            tasks.append(
                ScheduledTask(name, "evaluate", (), float(len(left)), resources, title=heading, job=job)
            )
    return tasks


def to_decode(
    requests: Iterable[tuple[str, int]], trainings: Mapping[str, Training], store: Store, sequences: int
) -> list[ScheduledTask]:
    """Tasks that score these (run, step) under decoding orders, less what is there or has no weights."""
    tasks = []
    for key, step in sorted(requests):
        config, folder = trainings[key].config, store.run(key)
        commit, scored = folder.last_commit(), min(sequences, config.evaluation.sequences)
        done = {
            s["event"]["step"] for s in folder.scores("decoding") if len(s["event"]["scores"]["b"]) == scored
        }
        if commit is None or step not in commit.checkpoints or step in done:
            continue
        job = Decode(store=store.address, key=key, step=step, sequences=scored)
        name, heading = f"decode:{key}@{step}", f"decoding {title(config)}"
        tasks.append(ScheduledTask(name, "decode", (), 2.0, _resources(config), title=heading, job=job))
    return tasks


def _is_precise(event: dict[str, Any]) -> bool:
    """Scored until precise, or until the draws ran out, not as on curves."""
    return event["kind"] == "exact" or event["draws"] >= LEAST_PRECISE_DRAWS


def _resources(config: RunConfig, workers: int = 1) -> Capacity:
    """What ``workers`` of a run hold; one of them is enough to score."""
    resources = config.resources
    return Capacity(resources.threads * workers, resources.gpus * workers / resources.n_workers)
