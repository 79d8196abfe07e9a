"""Every failure class has exactly one policy, and exceptions find their class."""

from __future__ import annotations

import errno

import pytest
import torch
from ray.exceptions import WorkerCrashedError

from orchestrator.failures import POLICIES, Failure, Outcome, classify, failed
from trainers.components.errors import MissingParent, Superseded, UserError
from trainers.machine.allocator import allocation_errors


def test_every_class_has_a_policy() -> None:
    assert set(POLICIES) == set(Failure)


class ErrorWithAnId(ValueError):
    """What some other part of a program raises."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), Failure.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA"), Failure.OUT_OF_MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), Failure.OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), Failure.DISK_FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), Failure.DISK_FULL),
        (WorkerCrashedError(), Failure.PREEMPTED),
        (Superseded("by a newer one"), Failure.PREEMPTED),
        (KeyboardInterrupt(), Failure.PREEMPTED),
        (FileNotFoundError(2, "no such file", "text.txt"), Failure.USER_ERROR),
        (UserError("evaluation.sequences: 900 requested, and half 'a' holds 500"), Failure.USER_ERROR),
        (MissingParent("run 0 has no checkpoint"), Failure.USER_ERROR),
        (ValueError("shape: 3 by 4 is not 4 by 3"), Failure.CODE_ERROR),
        (RuntimeError("out of memory, said a plug-in"), Failure.CODE_ERROR),
        (ErrorWithAnId("data.corpus: gone"), Failure.CODE_ERROR),
        (ValueError("operands could not be broadcast"), Failure.CODE_ERROR),
        (ZeroDivisionError(), Failure.CODE_ERROR),
        (RuntimeError("shape mismatch"), Failure.CODE_ERROR),
    ],
)
def test_classes(error: BaseException, expected: Failure) -> None:
    assert classify(error) is expected


def test_the_cause_decides() -> None:
    def save() -> None:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as error:
            raise RuntimeError("checkpoint failed") from error

    with pytest.raises(RuntimeError) as caught:
        save()
    assert classify(caught.value) is Failure.DISK_FULL


def test_torch_without_memory_on_a_cpu_is_out_of_memory() -> None:
    with pytest.raises(MemoryError) as caught, allocation_errors():
        torch.empty(10**15)
    assert classify(caught.value) is Failure.OUT_OF_MEMORY
    with pytest.raises(RuntimeError, match="shapes"), allocation_errors():
        torch.ones(2, 3) @ torch.ones(2, 3)


def test_fingerprints_are_of_the_place_not_of_the_message() -> None:
    def broken(value: int) -> None:
        raise ValueError(f"bad {value}")

    outcomes = []
    for value in range(2):
        with pytest.raises(ValueError) as caught:
            broken(value)
        outcomes.append(failed("t", caught.value))
    assert outcomes[0].fingerprint == outcomes[1].fingerprint
    assert outcomes[0].message != outcomes[1].message
    assert "bad 0" in outcomes[0].traceback


def test_an_outcome_names_its_failure_exactly_where_it_failed() -> None:
    with pytest.raises(ValueError, match="names its failure"):
        Outcome("t", "failed")
    with pytest.raises(ValueError, match="names its failure"):
        Outcome("t", "done", Failure.HANG)


def test_delays_double_up_to_the_longest_however_long_it_lasts() -> None:
    policy = POLICIES[Failure.TRACKER_AWAY]
    assert [policy.wait(n) for n in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert policy.wait(100_000) == policy.longest_delay  # a tracker that was away for weeks
