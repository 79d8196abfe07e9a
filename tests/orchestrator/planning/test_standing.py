"""How a run stands: one vocabulary for plans, tables, status and MLflow."""

from __future__ import annotations

import pytest

from analysis.tables.tables import STATES
from orchestrator.planning.standing import Standing, planned_standing, standing_of
from orchestrator.tracking.mirror import STATUSES
from trainers.state.folder import Commit

PLANNED = {Standing.CACHED, Standing.CHECKPOINT_GONE}
FAILURE = {"failure": "code error", "message": "broken"}


def commit(step: int, state: str = "running") -> Commit:
    return Commit(n=1, step=step, state=state)  # type: ignore[arg-type]


def test_tables_and_mlflow_know_every_word_that_a_run_may_stand_for() -> None:
    words = set(Standing) - PLANNED
    assert {word.value for word in words} <= set(STATES)
    assert STATUSES.keys() == words


@pytest.mark.parametrize(
    ("expected", "end", "newest", "facts"),
    [
        (Standing.NEW, 40, None, {}),
        (Standing.NEW, 40, commit(0), {}),
        (Standing.PARTIAL, 40, commit(20), {}),
        (Standing.DONE, 20, commit(20), {}),
        (Standing.DONE, 20, commit(40), {"failure": FAILURE}),
        (Standing.DONE, 20, commit(20), {"leased": True}),
        (Standing.RUNNING, 40, commit(20), {"leased": True, "failure": FAILURE}),
        (Standing.RUNNING, None, commit(20, "done"), {"leased": True}),
        (Standing.DONE, None, commit(20, "done"), {}),
        (Standing.PARTIAL, None, commit(20), {}),
        (Standing.FAILED, 40, commit(20), {"failure": FAILURE}),
        (Standing.BLOCKED, 40, None, {"failure": {"failure": "blocked"}}),
        (Standing.BLOCKED, 40, None, {"blocked": True}),
        (Standing.DIVERGED, 40, commit(20, "diverged"), {"failure": FAILURE}),
        (Standing.DONE, 10, commit(20, "diverged"), {}),
    ],
)
def test_what_is_on_disk_comes_first(
    expected: Standing, end: int | None, newest: Commit | None, facts: dict[str, object]
) -> None:
    assert standing_of(end, newest, **facts) is expected  # type: ignore[arg-type]


def test_a_plan_asks_for_evaluations_too() -> None:
    assert planned_standing(Standing.DONE, 40, (), ()) is Standing.CACHED
    assert planned_standing(Standing.DONE, 40, (40,), ()) is Standing.PARTIAL
    assert planned_standing(Standing.DONE, 39, (40,), (40,)) is Standing.CACHED
    assert planned_standing(Standing.DONE, 40, (8,), (40,)) is Standing.CHECKPOINT_GONE
    assert planned_standing(Standing.BLOCKED, 40, (8,), (40,)) is Standing.BLOCKED
    assert planned_standing(Standing.NEW, 40, (), ()) is Standing.NEW
