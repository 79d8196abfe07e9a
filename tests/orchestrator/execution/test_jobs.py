"""Jobs cross to a worker as plain JSON and come back the same; a worker answers whatever it is sent."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from orchestrator.execution import worker
from orchestrator.execution.jobs import Decode, Dispatch, Evaluate, Job, Prepare, Train
from orchestrator.failures import Failure
from trainers.config import DataConfig, EvaluationConfig, RunConfig

CONFIG = RunConfig(objective="masked_diffusion", data={"unique_bytes": 5000})
JOBS: list[Job] = [
    Prepare(store="s", data=DataConfig(corpus={"name": "markov", "documents_held": 50})),
    Train(store="s", config=CONFIG, branch_steps=(3, 7)),
    Evaluate(
        store="s", key="k", steps=(4,), evaluation=EvaluationConfig(draws=3), precise=True, replay=False
    ),
    Decode(store="s", key="k", step=4, sequences=2),
]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.kind)
def test_a_job_is_the_same_on_the_other_side(job: Job) -> None:
    sent = Dispatch(task="t", job=job, micro_batch=2, flags=("stop",), progress="progress")
    received = Dispatch.from_json(json.loads(json.dumps(sent.to_json())))
    assert received == sent and type(received.job) is type(job)


def test_the_micro_batch_of_an_attempt_reaches_the_workers_and_leaves_the_key() -> None:
    job = Train(store="s", config=CONFIG)
    share = job.share(Dispatch(task="t", job=job, micro_batch=2))
    assert share.config.resources.micro_batch == 2
    assert share.config.training_key == CONFIG.training_key


def test_a_job_that_nobody_knows_is_refused() -> None:
    value = {"task": "t", "job": {"kind": "rescore", "store": "s"}}
    with pytest.raises(ValidationError, match="'prepare', 'train', 'evaluate', 'decode'"):
        Dispatch.from_json(value)
    result = worker.outcome(worker.execute(value))
    assert (result.task, result.failure) == ("t", Failure.USER_ERROR)


def test_what_goes_wrong_in_a_job_is_its_outcome(tmp_path: object) -> None:
    job = Decode(store=str(tmp_path), key="0" * 16, step=4, sequences=2)
    result = worker.outcome(worker.execute(Dispatch(task="t", job=job).to_json()))
    assert (result.state, result.failure) == ("failed", Failure.USER_ERROR)
