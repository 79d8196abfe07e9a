"""Expansion: products, zips, conditions, replicates; the same keys whatever the order of keys."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.language.expansion import EndPoint, Expansion, expand
from orchestrator.language.loading import load
from trainers.components.source import SpecError

SWEEP: dict[str, Any] = {
    "base": {
        "data": {"context": 64},
        "optimizer": {"lr": "3e-3", "weight_decay": 0.2},
        "budget": {"tokens": "0.1M"},
    },
    "axes": {"model.size": ["d32", "d64"], "objective": ["autoregressive", "masked_diffusion"]},
    "zip": [{"data.unique_bytes": ["5k", "10k"], "budget.tokens": ["0.2M", "0.3M"]}],
    "seeds": 2,
}


def points(folder: Path, sweep: Any, **options: list[str]) -> list[EndPoint]:
    path = folder / "s.yaml"
    path.write_text(sweep if isinstance(sweep, str) else yaml.safe_dump(sweep, sort_keys=False))
    (spec,) = load([path], **options)
    return expand(spec)


def test_a_product_of_axes_and_groups_with_replicates_innermost(tmp_path: Path) -> None:
    found = points(tmp_path, SWEEP)
    assert len(found) == 16 and len({p.key for p in found}) == 16
    assert [p.seed for p in found[:4]] == [0, 1, 0, 1]
    assert {(p.config.data.unique_bytes, p.config.steps) for p in found} == {(5000, 98), (10000, 146)}
    first = found[0]
    assert first.axes == {"model.size": "d32", "objective": "autoregressive", "data.unique_bytes": 5000}
    assert first.cell == "unique_bytes=5k size=d32 objective=autoregressive"
    assert first.config.optimizer.lr == 3e-3


def test_a_replicate_is_subset_and_seed_unless_pinned(tmp_path: Path) -> None:
    both = {(p.config.seed, p.config.data.subset_seed, p.subset_pinned) for p in points(tmp_path, SWEEP)}
    assert both == {(0, 0, False), (1, 1, False)}
    pinned = {**SWEEP, "base": {**SWEEP["base"], "data.subset_seed": 7}}
    assert {
        (p.config.seed, p.config.data.subset_seed, p.subset_pinned) for p in points(tmp_path, pinned)
    } == {
        (0, 7, True),
        (1, 7, True),
    }


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_order_of_keys_decides_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = data.draw(st.permutations(list(value)))
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    folder = tmp_path_factory.mktemp("order")
    assert [(p.key, p.cell) for p in points(folder, shuffled(SWEEP))] == [
        (p.key, p.cell) for p in points(folder, SWEEP)
    ]


def test_nested_and_dotted_and_human_forms_are_the_same_run(tmp_path: Path) -> None:
    forms = [
        "base: {data: {unique_bytes: 10000}, optimizer: {lr: 0.001}, steps: 244}",
        "base: {data.unique_bytes: 10k, optimizer.lr: 1e-3, budget: {tokens: 1M}}",
        "base: {data.unique_bytes: 1e4, optimizer: {name: adamw, lr: '1e-3'}, steps: 244, model.size: d64, "
        "model.rope_base: 10000}",
    ]
    assert len({points(tmp_path, form)[0].key for form in forms}) == 1


def test_a_horizon_is_no_part_of_a_constant_run_and_of_the_cell_only_if_nothing_else_tells(
    tmp_path: Path,
) -> None:
    ends = points(tmp_path, "axes: {budget.steps: [10, 20]}")
    assert len({p.run for p in ends}) == 1 and len({p.key for p in ends}) == 2
    assert [p.axes for p in ends] == [{"budget.steps": 10}, {"budget.steps": 20}]
    cosine = points(tmp_path, "base: {schedule: cosine}\naxes: {steps: [10, 20]}")
    assert len({p.run for p in cosine}) == 2 and "horizon" in cosine[0].warnings[0]


def test_points_of_a_group_may_name_different_fields(tmp_path: Path) -> None:
    text = "base: {model.size: d32}\nzip:\n  - - {model.size: d64}\n    - {data.unique_bytes: 5k}\n    - {}"
    assert [p.axes for p in points(tmp_path, text)] == [
        {"model.size": "d64", "data.unique_bytes": None},
        {"model.size": "d32", "data.unique_bytes": 5000},
        {"model.size": "d32", "data.unique_bytes": None},
    ]


def test_cells_have_short_names_that_tell_them_apart(tmp_path: Path) -> None:
    text = """
base: {model.size: d32, evaluation.first: 10}
axes: {objective: [autoregressive, masked_diffusion], evaluation.draws: [24743247]}
when:
  - match: {objective: masked_diffusion}
    axes:
      objective.epsilon: [0.001, 0.01]
      model: [{dropout_mlp: 0.1, dropout_embedding: 0.1}, {dropout_mlp: 0.2, dropout_embedding: 0}]
"""
    common = "draws=24743247"
    masked = "objective=masked_diffusion epsilon={}"
    mixed = "model=(dropout_embedding=0,dropout_mlp=0.2)"
    assert [p.cell for p in points(tmp_path, text)] == [
        f"{common} model=(dropout_*=0) objective=autoregressive",
        f"{common} model=(dropout_*=0.1) {masked.format(0.001)}",
        f"{common} model=(dropout_*=0.1) {masked.format(0.01)}",
        f"{common} {mixed} {masked.format(0.001)}",
        f"{common} {mixed} {masked.format(0.01)}",
    ]
    clash = "axes: {model.name: [transformer], objective.name: [autoregressive], data.unique_bytes: [5k]}"
    (only,) = points(tmp_path, clash)
    assert only.cell == "unique_bytes=5k model.name=transformer objective.name=autoregressive"


def test_an_option_that_a_component_lacks_is_nothing_on_that_axis(tmp_path: Path) -> None:
    text = "axes: {objective: [autoregressive, masked_diffusion]}\nwhen:\n"
    text += "- {match: {objective: autoregressive}, axes: {objective.input_mask: [0, 0.1]}}"
    assert [p.axes["objective.input_mask"] for p in points(tmp_path, text)] == [0, 0.1, None]


def test_conditions_that_no_cell_meets_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("axes: {ema: [0.9, 0.99]}\nexclude: [{ema: 0.5}]")
    text = """
