"""Keys mean what they meant: the golden table, fields added later, and what is no part of a key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import Field

from tests.trainers import golden
from trainers.components.component import COSMETIC, Component, Frozen, Later, Registry, digest, identity_of
from trainers.components.optimizer import optimizers
from trainers.components.schedule import schedules
from trainers.config import RunConfig
from trainers.data.base import corpora, orders, qualities, tokenizers
from trainers.models.base import models
from trainers.objectives.base import objectives

Tiny = Callable[..., RunConfig]


TABLE: dict[str, dict[str, Any]] = json.loads(golden.TABLE.read_text())
HOW = "a changed default or number needs a raised version; then run python -m tests.trainers.golden"


def test_the_table_has_a_row_for_each_variant() -> None:
    assert TABLE.keys() == golden.VARIANTS.keys()


@pytest.mark.parametrize("name", golden.VARIANTS)
def test_golden_keys(name: str) -> None:
    assert golden.config(name).training_key == TABLE[name]["key"], HOW
    assert RunConfig.model_validate(TABLE[name]["config"]).training_key == TABLE[name]["key"], HOW


@pytest.mark.parametrize("name", sorted(golden.VARIANTS.keys() - golden.KEYS_ALONE))
def test_golden_losses(name: str, data_root: Path) -> None:
    assert golden.agrees(TABLE[name], golden.row(name, data_root)), HOW


REGISTRIES: list[Registry[Any]] = [
    models, objectives, optimizers, schedules, corpora, tokenizers, qualities, orders
]  # fmt: skip


def without_a_row(registries: list[Registry[Any]]) -> list[str]:
    """Components of the package that no row of the table uses."""
    used = {
        (kind, row["config"].get(kind, row["config"]["data"].get(kind))["name"])
        for row in TABLE.values()
        for kind in ("model", "objective", "optimizer", "schedule", "corpus", "tokenizer", "quality", "order")
    }
    ours = [(r.kind, cls.name) for r in registries for cls in r if cls.__module__.startswith("trainers.")]
    return [f"{kind} {name}" for kind, name in ours if (kind, name) not in used]


def test_every_component_has_a_golden_row() -> None:
    assert without_a_row(REGISTRIES) == []


def test_a_new_component_without_a_row_is_noticed() -> None:
    class Invented(First):
        name: ClassVar[str] = "invented"

    Invented.__module__ = "trainers.objectives.invented"
    registry: Registry[Any] = Registry("objective")
    for cls in (*objectives, Invented):
        registry.register(cls)
    assert without_a_row([*REGISTRIES, registry]) == ["objective invented"]


def test_regenerating_refuses_a_change_without_a_version() -> None:
    old = {"a": {"key": "k", "losses": [1.0, 1.0], "versions": {"objective": ["a", 1, None]}}}
    moved = {"a": {**old["a"], "losses": [1.0 + 1e-6, 1.0]}}
    raised = {"a": {**moved["a"], "versions": {"objective": ["a", 2, None]}}}
    assert golden.refused(old, old) == []
    assert golden.refused(old, moved) == ["a"]
    assert golden.refused(old, {"a": {**old["a"], "key": "other"}}) == ["a"]
    assert golden.refused(old, raised) == []


class First(Component):
    name: ClassVar[str] = "toy"
    size: int = 3


class Second(First):
    """The same component a year later: two fields more, one with a default that changes behaviour."""

    depth: Annotated[int, Later(1)] = 1
    gate: Annotated[bool, Later(False)] = True


class Raised(First):
    version: ClassVar[int] = 2


def test_a_field_added_later_leaves_old_keys_standing() -> None:
    old = digest(First(size=5).identity())
    assert digest(Second(size=5, gate=False).identity()) == old
    assert digest(Second(size=5).identity()) != old, "a default that changes behaviour changes the key"
    assert digest(Second(size=5, gate=False, depth=2).identity()) != old
    assert digest(Raised(size=5).identity()) != old


def test_a_field_added_to_a_run_leaves_old_keys_standing(tiny: Tiny) -> None:
    class Grown(RunConfig):
        z_loss: Annotated[float, Later(0.0)] = Field(0.0, ge=0)

    config = tiny()
    grown = Grown.model_validate(config.model_dump())
    assert grown.training_key == config.training_key
    assert grown.model_copy(update={"z_loss": 1e-4}).training_key != config.training_key


def test_what_cannot_change_the_result_is_no_part_of_the_key(tiny: Tiny) -> None:
    key = tiny().training_key
    for change in (
        {"steps": 1000},
        {"keep": "last"},
        {"resources": {"threads": 4, "micro_batch": 1, "device": "cuda"}},
        {"evaluation": {"sequences": 7}},
    ):
        assert tiny(**change).training_key == key
    for change in ({"seed": 1}, {"ema": 0.9}, {"batch_size": 5}, {"dtype": "bfloat16"}):
        assert tiny(**change).training_key != key


def test_the_end_is_part_of_the_key_where_weights_depend_on_it(tiny: Tiny) -> None:
    for schedule in ("wsd", "cosine"):
        assert (
            tiny(schedule=schedule, steps=50).training_key != tiny(schedule=schedule, steps=60).training_key
        )
    assert tiny(steps=50).key != tiny(steps=60).key


def test_branches_share_one_trunk(tiny: Tiny) -> None:
    trunks = [tiny(schedule={"name": "wsd", "decay": d}, steps=s).trunk() for d, s in ((0.1, 50), (0.3, 90))]
    assert {t.training_key for t in trunks if t} == {tiny().training_key}
    assert [t.steps for t in trunks if t] == [45, 63]
    assert tiny().trunk() is None


def test_the_evaluation_key_adds_step_and_evaluation(tiny: Tiny) -> None:
    config = tiny()
    keys = {config.evaluation_key(5), config.evaluation_key(6), tiny(seed=1).evaluation_key(5)}
    keys.add(tiny(evaluation={"sequences": 9}).evaluation_key(5))
    assert len(keys) == 4


def test_a_parent_is_part_of_the_key(tiny: Tiny) -> None:
    parents = [{"run": "a", "step": 3}, {"run": "b", "step": 3}, {"run": "a", "step": 4}]
    parents.append({"run": "a", "step": 3, "load": "all"})
    assert len({tiny(init=parent).training_key for parent in parents} | {tiny().training_key}) == 5


def test_digests_depend_on_values_alone() -> None:
    assert digest({"a": 1, "b": [1.0, None]}) == digest({"b": [1.0, None], "a": 1})
    assert digest(1) != digest(1.0) and digest("1") != digest(1)
    with pytest.raises(ValueError):
        digest(float("nan"))


def test_only_plain_values_have_an_identity() -> None:
    class Inner(Frozen):
        a: int = 1
        note: Annotated[str, COSMETIC] = ""

    assert identity_of([Inner(note="x"), (1, "b")]) == [{"a": 1}, [1, "b"]]
    with pytest.raises(TypeError, match="stable form"):
        identity_of({1, 2})


def test_a_name_is_registered_once() -> None:
    registry: Registry[First] = Registry("toy")
    registry.register(First)
    registry.register(First)
    with pytest.raises(ValueError, match="already registered"):
        registry.register(Second)
    assert registry.names() == ["toy"] and registry["toy"] is First
    with pytest.raises(KeyError, match="did you mean 'toy'"):
        registry["toyy"]
