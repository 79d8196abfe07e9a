"""Runs that start from exported weights: import is the inverse of export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from trainers.config import RunConfig
from trainers.evaluation.scoring import evaluate
from trainers.run.exporting import export
from trainers.run.importing import adopt
from trainers.run.learner import Learner
from trainers.run.loop import train
from trainers.run.trained import Trained

Tiny = Callable[..., RunConfig]
CPU = torch.device("cpu")
TRANSFORMER = {"name": "transformer", "width": 32, "layers": 2, "heads": 4, "kv_heads": 2}


def exported(config: RunConfig, folder: Path, data_root: Path) -> Trained:
    train(config, folder / "run", data_root=data_root)
    run = Trained.load(folder / "run", data_root=data_root)
    export(run, folder / "weights")
    return run


def started(config: RunConfig, run: Trained) -> Learner:
    learner = Learner(config, run.dataset, CPU)
    adopt(learner, config.init)  # type: ignore[arg-type]
    return learner


@pytest.mark.parametrize("objective", ["autoregressive", "masked_diffusion"])
@pytest.mark.parametrize("model", [TRANSFORMER, {**TRANSFORMER, "tied": True, "qk_norm": False}])
def test_exported_weights_are_read_back_with_the_same_losses(
    tiny: Tiny, data_root: Path, tmp_path: Path, objective: str, model: dict[str, Any]
) -> None:
    config = tiny(objective=objective, model=model, steps=4)
    run = exported(config, tmp_path, data_root)
    init = {"name": "pretrained", "path": str(tmp_path / "weights")}
    child = tiny(objective=objective, model=model, steps=6, seed=5, init=init, ema=0.5)
    learner = started(child, run)
    for one in (learner.model, learner.evaluated):
        before = evaluate(run.model, config.objective, run.dataset, config.evaluation)
        after = evaluate(one, config.objective, run.dataset, config.evaluation)
        assert torch.equal(before.b.scores.values, after.b.scores.values)
    assert learner.inherited == run.spent and run.spent["tokens"] == 4 * 64
    result = train(child, tmp_path / "child", data_root=data_root)
    (start,) = (event for event in result.history if event["event"] == "start")
    assert result.state == "done" and start["inherited"] == run.spent


def test_the_key_holds_the_content_and_not_the_place(tiny: Tiny, data_root: Path, tmp_path: Path) -> None:
    exported(tiny(steps=2), tmp_path, data_root)
    child = tiny(init={"name": "pretrained", "path": str(tmp_path / "weights")})
    (tmp_path / "weights").rename(tmp_path / "elsewhere")
    moved = tiny(init={"name": "pretrained", "path": str(tmp_path / "elsewhere")})
    assert child.training_key == moved.training_key != tiny().training_key
    assert RunConfig.model_validate(child.model_dump(mode="json")) == child, "the file is not needed to plan"
    other = {"name": "pretrained", "path": str(tmp_path / "elsewhere"), "sha256": "0" * 64}
    with pytest.raises(ValueError, match="is another file than 000"):
        train(tiny(init=other), tmp_path / "run 2", data_root=data_root)
    with pytest.raises(ValidationError, match=r"no file /nowhere/model.safetensors"):
        tiny(init={"name": "pretrained", "path": "/nowhere"})


def test_another_objective_keeps_its_own_extra_rows(tiny: Tiny, data_root: Path, tmp_path: Path) -> None:
    run = exported(tiny(steps=4), tmp_path, data_root)
    init = {"name": "pretrained", "path": str(tmp_path / "weights")}
    config = tiny(objective="masked_diffusion", init=init)
    learner, scratch = started(config, run), Learner(config, run.dataset, CPU)
    assert torch.equal(learner.model.embedding, run.model.embedding)  # type: ignore[attr-defined]
    assert torch.equal(learner.model.extra, scratch.model.extra)  # type: ignore[attr-defined]


@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_of_transformers_computes_the_same_here(
    tiny: Tiny, data_root: Path, tmp_path: Path, tied: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rope_theta=500.0, tie_word_embeddings=tied, rms_norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path / "llama")
    model = {**TRANSFORMER, "qk_norm": False, "tied": tied, "rope_base": 500.0, "norm_eps": 1e-5, "ffn": 64}
    init = {"name": "pretrained", "path": str(tmp_path / "llama")}
    child = tiny(model=model, init=init, steps=2)
    run = exported(tiny(steps=1), tmp_path, data_root)
    learner = started(child, run)
    tokens = run.dataset.validation("a", 4).tokens
    with torch.no_grad():
        mine = learner.model.eval().logits(learner.model(tokens, "causal"))
        assert torch.allclose(mine, theirs(tokens).logits[..., :256], atol=2e-5, rtol=0)
    for changed, message in (
        ({"rope_base": 1000.0}, "rope_theta is 500.0 there, and 1000.0 in model"),
        ({"ffn": 96}, "model's layers.0.gate"),
        ({"qk_norm": True}, "model_type llama, and model.qk_norm is True"),
    ):
        with pytest.raises(ValueError, match=message):
            started(tiny(model={**model, **changed}, init=init), run)
    about = json.loads((tmp_path / "llama" / "config.json").read_text())
    (tmp_path / "llama" / "config.json").write_text(json.dumps({**about, "model_type": "gpt2"}))
    with pytest.raises(ValueError, match=r"no config.json of a Llama or Qwen3"):
        started(child, run)
