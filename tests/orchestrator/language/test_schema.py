"""The JSON schema accepts every sweep of the project and refuses what the language refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrator.language.json_schema import schema
from tests.paths import ROOT
from trainers.components.source import read


@pytest.fixture(scope="module")
def validator() -> Any:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def test_the_committed_schema_is_fresh_and_every_sweep_names_it() -> None:
    """Fresh in a process of its own: other tests register components from outside the package."""
    file = ROOT / "sweeps" / "sweep.schema.json"
    code = "import json; from orchestrator.language.json_schema import schema; print(json.dumps(schema()))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(file.read_text()) == json.loads(fresh.stdout), f"crossover schema > {file}"
    for path in sorted((ROOT / "sweeps").glob("*.yaml")):
        assert path.read_text().startswith(f"# yaml-language-server: $schema={file.name}\n"), path


def covers(one: Any, other: Any) -> bool:
    """Whether ``one`` says all that ``other`` says; names and alternatives may be more."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(key in one and covers(one[key], value) for key, value in other.items())
    if isinstance(one, list) and isinstance(other, list):
        return all(any(covers(a, b) for a in one) for b in other)
    return bool(one == other) and type(one) is type(other)


def test_the_schema_of_this_process_covers_the_committed_one() -> None:
    """Components from outside add names to it."""
    committed = json.loads((ROOT / "sweeps" / "sweep.schema.json").read_text())
    assert covers(schema(), committed)
    assert not covers({"a": [1, 2]}, {"a": [3]}) and not covers({"a": True}, {"a": 1})


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_sweeps_are_valid(validator: Any, path: Path) -> None:
    assert [e.message for e in validator.iter_errors(read(path).plain)] == []


@pytest.mark.parametrize(
    "text",
    [
        "bas: {}",
        "base: {data: {contxt: 1}}",
        "base: {data.contxt: 1}",
        "base: {batch_size: true}",
        "base: {data: {context: lots}}",
        "base: {budget: {toknes: 1}}",
        "base: {optimizer: {lr: {rule: widht, base: 1, at: 1}}}",
        "axes: {model.size: [d65]}",
        "axes: {ema: 0.9}",
        "analysis: {pair: [a]}",
        "resources: {gpu: 1}",
        "exclude: [{objektive: x}]",
        "base: {evaluation: {tasks: [{name: continuation, corpus: {name: markov, ordr: 2}}]}}",
    ],
)
def test_mistakes_are_refused(validator: Any, text: str) -> None:
    assert list(validator.iter_errors(yaml.safe_load(text)))


def test_a_component_stands_once() -> None:
    written: list[str] = []

    def visit(part: Any) -> None:
        if isinstance(part, dict):
            written.extend([json.dumps(part)] if part.get("title") and part.get("type") == "object" else [])
        for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            visit(child)

    visit(schema())
    assert len(written) == len({*written})


def test_components_and_human_numbers_are_known(validator: Any) -> None:
    text = (
        "base: {data: {unique_tokens: 1.5B, quality: {name: typos, fraction: 0.2}}, budget: {flops: '1e18'}}"
    )
    assert not list(validator.iter_errors(yaml.safe_load(text)))
