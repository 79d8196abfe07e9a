"""Weights for other programs: transformers computes what we compute, and what it cannot hold is read back by
us.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.config import RunConfig
from trainers.run.exporting import export, layout, load
from trainers.run.loop import train
from trainers.run.trained import Trained

Tiny = Callable[..., RunConfig]


def trained(config: RunConfig, folder: Path, data_root: Path) -> Trained:
    train(config, folder, data_root=data_root)
    return Trained.load(folder, data_root=data_root)


@pytest.mark.parametrize(
    "model",
    [
        {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2},
        {"width": 32, "layers": 2, "heads": 2, "tied": True, "rope_base": 500.0},
        {"width": 16, "layers": 1, "heads": 2, "qk_norm": False},
    ],
    ids=["qwen3-gqa", "qwen3-tied", "llama"],
)
def test_transformers_computes_our_logits(
    tiny: Tiny, data_root: Path, tmp_path: Path, model: dict[str, Any]
) -> None:
    transformers = pytest.importorskip("transformers")
    run = trained(tiny(model={"name": "transformer", **model}, steps=4, ema=0.5), tmp_path / "run", data_root)
    kind = export(run, tmp_path / "out")
    assert kind == ("qwen3" if model.get("qk_norm", True) else "llama")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", attn_implementation="eager"
    ).eval()
    assert type(theirs).__name__ == {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}[kind]
    vocab = run.dataset.vocab
    tokens = run.dataset.validation("a", 4).tokens
    inputs = torch.cat([tokens.new_full((4, 1), vocab), tokens[:, :-1]], 1)
    with torch.no_grad():
        own = run.model.logits(run.model(inputs, "causal"))  # type: ignore[operator]
        other = theirs(inputs).logits
    assert torch.allclose(own, other[..., :vocab], atol=2e-5, rtol=0)
    assert theirs.generation_config.suppress_tokens == [vocab] == [theirs.config.bos_token_id]


TEXTS = ("Call me Ishmael.", " two  spaces\n\n\ttab ", "naïve façade — 文字 🙂 \x00\x7f\u0100\u0143", "")


@pytest.mark.parametrize("objective", ["autoregressive", "masked_diffusion"])
@pytest.mark.parametrize("tokenizer", ["bytes", {"name": "bpe", "vocab_size": 300, "train_bytes": 20_000}])
def test_the_tokenizer_that_is_written_gives_the_runs_ids(
    tiny: Tiny, data_root: Path, tmp_path: Path, tokenizer: Any, objective: str
) -> None:
    transformers = pytest.importorskip("transformers")
    config = tiny(objective=objective, data={"tokenizer": tokenizer}, steps=1)
    run = trained(config, tmp_path / "run", data_root)
    layout = export(run, tmp_path / "out")
    kind = transformers.PreTrainedTokenizerFast if layout == "crossover" else transformers.AutoTokenizer
    theirs = kind.from_pretrained(tmp_path / "out")
    first = [run.dataset.vocab] if objective == "autoregressive" else []
    everything = "".join(map(chr, range(1, 0x300)))
    for text in (*TEXTS, everything, run.dataset.decode(run.dataset.tokens[:500].tolist())):
        ids = run.dataset.encode(text).tolist()
        assert theirs(text).input_ids == first + ids
        assert theirs.decode(theirs(text).input_ids, skip_special_tokens=True) == text
        assert theirs.decode(ids) == run.dataset.decode(ids) == text
    assert len(theirs) == run.dataset.vocab + len(config.objective.extra_tokens)
    (token,) = [theirs.bos_token_id if first else theirs.mask_token_id]
    assert token == run.dataset.vocab


@pytest.mark.parametrize(
    "fields",
    [
        {"objective": "masked_diffusion"},
        {"model": {"name": "transformer", "width": 16, "layers": 1, "block": "gpt2"}},
    ],
    ids=["masked diffusion", "another block"],
)
def test_what_has_no_counterpart_is_read_back_by_us(
    fields: dict[str, Any], tiny: Tiny, data_root: Path, tmp_path: Path
) -> None:
    run = trained(tiny(steps=3, **fields), tmp_path / "run", data_root)
    assert export(run, tmp_path / "out") == layout(run.config) == "crossover"
    assert not (tmp_path / "out" / "config.json").exists(), (
        "nothing that transformers would mistake for its own"
    )
    config, model = load(tmp_path / "out")
    assert config.training_key == run.config.training_key
    for (name, one), (other_name, two) in zip(
        run.model.state_dict().items(), model.state_dict().items(), strict=True
    ):
        assert name == other_name and torch.equal(one, two)
    assert json.loads((tmp_path / "out" / "crossover.json").read_text())["step"] == 3


def test_sampling_from_a_run_is_reproducible_and_keeps_the_prompt(
    tiny: Tiny, data_root: Path, tmp_path: Path
) -> None:
    for objective, options in (
        ("autoregressive", {}),
        ("masked_diffusion", {"sampler": "ancestral", "steps": 5}),
    ):
        run = trained(tiny(objective=objective, steps=3), tmp_path / objective, data_root)
        prompt = run.dataset.decode(run.dataset.validation("a", 1).tokens[0, :3].tolist())
        text = run.sample(prompt, 6, seed=1, **options)
        assert text.startswith(prompt) and text == run.sample(prompt, 6, seed=1, **options)
        assert len(prompt) < len(text) <= len(prompt) + 6
        assert len({run.sample(prompt, seed=seed, **options) for seed in range(4)}) > 1
        with pytest.raises(ValueError, match="allowed: 1 to"):
            run.sample(prompt, 99)
    filled = run.sample("T", 4, suffix=". The")
    assert filled.startswith("T") and filled.endswith(". The")


def test_an_option_that_a_sampler_lacks_is_named(tiny: Tiny, data_root: Path, tmp_path: Path) -> None:
    run = trained(tiny(steps=3), tmp_path / "run", data_root)
    with pytest.raises(
        ValueError, match=r"unknown field 'steps' of 'left_to_right' \(but of 'ancestral' and"
    ):
        run.sample("", 4, steps=3)
