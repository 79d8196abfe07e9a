"""Evaluation tasks: what they ask, what they give, and that a run keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from trainers.batch import Batch
from trainers.config import EvaluationConfig, RunConfig
from trainers.data.validation import HeldOut, ValidationSet
from trainers.evaluation.grid import task_steps
from trainers.evaluation.tasks.base import Metric, Scorer
from trainers.evaluation.tasks.choosing import Choices, MultipleChoice
from trainers.evaluation.tasks.continuation import Continuation
from trainers.evaluation.tasks.likelihood import Likelihood
from trainers.machine.workers import ALONE
from trainers.objectives.autoregressive import Autoregressive
from trainers.objectives.base import Objective, Scores
from trainers.objectives.masked_diffusion import MaskedDiffusion
from trainers.objectives.masked_diffusion.likelihood import evaluation_masks
from trainers.run.loop import train
from trainers.run.rescoring import examine
from trainers.run.trained import Trained
from trainers.state.folder import RunFolder

Tiny = Callable[..., RunConfig]
CONTINUATION = {"name": "continuation", "prefix": 6, "length": 4, "count": 12}


class Planted(Objective):
    """Prefers continuations that go on counting."""

    name = "planted"
    likelihood = "exact"

    def corrupt(self, model: Any, batch: Batch, noise: Any, step: int) -> Any:
        raise NotImplementedError

    def score(self, model: Any, batch: Batch, draws: range, micro_batch: int) -> Scores:
        steps = (batch.tokens.diff(dim=1) != 1) & batch.loss_mask[:, 1:]
        return Scores(steps.sum(1, keepdim=True).double(), batch.loss_mask.sum(1))


def counting(documents: int, length: int) -> HeldOut:
    """Documents that count upwards, each from a start of its own."""
    rows = (np.arange(documents)[:, None] * 7 + np.arange(length)) % 250
    return HeldOut(rows, np.full(documents, length), np.arange(documents) * length)


def scorer(objective: Objective, model: Any = None) -> Scorer:
    return Scorer(model, objective, torch.device("cpu"), ALONE)


@pytest.mark.parametrize("others", ["set", "document"])
def test_the_right_choice_is_known_to_a_model_that_knows_it(others: Any) -> None:
    task = Continuation(prefix=6, length=4, count=10, alternatives=3, others=others)
    offered = task.choices(counting(12, 30))
    assert offered.tokens.shape == (10, 3, 10) and offered.scored.tolist() == [False] * 6 + [True] * 4
    assert (offered.tokens[:, :, :6] == offered.tokens[:, :1, :6]).all(), "one prefix an item"
    data = ValidationSet({"a": counting(12, 30)}, 1.0)
    items = task.items(scorer(Planted()), data, "a")
    assert items.metrics["accuracy"].value == 1.0 and all(items.correct)
    assert items.choice[:3] == [0, 1, 2] and items.nll[0] == 0 and min(items.margin) > 0  # type: ignore[type-var]
    assert 0 < items.metrics["accuracy"].se < 0.15


class Told(Objective):
    """Scores each sequence by its last token: a tenth of a nat a unit."""

    name = "told"
    likelihood = "exact"

    def corrupt(self, model: Any, batch: Batch, noise: Any, step: int) -> Any:
        raise NotImplementedError

    def score(self, model: Any, batch: Batch, draws: range, micro_batch: int) -> Scores:
        return Scores(batch.tokens[:, -1:].double() / 10, batch.loss_mask.sum(1))


def test_an_items_margin_is_to_its_own_best_wrong_choice() -> None:
    """Item 0 is right by .5, item 1 wrong by .2, item 2 is a tie, which is not right."""
    last = [[10, 15, 25], [30, 28, 90], [40, 40, 70]]

    class Fixed(MultipleChoice):
        name = "fixed"

        def scored_tokens(self, context: int) -> int:
            return 0

        def choices(self, data: HeldOut) -> Choices:
            return Choices(
                np.array(last)[..., None].repeat(2, 2), np.array([False, True]), np.zeros(3, np.int64)
            )

    items = Fixed().items(scorer(Told()), ValidationSet({"b": counting(3, 4)}, 1.0), "b")
    assert items.item == [0, 0, 0, 1, 1, 1, 2, 2, 2] and items.choice == [0, 1, 2] * 3
    assert items.nll == pytest.approx([n / 10 for row in last for n in row])
    assert items.margin == pytest.approx([0.5] * 3 + [-0.2] * 3 + [0.0] * 3)
    assert items.correct == [True] * 3 + [False] * 6
    assert items.metrics == {"accuracy": Metric.share(torch.tensor([True, False, False]))}


def test_a_likelihood_has_a_row_a_sequence_and_nothing_to_choose() -> None:
    data = ValidationSet({"a": counting(5, 8)}, 1.0)
    items = Likelihood(sequences=4).items(scorer(Told()), data, "a")
    assert items.columns() == {
        "item": [0, 1, 2, 3],
        "choice": [0] * 4,
        "nll": pytest.approx([0.7, 1.4, 2.1, 2.8]),
        "margin": [None] * 4,
        "correct": [None] * 4,
    }
    assert items.metrics["nll"].value == pytest.approx(1.75)
    assert items.metrics["nll"].se == pytest.approx(float(np.std([0.7, 1.4, 2.1, 2.8], ddof=1)) / 2)
    assert len(Likelihood(sequences=9).items(scorer(Told()), data, "a").nll) == 5, "as many as there are"


def test_documents_that_just_hold_an_item_give_one() -> None:
    task = Continuation(prefix=6, length=4, alternatives=2)
    assert len(task.choices(counting(2, 10)).tokens) == 2
    apart = Continuation(prefix=3, length=2, alternatives=3, others="document")
    tokens = apart.choices(counting(3, 9)).tokens
    assert tokens[0].tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 5, 6], [0, 1, 2, 7, 8]]
    with pytest.raises(ValueError, match="it has 0 documents of 9 tokens or more"):
        apart.choices(counting(3, 8))
    assert len(Continuation(prefix=6, length=4, count=3, alternatives=2).choices(counting(9, 10)).tokens) == 3


def test_what_a_task_costs_is_what_it_feeds() -> None:
    assert Continuation().scored_tokens(128) == 2 * 64 * 4 * (16 + 8)
    assert Continuation(count=3, alternatives=5, prefix=7, length=2).scored_tokens(128) == 2 * 3 * 5 * 9
    assert Likelihood().scored_tokens(100) == 2 * 48 * 100


def test_a_tasks_key_tells_what_moves_its_values() -> None:
    task = Continuation()
    assert task.key == Continuation(label="x", spacing=3.0).key
    others = [Continuation(**{f: 9}) for f in ("count", "alternatives", "prefix", "length", "draws")]
    assert len({task.key, Continuation(others="document").key, *(t.key for t in others)}) == 7


@pytest.mark.parametrize(
    ("task", "field", "low", "high"),
    [
        (Continuation, "count", 2, None),
        (Continuation, "alternatives", 2, 64),
        (Continuation, "prefix", 1, None),
        (Continuation, "length", 1, None),
        (Continuation, "spacing", 1, 100),
        (Continuation, "draws", 1, None),
        (Likelihood, "sequences", 2, None),
    ],
)
def test_fields_of_tasks_end_where_they_mean_nothing(
    task: Any, field: str, low: int, high: int | None
) -> None:
    for value, step in ((low, -1), (high, 1)):
        if value is not None:
            assert getattr(task(**{field: value}), field) == value
            with pytest.raises(ValidationError, match=field):
                task(**{field: value + step})


def test_data_that_gives_no_items_is_an_error() -> None:
    short = HeldOut(np.arange(54).reshape(3, 18), np.full(3, 18), np.arange(6) * 9)
    with pytest.raises(ValueError, match=r"probe: half .* gives 0 items; it has 0 documents of 10 tokens"):
        Continuation(label="probe", prefix=6, length=4).choices(short)
    with pytest.raises(ValueError, match=r"prefix and length are 24 tokens, and data.context 9"):
        Continuation().choices(counting(5, 9))
    same = HeldOut(np.tile(np.arange(10), (4, 1)), np.full(4, 10), np.arange(4) * 10)
    with pytest.raises(ValueError, match="gives 0 items"):
        Continuation(prefix=6, length=4, alternatives=2).choices(same)


def test_choices_share_their_masks_which_fall_on_the_continuation() -> None:
    seen = []

    class Watched(MaskedDiffusion):
        def score(self, model: Any, batch: Batch, draws: range, micro_batch: int) -> Scores:
            seen.append(batch)
            return Scores(torch.zeros(len(batch), len(draws)).double(), batch.loss_mask.sum(1))

    task = Continuation(prefix=6, length=4, count=8, alternatives=4)
    halves = {"a": counting(12, 30), "b": counting(12, 30)}
    for half in ("a", "b"):
        task.items(scorer(Watched()), ValidationSet(halves, 1.0), half)  # type: ignore[arg-type]
    masks = [evaluation_masks(b.counters, b.loss_mask, 0).view(8, 4, 10) for b in seen]
    assert all((m == m[:, :1]).all() and not m[:, :, :6].any() and m.any(2).all() for m in masks)
    assert not torch.equal(masks[0], masks[1]), "the halves have masks of their own"


@pytest.mark.parametrize("objective", ["autoregressive", "masked_diffusion"])
def test_a_run_is_asked_on_a_grid_of_its_own_and_from_checkpoints_alike(
    tiny: Tiny, data_root: Path, tmp_path: Path, objective: str
) -> None:
    plain = tiny(objective=objective)
    tasks = [CONTINUATION, {"name": "likelihood", "label": "prose", "corpus": "prose", "sequences": 4}]
    evaluation = plain.evaluation.model_dump() | {"tasks": tasks}
    config = tiny(objective=objective, evaluation=evaluation)
    assert config.training_key == plain.training_key and config.evaluation_key(5) == plain.evaluation_key(5)
    result = train(config, tmp_path / "asked", data_root=data_root)
    events = [e for e in result.history if e["event"] == "task"]
    steps = sorted(task_steps(config, config.evaluation.tasks[0]))
    assert [e["step"] for e in events if e["task"] == "continuation"] == steps == [4, 6, 9, 14, 23, 37]
    assert set(events[0]["a"]) == {"accuracy", "accuracy_se"} and set(events[1]["b"]) == {"nll", "nll_se"}
    assert len(events[0]["items"]["b"]["nll"]) == 12 * 4
    other = train(plain, tmp_path / "plain", data_root=data_root)
    assert [e for e in result.history if e["event"] != "task"] == other.history
    added = examine(tmp_path / "plain", 23, config.evaluation.tasks, data_root=data_root)
    assert added == [e for e in events if e["step"] == 23]
    assert len(RunFolder(tmp_path / "plain").scores("task")) == 2
    assert examine(tmp_path / "plain", [23], config.evaluation.tasks, data_root=data_root) == added
    assert examine(tmp_path / "asked", 23, config.evaluation.tasks, data_root=data_root) == added
    assert not RunFolder(tmp_path / "asked").list("scores"), "the history has them"


def test_the_exact_likelihood_of_a_choice_is_that_of_its_continuation(
    tiny: Tiny, data_root: Path, tmp_path: Path
) -> None:
    train(tiny(steps=3), tmp_path / "run", data_root=data_root)
    run = Trained.load(tmp_path / "run", data_root=data_root)
    task = Continuation(prefix=6, length=4, count=5)
    with torch.no_grad():
        items = task.items(scorer(Autoregressive(), run.model), run.dataset.validation_set, "a")
        tokens = torch.from_numpy(task.choices(run.dataset.validation_set.halves["a"]).tokens[1, 2])[None]

        def nats(sequence: torch.Tensor) -> float:
            batch = Batch(sequence, torch.ones_like(sequence, dtype=torch.bool), torch.zeros(1).long())
            scores = Autoregressive().score(run.model, batch, range(1), 1)
            return float(scores.values) * int(scores.tokens)

        expected = (nats(tokens) - nats(tokens[:, :6])) / 4
    assert items.nll[4 + 2] == pytest.approx(expected, rel=1e-5)


def test_accuracy_has_an_error_where_all_or_none_are_right() -> None:
    assert Metric.share(torch.ones(16, dtype=torch.bool)).se == pytest.approx(
        math.sqrt(16.5 / 17 * 0.5 / 17 / 18)
    )
    half = Metric.share(torch.arange(400) % 2 == 0)
    assert half.value == 0.5 and half.se == pytest.approx(0.025, rel=0.01)


def test_bad_tasks_are_named() -> None:
    with pytest.raises(ValidationError, match=r"did you mean 'continuation'"):
        EvaluationConfig(tasks=("continuatio",))  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="two tasks are called 'continuation'"):
        EvaluationConfig(tasks=("continuation", {"name": "continuation", "length": 4}))  # type: ignore[arg-type]
