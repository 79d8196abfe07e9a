"""The scheduler is pure: a fake clock and a fake backend exercise every policy in milliseconds."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.execution.capacity import Capacity
from orchestrator.execution.scheduler import FINAL, ScheduledTask, Scheduler, State
from orchestrator.failures import POLICIES, Failure, Outcome


def train(
    key: str, *needs: str, seconds: float = 1.0, cpus: float = 1.0, gpus: float = 0.0, batch: int = 8
) -> ScheduledTask:
    return ScheduledTask(key, "train", needs, seconds, Capacity(cpus, gpus), batch)


def fail(key: str, failure: Failure, fingerprint: str = "", progress: int = 0) -> Outcome:
    return Outcome(key, "failed", failure, "why", fingerprint=fingerprint, progress=progress)


def keys(attempts: list) -> list[str]:
    return [attempt.task.key for attempt in attempts]


def test_longest_first_and_no_more_than_fit() -> None:
    scheduler = Scheduler([train("a", seconds=1), train("b", seconds=3), train("c", seconds=2)], Capacity(2))
    assert keys(scheduler.start(0)) == ["b", "c"]
    assert scheduler.start(0) == []
    scheduler.finish(Outcome("c", "done"), 1)
    assert keys(scheduler.start(1)) == ["a"]


def test_a_short_parent_of_a_long_chain_goes_first() -> None:
    scheduler = Scheduler(
        [train("child", "parent", seconds=50), train("parent", seconds=1), train("other", seconds=20)],
        Capacity(1),
    )
    assert keys(scheduler.start(0)) == ["parent"]
    scheduler.finish(Outcome("parent", "done"), 1)
    assert keys(scheduler.start(1)) == ["child"]


def test_a_large_task_is_not_starved_and_leaves_other_resources_usable() -> None:
    tasks = [train("small1", seconds=30), train("large", seconds=20, cpus=2), train("small2", seconds=10)]
    scheduler = Scheduler(tasks, Capacity(2, 1))
    assert keys(scheduler.start(0)) == [
        "small1"
    ]  # `large` waits for both cores, and `small2` may not take the second
    scheduler.add([train("card", seconds=5, cpus=0, gpus=1)])
    assert keys(scheduler.start(0)) == ["card"]
    scheduler.finish(Outcome("small1", "done"), 1)
    assert keys(scheduler.start(1)) == ["large"]


def test_what_can_never_fit_fails_at_once_and_blocks_its_children() -> None:
    scheduler = Scheduler(
        [train("big", cpus=8), train("child", "big"), train("fine")], Capacity(float("inf"))
    )
    scheduler.resize(Capacity(2))
    assert scheduler.state("big") is State.FAILED
    assert "at most 2" in scheduler.outcome("big").message  # type: ignore[union-attr]
    assert scheduler.state("child") is State.BLOCKED
    assert keys(scheduler.start(0)) == ["fine"]


def test_out_of_memory_halves_the_micro_batch_down_to_one() -> None:
    scheduler = Scheduler([train("a", batch=5)], Capacity(1))
    tried = []
    for now in range(10):
        started = scheduler.start(now)
        if not started:
            break
        tried.append(started[0].micro_batch)
        scheduler.finish(fail("a", Failure.OUT_OF_MEMORY), now)
    assert tried == [None, 3, 2, 1]
    assert scheduler.state("a") is State.FAILED


def test_preemption_is_forgiven_as_long_as_the_run_gets_further() -> None:
    scheduler = Scheduler([train("a")], Capacity(1))
    now = 0.0
    for progress in range(1, 20):
        assert scheduler.start(now), progress
        scheduler.finish(fail("a", Failure.PREEMPTED, progress=progress), now)
        now += 100
    for _ in range(POLICIES[Failure.PREEMPTED].attempts - 1):  # type: ignore[operator]
        assert scheduler.state("a") is State.WAITING
        scheduler.start(now)
        scheduler.finish(fail("a", Failure.PREEMPTED, progress=19), now)
        now += 100
    assert scheduler.state("a") is State.FAILED


def test_a_retry_waits_and_the_wait_doubles() -> None:
    scheduler = Scheduler([train("a")], Capacity(1))
    scheduler.start(0)
    scheduler.finish(fail("a", Failure.PREEMPTED), 10)
    assert scheduler.start(10.5) == []
    assert scheduler.start(11)
    scheduler.finish(fail("a", Failure.PREEMPTED), 20)
    assert not scheduler.start(21.5) and scheduler.start(22)


def test_identical_code_errors_stop_the_sweep_and_different_ones_do_not() -> None:
    tasks = [train(f"t{i}") for i in range(6)]
    scheduler = Scheduler(tasks, Capacity(1))
    for i, mark in enumerate(["x", "y", "x"]):
        scheduler.finish(fail(scheduler.start(i)[0].task.key, Failure.CODE_ERROR, mark), i)
    assert scheduler.halted is None
    scheduler.finish(fail(scheduler.start(9)[0].task.key, Failure.CODE_ERROR, "x"), 9)
    assert scheduler.halted is not None and "3 times" in scheduler.halted
    assert scheduler.start(10) == []
    assert scheduler.finished
    assert sum(s is State.WAITING for s in scheduler.states().values()) == 2


def test_a_full_disk_stops_everything_at_once() -> None:
    scheduler = Scheduler([train("a"), train("b")], Capacity(1))
    scheduler.finish(fail(scheduler.start(0)[0].task.key, Failure.DISK_FULL), 0)
    assert scheduler.finished


def test_divergence_is_a_result_and_is_not_tried_again() -> None:
    scheduler = Scheduler([train("a"), train("child", "a")], Capacity(1))
    scheduler.start(0)
    scheduler.finish(fail("a", Failure.DIVERGED), 0)
    assert scheduler.state("a") is State.FAILED
    assert scheduler.outcome("child").failure is Failure.BLOCKED  # type: ignore[union-attr]


def test_blocking_reaches_every_descendant() -> None:
    scheduler = Scheduler([train("a"), train("b", "a"), train("c", "b"), train("d", "c")], Capacity(4))
    scheduler.start(0)
    scheduler.finish(fail("a", Failure.USER_ERROR), 0)
    assert {scheduler.state(k) for k in "bcd"} == {State.BLOCKED}
    assert scheduler.finished


def test_only_silent_training_counts_as_a_hang() -> None:
    tasks = [train("a"), train("b"), ScheduledTask("data", "prepare")]
    scheduler = Scheduler(tasks, Capacity(3), hang_after=10)
    scheduler.start(0)
    scheduler.beat("b", 8)
    assert scheduler.hung(11) == ["a"]


def test_a_deferred_task_comes_back_without_having_cost_an_attempt() -> None:
    scheduler = Scheduler([train("a")], Capacity(1))
    scheduler.start(0)
    scheduler.defer("a", 5)
    assert scheduler.start(4) == []
    assert scheduler.start(5)[0].number == 1


def test_cycles_and_unknown_needs_are_errors() -> None:
    with pytest.raises(ValueError, match="cycle"):
        Scheduler([train("a", "b"), train("b", "a")], Capacity(1))
    with pytest.raises(ValueError, match="does not hold"):
        Scheduler([train("a", "nowhere")], Capacity(1))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 4))
def test_no_task_is_lost_run_twice_at_once_or_started_before_its_needs(
    seed: int, count: int, cores: int
) -> None:
    draw = random.Random(seed)
    tasks = []
    for i in range(count):
        needs = {f"t{draw.randrange(i)}" for _ in range(draw.randrange(3)) if i}
        tasks.append(train(f"t{i}", *needs, seconds=draw.uniform(0, 9), cpus=draw.randint(1, cores), batch=4))
    draw.shuffle(tasks)
    scheduler = Scheduler(tasks, Capacity(cores))
    running: set[str] = set()
    done: set[str] = set()
    now = 0.0
    for _ in range(2000):
        if scheduler.finished:
            break
        for attempt in scheduler.start(now):
            assert attempt.task.key not in running | done
            assert set(attempt.task.needs) <= done
            running.add(attempt.task.key)
        assert sum(scheduler.task(k).resources.cpus for k in running) <= cores
        assert {t.key for t in scheduler.running()} == running
        if not running:
            now += max(policy.longest_delay for policy in POLICIES.values())
            for attempt in scheduler.start(now):
                running.add(attempt.task.key)
            assert running or scheduler.finished, "nothing runs, nothing waits, and it is not finished"
            continue
        key = draw.choice(sorted(running))
        running.remove(key)
        now += draw.uniform(0, 3)
        kind = draw.random()
        if kind < 0.6:
            scheduler.finish(Outcome(key, "done"), now)
            done.add(key)
        elif kind < 0.7 and scheduler.task(key).kind == "train":
            scheduler.defer(key, now + 1)
        else:
            retried = [
                Failure.PREEMPTED,
                Failure.OUT_OF_MEMORY,
                Failure.HANG,
                Failure.USER_ERROR,
                Failure.DIVERGED,
            ]
            scheduler.finish(fail(key, draw.choice(retried), progress=draw.randrange(3)), now)
    assert scheduler.finished
    assert set(scheduler.states()) == {t.key for t in tasks}
    assert all(state in FINAL for state in scheduler.states().values())
    assert {k for k, s in scheduler.states().items() if s is State.DONE} == done
