"""The examples of docs/sweeps.md load, and take as many runs as they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.language.derived.architectures import ARCHITECTURES
from orchestrator.language.derived.ladders import LADDERS
from orchestrator.language.derived.rules import rules
from orchestrator.language.expansion import expand
from orchestrator.language.fields import HORIZONS
from orchestrator.language.loading import load
from orchestrator.language.sweepfile import SweepFile
from tests.paths import ROOT

TEXT = (ROOT / "docs/sweeps.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(# (\d+) runs\n.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize(("example", "runs"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str, runs: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    for name in ("notes/a.txt", "talks.jsonl"):
        lines = (f'{{"text": "The {i}th word of {name}."}}' for i in range(1000))
        (tmp_path / name).write_text("\n\n".join(lines))
    (tmp_path / "example.yaml").write_text(example)
    (spec,) = load([tmp_path / "example.yaml"])
    assert len(expand(spec)) == int(runs)


def test_every_example_is_tested_and_everything_is_named() -> None:
    assert len(EXAMPLES) == TEXT.count("```yaml")
    named = [
        *SweepFile.model_fields,
        *HORIZONS,
        *ARCHITECTURES,
        *rules.names(),
        *LADDERS["pocket"],
        *LADDERS["sdl"],
    ]
    assert [name for name in named if not re.search(rf"\b{re.escape(name)}\b", TEXT)] == []
    ladders = [ladder for ladder in LADDERS if ladder != "pocket" and f"`{ladder}-" not in TEXT]
    assert ladders == []


def test_the_table_of_sweeps_is_complete_and_right() -> None:
    row = re.compile(r"^\| (`[a-z_`, ]+) \|.*\| ([0-9, ]+) \|$", re.MULTILINE)
    found: dict[str, int] = {}
    for names, counts in row.findall(TEXT[TEXT.index("## The sweeps that come") :]):
        found |= dict(zip(re.findall(r"[a-z_]+", names), map(int, counts.split(",")), strict=True))
    specs = load(sorted((ROOT / "sweeps").glob("*.yaml")))
    assert found == {spec.name: len(expand(spec)) for spec in specs}