extends: a.yaml
when:
  - match: {ema: 0.9}
    set: {steps: 5}
  - match: {model.size: d32}
    set: {steps: 5}
extend: [{match: {ema: 0.999}, to: 2x}]
exclude: [{ema: 0.99}, {ema: [0.9, 0.99], steps: 7}]
"""
    (tmp_path / "b.yaml").write_text(text)
    warnings = [w for w in Expansion.of(load([tmp_path / "b.yaml"])[0]).warnings if "meets no cell" in w]
    assert [w.split(" on ")[0] for w in warnings] == ["exclude[1]", "when[1].match", "extend[0].match"]


def test_a_base_seed_in_any_form_is_the_replicate(tmp_path: Path) -> None:
    (only,) = points(tmp_path, "base: {seed: 1e1}")
    assert only.seed == only.config.seed == only.config.data.subset_seed == 10


def test_steps_are_taken_as_written(tmp_path: Path) -> None:
    (only,) = points(tmp_path, "base: {steps: 1234567}")
    assert only.config.steps == 1234567


def test_exclude_and_when(tmp_path: Path) -> None:
    text = """
axes: {model.size: [d32, d64], objective: [autoregressive, masked_diffusion]}
exclude: [{model.size: d32, objective: [masked_diffusion]}]
when:
  - match: {objective: masked_diffusion}
    set: {objective: {epsilon: 0.01}, optimizer.lr: 5e-3}
  - match: {objective: autoregressive, model.size: d64}
    axes: {optimizer.weight_decay: [0.1, 1.6]}
"""
    found = points(tmp_path, text)
    assert [(p.axes["model.size"], p.axes["objective"], p.axes["optimizer.weight_decay"]) for p in found] == [
        ("d32", "autoregressive", 0.1),
        ("d64", "autoregressive", 0.1),
        ("d64", "autoregressive", 1.6),
        ("d64", "masked_diffusion", 0.1),
    ]
    assert found[-1].config.objective.model_dump()["epsilon"] == 0.01
    assert [p.config.optimizer.lr for p in found] == [2e-3, 2e-3, 2e-3, 5e-3]


def test_components_keep_options_of_their_name_and_lose_those_of_another(tmp_path: Path) -> None:
    text = """
base: {schedule: {name: wsd, warmup: 7, decay: 0.3}}
axes: {schedule: [wsd, constant, {warmup: 9}]}
"""
    schedules = [p.config.schedule for p in points(tmp_path, text)]
    assert [s.name for s in schedules] == ["wsd", "constant", "wsd"]
    assert [s.warmup for s in schedules] == [7, 20, 9] and schedules[2].model_dump()["decay"] == 0.3


def test_a_budget_and_a_data_budget_replace_those_below(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "base: {budget: {flops: 1e12, convention: 6ND}, data: {unique_bytes: 5k}}"
    )
    (found,) = points(tmp_path, "extends: a.yaml\nbase: {budget.steps: 3, data.unique_tokens: 9k}")
    assert (
        found.config.steps == 3
        and found.config.data.unique_tokens == 9000
        and found.config.data.unique_bytes is None
    )


def test_architectures_and_sizes_resolve_to_fields(tmp_path: Path) -> None:
    text = "base: {model.tied: true}\n"
    text += "axes: {model.size: [d64, d128], model.architecture: [standard, deep, wide, gqa]}"
    found = points(tmp_path, text)
    assert len({p.run for p in found}) == 8 and all(p.config.model.model_dump()["tied"] for p in found)
    for _, group in itertools.groupby(found, key=lambda p: p.axes["model.size"]):
        counts = [p.config.model.parameters(256, 1).non_embedding for p in group]
        assert max(counts) / min(counts) < 1.01


def test_a_named_size_written_out_is_the_same_run(tmp_path: Path) -> None:
    named = points(tmp_path, "base: {model.size: d64}")
    fields = points(tmp_path, "base: {model: {width: 64, layers: 3, rope_base: 200}}")
    assert named[0].run == fields[0].run


def test_conditions_match_components_by_name_and_numbers_in_any_form(tmp_path: Path) -> None:
    text = """
axes:
  data.quality: [clean, {name: replace_words, fraction: 0.2}]
  data.unique_bytes: [5k, 10000]
exclude: [{data.quality: replace_words, data.unique_bytes: 1e4}]
"""
    found = points(tmp_path, text)
    assert [(p.axes["data.quality"], p.axes["data.unique_bytes"]) for p in found] == [
        ("clean", 5000),
        ("clean", 10000),
        ("replace_words(fraction=0.2)", 5000),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "zip: [[{data.unique_bytes: 5k, seed: 3}, {data.unique_bytes: 6k, seed: 4}]]",
        "when: [{match: {objective: autoregressive}, set: {seed: 7}}]",
        "when: [{match: {objective: autoregressive}, set: {data: {subset_seed: 7}}}]",
        "exclude: [{seed: 0}]",
    ],
)
def test_no_cell_sets_a_seed_that_replicates_would_overwrite(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError, match="seed is no axis"):
        points(tmp_path, text)
