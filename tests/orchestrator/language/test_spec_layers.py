"""What is laid over a sweep file: the files that it extends, --set and --only; and the whole that comes of
it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from tests.orchestrator.language.sweepfiles import errors, write
from trainers.components.source import SpecError


def test_extends_lays_a_file_over_others(tmp_path: Path) -> None:
    write(
        tmp_path,
        "base: {steps: 5, optimizer: {lr: 1e-2}}\naxes: {model.size: [d32, d64], ema: [0.9]}\nseeds: 2",
        "a.yaml",
    )
    path = write(
        tmp_path,
        "extends: a.yaml\nbase: {budget.tokens: 40960, optimizer.weight_decay: 0}\n"
        "axes: {ema: null, model.size: [d48]}",
        "b.yaml",
    )
    (spec,) = load([path])
    (first, second) = expand(spec)
    assert spec.name == "b" and spec.axis_names == ["model.size"] and (first.seed, second.seed) == (0, 1)
    assert first.config.optimizer.lr == 1e-2 and first.config.optimizer.weight_decay == 0
    assert first.config.steps == 10 and first.config.model.width == 48 and first.config.ema is None


def test_paths_of_files_are_relative_to_the_sweep_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml

    for folder in ("a/texts", "b", "elsewhere/texts"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a/texts/x.txt", "b/y.txt", "elsewhere/texts/x.txt"):
        (tmp_path / name).write_text(f"{name} alone holds these words")
    write(tmp_path / "a", "base:\n  data.corpus: {name: text, files: ['texts/*.txt']}", "a.yaml")
    text = "extends: ../a/a.yaml\naxes: {data.corpus: [text, {name: text, files: y.txt}]}"
    path = write(tmp_path / "b", text, "b.yaml")
    monkeypatch.chdir(tmp_path / "elsewhere")

    def files(path: Path, **options: list[str]) -> list[str]:
        (spec,) = load([path], **options)
        return [f for p in expand(spec) for f in p.config.data.corpus.model_dump()["files"]]

    assert files(path) == [str(tmp_path / "a/texts/*.txt"), str(tmp_path / "b/y.txt")]
    kept = write(tmp_path, yaml.safe_dump(load([path])[0].snapshot()), "kept.yaml")
    assert files(kept) == files(path), "a sweep kept elsewhere reads the same files"
    set = ["base.data.corpus.files=texts/x.txt", "axes.data.corpus=null"]
    assert files(path, set=set) == [str(tmp_path / "elsewhere/texts/x.txt")]


def test_a_file_must_not_extend_itself(tmp_path: Path) -> None:
    write(tmp_path, "extends: b.yaml", "a.yaml")
    assert "extend itself" in errors(write(tmp_path, "extends: a.yaml", "b.yaml"))[0]


def test_errors_in_an_extended_file_name_that_file(tmp_path: Path) -> None:
    write(tmp_path, "base:\n  batch_size: 0", "a.yaml")
    assert re.search(r"a\.yaml:2: base\.batch_size", errors(write(tmp_path, "extends: a.yaml", "b.yaml"))[0])


def test_set_and_only(tmp_path: Path) -> None:
    path = write(tmp_path, "axes: {model.size: [d32, d64], data.unique_bytes: [5k, 10k]}\nseeds: 2")
    (spec,) = load(
        [path],
        set=["base.optimizer.lr=1e-3", "axes.data.unique_bytes=[1k, 2k, 3k]", "seeds=[4, 5]"],
        only=["data.unique_bytes=1000,3k", "seed=5"],
    )
    found = expand(spec)
    assert {p.config.optimizer.lr for p in found} == {1e-3} and {p.seed for p in found} == {5}
    assert [p.config.data.unique_bytes for p in found] == [1000, 1000, 3000, 3000]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            {"set": ["base.optimizer.lrr=1"]},
            "--set base.optimizer.lrr=1: base.optimizer.lrr: .*did you mean 'lr'",
        ),
        ({"set": ["nonsense"]}, "write --set KEY=VALUE, .*1e-3$"),
        ({"set": ["=3"]}, "write --set KEY=VALUE"),
        ({"set": ["base.steps=on"]}, "^--set base.steps=on: base.steps: YAML 1.1 reads this as true.*$"),
        ({"set": ["base={steps: 5"]}, "^--set base={steps: 5: base: no valid YAML"),
        ({"only": ["model.size=d48"]}, "unknown value 'd48'; did you mean .* Known: d32, d64"),
        ({"only": ["model.sice=d48"]}, "did you mean 'model.size'"),
        ({"only": ["d48"]}, "write --only AXIS=VALUE"),
        ({"only": ["seed=7"]}, "seed: unknown value .*7.* Known: 0"),
        ({"set": ["analysis.pair_over=[foo]"]}, r"--set [^ ]+: analysis.pair_over\[0\]: unknown field 'foo'"),
        ({"set": ["base.init.run=abc"]}, "'step' is required"),
    ],
)
def test_mistakes_of_the_command_line_are_named(
    tmp_path: Path, options: dict[str, list[str]], why: str
) -> None:
    path = write(tmp_path, "axes: {model.size: [d32, d64]}")
    assert re.search(why, "\n".join(errors(path, **options)))


def test_the_command_that_repeats_a_sweep_has_its_options(tmp_path: Path) -> None:
    path = write(tmp_path, "axes: {model.size: [d32, d64]}")
    (spec,) = load([path], set=["base.data={repack: true}"], only=["model.size=d32"])
    assert spec.command == f"{path} --set 'base.data={{repack: true}}' --only model.size=d32"


def test_two_sweeps_of_one_name_are_an_error(tmp_path: Path) -> None:
    paths = [write(tmp_path, "name: a", "x.yaml"), write(tmp_path, "name: a", "y.yaml")]
    with pytest.raises(SpecError, match="two of the sweeps are named 'a'"):
        load(paths)


def test_the_snapshot_is_self_contained(tmp_path: Path) -> None:
    import yaml

    write(tmp_path, "base: {steps: 7}\naxes: {model.size: [d32, d64]}", "a.yaml")
    (spec,) = load([write(tmp_path, "extends: a.yaml\nseeds: 2", "b.yaml")], set=["base.batch_size=4"])
    again = write(tmp_path, yaml.safe_dump(spec.snapshot()), "c.yaml")
    (copy,) = load([again])
    assert [p.key for p in expand(copy)] == [p.key for p in expand(spec)] and copy.name == "b"


def test_an_axis_removed_hides_no_other(tmp_path: Path) -> None:
    write(
        tmp_path, "axes: {model.size: [d32, d64], objective: [autoregressive, masked_diffusion]}", "low.yaml"
    )
    path = write(tmp_path, "extends: low.yaml\naxes: {model.size: null, batch_size: [8, 16]}\n")
    (spec,) = load([path])
    assert spec.axis_names == ["batch_size", "objective"] and len(expand(spec)) == 4


def test_mistakes_of_the_command_line_have_no_line(tmp_path: Path) -> None:
    path = write(tmp_path, "axes: {objective: [autoregressive]}")
    (error,) = errors(path, set=["base.modle.width.x=1"])
    assert error.startswith("--set base.modle.width.x=1: base: unknown field 'modle'; did you mean 'model'")
    (error,) = errors(path, only=["objective=masked_difusion"])
    assert error.startswith("--only objective=masked_difusion: objective: unknown") and ":0" not in error
    (error,) = errors(path, only=["objective=masked_diffusion"])
    assert error.startswith("--only objective=masked_diffusion: objective: unknown value")
