"""What a worker can be told to do, and how it is told: four frozen types that cross processes as plain JSON.

A job says what is to be done, whoever does it. A :class:`Dispatch` is a job on its way to one worker.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.execution.share import Share
from orchestrator.failures import Failure, Outcome
from orchestrator.store.store import Store
from trainers.components.component import Frozen
from trainers.config import DataConfig, EvaluationConfig, RunConfig

Json = dict[str, Any]


class Prepare(Frozen):
    """Prepare the data of a run in the store."""

    kind: Literal["prepare"] = "prepare"
    store: str = Field(description="Address of the store.")
    data: DataConfig

    def run(self, dispatch: Dispatch) -> Outcome:
        from orchestrator.language.derived.supply import fell_short
        from trainers.data import prepare

        store = Store.at(self.store)
        dataset = prepare(self.data, store.fetch(self.data))
        store.publish(self.data)
        message = fell_short(self.data, dataset.manifest) or ""
        return Outcome(dispatch.task, "done", message=message)


class Train(Frozen):
    """Train a run to the end of its config. ``branch_steps`` are where other runs will start from it."""

    kind: Literal["train"] = "train"
    store: str
    config: RunConfig
    branch_steps: tuple[int, ...] = ()

    def run(self, dispatch: Dispatch) -> Outcome:
        from trainers.machine.workers import ALONE

        share = self.share(dispatch)
        if share.config.resources.n_workers == 1:
            result = share.train(ALONE)
        else:
            from orchestrator.execution import ray_train

            result = ray_train.train(share, dispatch.task)
        if result.state == "diverged":
            message = f"diverged at step {result.step}"
            return Outcome(dispatch.task, "failed", Failure.DIVERGED, message, progress=result.step)
        state: Literal["done", "stopped"] = "done" if result.state == "done" else "stopped"
        return Outcome(dispatch.task, state, progress=result.step)

    def share(self, dispatch: Dispatch) -> Share:
        """What each worker of the run is given."""
        config = self.config
        if dispatch.micro_batch is not None:
            resources = config.resources.model_copy(update={"micro_batch": dispatch.micro_batch})
            config = config.model_copy(update={"resources": resources})
        return Share(
            store=self.store,
            config=config,
            branch_steps=self.branch_steps,
            flags=dispatch.flags,
            progress=dispatch.progress,
        )


class Evaluate(Frozen):
    """Evaluate a run at ``steps``, beside its own evaluations.

    ``precise`` draws until the Monte-Carlo error is small enough for a verdict. ``replay`` trains up to a
    step whose weights are gone.
    """

    kind: Literal["evaluate"] = "evaluate"
    store: str
    key: str = Field(description="Training key of the run.")
    steps: tuple[int, ...]
    evaluation: EvaluationConfig
    precise: bool
    replay: bool

    def run(self, dispatch: Dispatch) -> Outcome:
        from trainers.evaluation.grid import task_steps
        from trainers.run.rescoring import examine, rescore

        store = Store.at(self.store)
        run = store.run(self.key)
        root = store.fetch(run.config().data)
        rescore(
            run,
            self.steps,
            evaluation=self.evaluation,
            precise=self.precise,
            replay=self.replay,
            data_root=root,
        )
        config = run.config()
        if not config.schedule.depends_on_end:  # the run may have been trained beyond its first end
            config = config.model_copy(update={"steps": max(self.steps)})
        for task in () if self.precise else self.evaluation.tasks:
            due = task_steps(config, task, self.evaluation)
            steps = [step for step in self.steps if step in due]
            examine(run, steps, [task], replay=self.replay, data_root=root)
        return Outcome(dispatch.task, "done")


class Decode(Frozen):
    """Compute the exact likelihood of a masked-diffusion run under decoding orders, at one step."""

    kind: Literal["decode"] = "decode"
    store: str
    key: str
    step: int
    sequences: int

    def run(self, dispatch: Dispatch) -> Outcome:
        from trainers.run.rescoring import decode

        store = Store.at(self.store)
        run = store.run(self.key)
        decode(run, self.step, sequences=self.sequences, data_root=store.fetch(run.config().data))
        return Outcome(dispatch.task, "done")


Job = Annotated[Prepare | Train | Evaluate | Decode, Field(discriminator="kind")]


class Dispatch(Frozen):
    """A job as it is sent to a worker.

    ``micro_batch`` is None unless an earlier attempt ran out of memory. The worker replaces the control
    object ``progress`` of the store to show that it lives, and stops at a checkpoint once one of the control
    objects ``flags`` is there.
    """

    task: str = Field(description="Key of the scheduler's task.")
    job: Job
    micro_batch: int | None = None
    flags: tuple[str, ...] = ()
    progress: str = ""

    def to_json(self) -> Json:
        """Plain JSON values, for the wire."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Json) -> Dispatch:
        """The inverse of :meth:`to_json`. Raises ``pydantic.ValidationError``."""
        return cls.model_validate(value)

    @property
    def committed(self) -> int:
        """Step of the newest commit of the run that the job trains; 0 where it trains none or has none."""
        if not isinstance(self.job, Train):
            return 0
        commit = Store.at(self.job.store).run(self.job.config.training_key).last_commit()
        return commit.step if commit else 0
