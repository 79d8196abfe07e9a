"""Later ends: what they mean, that none moves back, and that the runs stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.language.expansion import expand
from orchestrator.language.extension import Extent, written
from orchestrator.language.loading import load
from trainers.components.source import SpecError
from trainers.config import RunConfig

SWEEP = """\
name: long
base: {data: {unique_bytes: 10k, context: 32}, batch_size: 8, steps: 100, schedule: %s}
axes: {objective: [autoregressive, masked_diffusion], model.size: [d32, d64]}
"""


def ends(path: Path) -> dict[str, int]:
    (spec,) = load([path])
    spec = spec.with_extensions(path.parent / "extend.yaml")
    return {point.cell: point.config.steps for point in expand(spec)}


def test_extents() -> None:
    config = RunConfig(steps=100, batch_size=8, data={"context": 32})
    assert Extent.of("4x").steps(config) == 400 and Extent.of("1.5 x").steps(config) == 150
    assert Extent.of("51.2k").steps(config) == 200 and Extent.of(25600).steps(config) == 100
    assert Extent.of("0.1x").steps(config) == Extent.of(100).steps(config) == 100, "no end moves back"
    for wrong in ("x", "four", 0, "0x", 1.5, True, None):
        with pytest.raises(ValueError, match="such as 4x"):
            Extent.of(wrong)


def test_the_sweeps_own_entries_and_the_stores_count_alike(tmp_path: Path) -> None:
    sweep = tmp_path / "long.yaml"
    sweep.write_text(SWEEP % "constant" + "extend: [{match: {model.size: d32}, to: 2x}]\n")
    (tmp_path / "extend.yaml").write_text("extend: [{match: {model.size: [d32, d64]}, to: 38.4k}]\n")
    found = ends(sweep)
    assert {n for cell, n in found.items() if "d32" in cell} == {200}, "the furthest counts"
    assert {n for cell, n in found.items() if "d64" in cell} == {150}
    (spec,) = load([sweep])
    longer = spec.with_extensions(tmp_path / "extend.yaml")
    assert {p.run for p in expand(spec)} == {p.run for p in expand(longer)}, "longer, they are the same runs"
    snapshot = tmp_path / "snapshot.yaml"
    snapshot.write_text(yaml.safe_dump(longer.snapshot()))
    assert ends(snapshot) == found, "what was run can be run again without the store's file"
    assert len(load([snapshot])[0].with_extensions(tmp_path / "extend.yaml").extend) == 2, (
        "nothing counts twice"
    )


def test_wsd_goes_on_along_its_trunk_and_cosine_cannot(tmp_path: Path) -> None:
    sweep = tmp_path / "long.yaml"
    sweep.write_text(SWEEP % "wsd" + "extend: [{to: 3x}]\n")
    (spec,) = load([sweep])
    points = expand(spec)
    assert {point.config.steps for point in points} == {300}
    shorter = points[0].config.model_copy(update={"steps": 100})
    assert shorter.trunk().training_key == points[0].config.trunk().training_key  # type: ignore[union-attr]
    sweep.write_text(SWEEP % "cosine" + "extend:\n  - to: 3x\n")
    with pytest.raises(SpecError, match=r"long\.yaml:5: .*a cosine run cannot be extended"):
        expand(*load([sweep]))


@pytest.mark.parametrize(
    ("entry", "message"),
    [("{match: {model.sise: d32}, to: 2x}", "model.size"), ("{to: twice}", "such as 4x")],
)
def test_mistakes_name_their_place(tmp_path: Path, entry: str, message: str) -> None:
    for name, head in (("long.yaml", SWEEP % "constant"), ("extend.yaml", "")):
        (tmp_path / "long.yaml").write_text(SWEEP % "constant")
        (tmp_path / name).write_text(f"{head}extend:\n  - {entry}\n")
        with pytest.raises(SpecError) as caught:
            ends(tmp_path / "long.yaml")
        assert f"{name}:{5 if head else 2}" in str(caught.value) and message in str(caught.value)
        (tmp_path / name).unlink()


def test_written_entries_add_up(tmp_path: Path) -> None:
    file = tmp_path / "extend.yaml"
    for to in ("2x", "2x", "3x"):
        before = file.read_text() if file.exists() else None
        file.write_text(written([{"match": {"model.size": "d32"}, "to": to}], before))
    assert [entry["to"] for entry in yaml.safe_load(file.read_text())["extend"]] == ["2x", "3x"]


def test_any_cell_of_a_sweep_can_be_written_as_a_condition(tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(
        "base: {data.context: 32, steps: 100}\n"
        "axes: {data.quality: [clean, {name: replace_words, fraction: 0.2}], data.unique_bytes: [5k, null]}\n"
        "when:\n- {match: {data.quality: clean}, axes: {model: [{dropout_mlp: 0}, {dropout_mlp: 0.1}]}}\n"
    )
    (spec,) = load([path])
    for chosen in expand(spec):
        file = tmp_path / "extend.yaml"
        file.write_text(written([{"match": dict(chosen.written), "to": "2x"}], None))
        longer = [p.cell for p in expand(spec.with_extensions(file)) if p.config.steps == 200]
        assert longer == [chosen.cell]
