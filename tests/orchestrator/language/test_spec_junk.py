"""Junk anywhere in a sweep is an error that names its line, or means something; nothing else is raised."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from trainers.components.source import SpecError

SWEEP = """
name: whole
base:
  data: {unique_bytes: 10k, context: 64, quality: clean}
  optimizer: {lr: {rule: width, base: 2e-3, at: 64}}
  schedule: {name: wsd, decay: 0.2}
  budget: {tokens: 1M}
axes:
  model.size: [d32, d64]
  objective: [autoregressive, {name: masked_diffusion, epsilon: 1e-3}]
zip:
- - {data.repack: true, model.architecture: deep}
  - {data.quality: {name: replace_words, fraction: 0.2}}
exclude: [{model.size: d32, objective: autoregressive}]
when:
- match: {objective: masked_diffusion}
  set: {ema: 0.99}
  axes: {model: [{dropout_mlp: 0.1}, {dropout_mlp: 0}]}
extend: [{match: {model.size: d64}, to: 2x}]
seeds: [0, 1]
analysis: {pair: [autoregressive, masked_diffusion], pair_over: [model], x: [tokens]}
"""
JUNK: list[Any] = [
    None, True, -1, 1.5, 1e300, "", "x", "10k", "1e18", "4x", [], [[]], [None], [{}], ["a", "b"], {}, {"": 1},
    {"a": {"b": 1}}, {"name": None}, {"name": ["a"]}, {"name": "x"}, {"rule": "power"},
    {"rule": "width", "base": 1, "at": 0}, {"steps": 5}, {"match": {}}, {"budget.tokens": "1M"},
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield (*path, key)
        yield from places(child, (*path, key))


def put(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return copy.deepcopy(junk)
    value = copy.copy(value)
    value[path[0]] = put(value[path[0]], path[1:], junk)
    return value


def test_the_sweep_itself_is_valid(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    assert len(expand(load([tmp_path / "s.yaml"])[0])) == 20


def test_junk_is_an_error_with_a_line_or_means_something(tmp_path: Path) -> None:
    whole, path = yaml.safe_load(SWEEP), tmp_path / "s.yaml"
    everywhere = [(place, junk) for place in places(whole) for junk in JUNK]
    for place, junk in random.Random(0).sample(everywhere, 100):
        path.write_text(yaml.safe_dump(put(whole, place, junk), sort_keys=False))
        try:
            expand(load([path])[0])
        except SpecError as error:
            assert all(issue.line for issue in error.issues), (place, junk, error)
        except Exception as error:
            pytest.fail(f"{place} = {junk!r}: {error!r}")
