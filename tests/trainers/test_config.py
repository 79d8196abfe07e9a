"""Configs: written forms, round trips, and errors that say where, what and what is allowed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from pydantic import ValidationError

from tests.paths import ROOT
from trainers.__main__ import UsageError, load_config, main
from trainers.components.adamw import FusedAdamW
from trainers.components.component import problems
from trainers.components.errors import ConfigError
from trainers.components.optimizer import AdamW
from trainers.components.schedule import WSD, Constant, Cosine, Schedule
from trainers.config import Parent, RunConfig

Tiny = Callable[..., RunConfig]


def said(fields: dict[str, Any]) -> list[str]:
    """Problems of a config, as text."""
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(fields)
    return [str(problem) for problem in problems(caught.value, RunConfig)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stepss": 3}, "stepss: unknown field 'stepss'; did you mean 'steps'?"),
        ({"data": {"contxt": 3}}, "data.contxt: unknown field 'contxt'; did you mean 'context'?"),
        ({"objective": "masked_difusion"}, "objective: unknown objective 'masked_difusion'; did you mean"),
        (
            {"schedule": {"name": "wsd", "decy": 1}},
            "schedule.decy: unknown field 'decy' of 'wsd'; did you mean 'decay'?",
        ),
        ({"schedule": {"name": "wsd", "decay": 2}}, "schedule.decay: must be less than 1 (found 2)"),
        ({"schedule": {"decay": 0.1}}, "schedule: a schedule is a name, or a mapping with a name"),
        ({"init": {"run": "a", "stp": 1}}, "init.stp: unknown field 'stp'; did you mean 'step'?"),
        ({"steps": 0}, "steps: must be greater than or equal to 1 (found 0)"),
        ({"optimizer": {"name": "adamw", "lr": math.inf}}, "optimizer.lr: must be a finite number"),
        (
            {"data": {"unique_bytes": 5, "unique_tokens": 5}},
            "data: give unique_tokens or unique_bytes, not both",
        ),
        ({"model": {"name": "transformer", "width": 30, "heads": 4}}, "model: heads 4 must divide width 30"),
    ],
)
def test_errors_say_where_and_what_is_allowed(fields: dict[str, Any], expected: str) -> None:
    assert any(line.startswith(expected) for line in said(fields)), said(fields)


def test_all_errors_are_said_at_once() -> None:
    assert len(said({"steps": 0, "seed": -1, "objective": "x", "data": {"context": 1, "order": "y"}})) == 5


def test_a_config_survives_json_and_the_order_of_keys(tiny: Tiny) -> None:
    config = tiny(
        objective={"name": "masked_diffusion", "epsilon": 0.01},
        init={"run": "a", "step": 3},
        schedule={"name": "wsd", "final": 0},
    )
    written = json.loads(json.dumps(config.model_dump(mode="json")))
    turned = dict(reversed(written.items()))
    assert RunConfig.model_validate(written) == RunConfig.model_validate(turned) == config
    assert RunConfig.model_validate(turned).training_key == config.training_key
    assert isinstance(config.init, Parent)
    assert RunConfig(init="scratch") == RunConfig(init={}) == RunConfig()


def test_mistakes_at_the_prompt_are_lines_with_their_fields() -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig(steps=0, model={"name": "transformer", "widht": 3}, data={"corpus": "prse"})  # type: ignore[arg-type]
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["model.widht", "data.corpus", "steps"]
    assert (
        "did you mean 'width'?" in lines[0]
        and "did you mean 'prose'?" in lines[1]
        and "(found 0)" in lines[2]
    )
    with pytest.raises(ValidationError):
        RunConfig.model_validate({"steps": 0})


def test_configs_do_not_change(tiny: Tiny) -> None:
    with pytest.raises(ValidationError):
        tiny().steps = 3


def test_importing_the_package_needs_no_torch() -> None:
    use = "trainers.RunConfig(objective='masked_diffusion').training_key"
    probe = f"import sys, trainers; {use}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == "False"


# --- schedules and the optimizer ---


def test_a_branch_is_its_trunk_until_it_decays() -> None:
    wsd, constant = WSD(warmup=5, decay=0.25), Constant(warmup=5)
    start = wsd.trunk_steps(40)
    assert start == 30
    assert [wsd.factor(s, 40) for s in range(start)] == [constant.factor(s, 40) for s in range(start)]
    assert constant.factor(0, 40) == 0.2 and constant.factor(4, 40) == constant.factor(39, 40) == 1.0


class InverseSqrt(Schedule):
    """A decay that does not know the end, as a plug-in would bring it."""

    name: ClassVar[str] = "inverse_sqrt"
    depends_on_end: ClassVar[bool] = False

    def after_warmup(self, step: int, steps: int) -> float:
        return float(((step + 1) / max(1, self.warmup)) ** -0.5)


def test_a_schedule_says_itself_whether_it_anneals() -> None:
    assert {s.name: s.anneals for s in (Constant, WSD, Cosine, InverseSqrt)} == {
        "constant": False, "wsd": True, "cosine": True, "inverse_sqrt": False,
    }  # fmt: skip


@pytest.mark.parametrize("shape", ["linear", "sqrt", "exponential"])
def test_decays_end_at_the_final_multiplier(shape: str) -> None:
    wsd = WSD(warmup=0, decay=0.5, final=0.1, shape=shape)  # type: ignore[arg-type]
    factors = [wsd.factor(s, 20) for s in range(10, 20)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(0.1)


def test_cosine_ends_at_the_final_multiplier() -> None:
    cosine = Cosine(warmup=4, final=0.1)
    factors = [cosine.factor(s, 24) for s in range(4, 24)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(0.1)
    assert cosine.factor(13, 24) == pytest.approx(0.55)


def test_the_optimizer_is_torchs_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(5, 3, generator=generator), torch.randn(3, generator=generator)]
    mine, theirs = ([t.clone().requires_grad_() for t in start] for _ in range(2))
    config = AdamW(lr=0.01, weight_decay=0.3)
    ours = config.build(mine)
    groups = [{"params": theirs[:1], "weight_decay": 0.3}, {"params": theirs[1:], "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=0.01, betas=config.betas, eps=config.eps, fused=True)
    for rate in (0.01, 0.005, 0.02):
        for parameters, optimizer in ((mine, ours), (theirs, reference)):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            sum((p.square() * p.cos()).sum() for p in parameters).backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_matrices_alone_decay() -> None:
    matrix, vector = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = AdamW(lr=0.1, weight_decay=0.5).build([matrix, vector])
    assert isinstance(optimizer, FusedAdamW)
    matrix.grad, vector.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizer.step()
    assert matrix.tolist() == [[pytest.approx(0.95)] * 2] * 2
    assert vector.tolist() == [1.0, 1.0]


# --- the command ---


def test_the_command_trains_and_goes_on(
    tiny: Tiny, tmp_path: Path, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tiny(steps=12).model_dump(mode="json")))
    arguments = [str(path), "--folder", str(tmp_path / "run"), "--data", str(data_root)]
    assert main(arguments) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == "train: the NLL; A and B, the validation halves: the NLL; nats per token"
    assert shown[2].split()[:3] == ["step", "tokens", "epochs"]
    assert [line.split()[0] for line in shown[3:-1]] == ["4", "5", "6", "7", "9", "11"]
    assert "NLL" in shown[-1] and shown[-1].startswith("done at step 12")
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == shown[-1:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stepss: 3", "did you mean 'steps'"),
        ("[1, 2]", "a run is a mapping"),
        ("steps: 3\na: [", "run.yaml:2: no valid YAML"),
        ("!!python/object/apply:os.system ['true']", "is not allowed"),
        (
            "steps: 3\ndata:\n  context: 1.5k\n  unique_bytes: 2.5",
            "run.yaml:4: data.unique_bytes: expected a whole",
        ),
        ("dtype: float32\nbatch_size: 0", "run.yaml:2: batch_size: "),
        ("steps: on", "true, or 'on' in quotes"),
    ],
)
def test_a_bad_file_is_a_usage_error(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert main([str(path)]) == 2
    assert expected in capsys.readouterr().err


def test_a_run_is_written_as_in_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/run.yaml").write_text(
        "data: {unique_bytes: 10k, corpus: {name: text, files: own.txt}}\nsteps: 1e3\noptimizer: {lr: 1e-3}"
    )
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("texts/run.yaml"))
    assert (config.data.unique_bytes, config.steps, config.optimizer.lr) == (10_000, 1000, 1e-3)
    assert config.data.corpus.model_dump()["files"] == (str(tmp_path / "texts/own.txt"),)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_config(tmp_path / "none.yaml")
