"""Counts that agree across objectives: the MLP's width solved, and twins that stay twins."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.language.derived.matching import Match
from orchestrator.language.expansion import EndPoint, expand
from orchestrator.language.loading import load
from tests.trainers.objectives import toys  # noqa: F401
from trainers.components.source import SpecError
from trainers.config import RunConfig

SWEEP = """\
name: matched
base:
  model: {{size: {size}, match: {match}}}
  data: {{unique_bytes: 10000}}
  budget: {{tokens: 0.5M}}
axes:
  objective: [autoregressive, two_tokens]
"""


def points(tmp_path: Path, match: str, size: str = "d64") -> list[EndPoint]:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(match=match, size=size))
    (spec,) = load([path])
    return expand(spec)


@pytest.mark.parametrize("count", ["total", "active", "flops"])
@pytest.mark.parametrize("to", ["autoregressive", "two_tokens"])
def test_the_mlp_is_solved_so_that_counts_agree(count: str, to: str, tmp_path: Path) -> None:
    by_name = {p.config.objective.name: p.config for p in points(tmp_path, f"{{count: {count}, to: {to}}}")}
    of = Match(count=count, to=to).of
    one, other = of(by_name["autoregressive"]), of(by_name["two_tokens"])
    assert one == pytest.approx(other, rel=0.01)
    assert by_name[to].model.ffn is None, "the one that is matched stays as written"
    unmatched = {"autoregressive": "two_tokens", "two_tokens": "autoregressive"}[to]
    assert by_name[unmatched].model.ffn != by_name[to].model.ffn_width
    plain = RunConfig(objective=unmatched, model=by_name[to].model)
    assert abs(of(plain) / of(by_name[to]) - 1) > 0.01, "without it they differ"


def test_the_solved_width_does_not_part_twins(tmp_path: Path) -> None:
    """Cells are told apart by the sweep's axes; the solved field is none."""
    cells = {p.config.objective.name: p.axes for p in points(tmp_path, "{count: total, to: autoregressive}")}
    assert {tuple(sorted(axes.keys() - {"objective"})) for axes in cells.values()} == {()}


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("{count: total, to: autoregresive}", "did you mean 'autoregressive'"),
        ("{count: size, to: autoregressive}", "expected 'total', 'active' or 'flops'"),
        ("{count: total, too: autoregressive}", "did you mean 'to'"),
        ("{count: total}", "'to' is required"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(match: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message) as error:
        points(tmp_path, match)
    assert "sweep.yaml:3" in str(error.value)


def test_a_width_that_brings_no_agreement_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no width of the MLP brings flops within 1 %"):
        points(tmp_path, "{count: flops, to: autoregressive}", "d32, ffn: 8")
