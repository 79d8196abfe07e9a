"""A run's weights for other programs: a folder with ``model.safetensors`` and a config.

An autoregressive transformer becomes what ``transformers`` calls Qwen3 (with QK-norm) or Llama (without), and
``AutoModelForCausalLM.from_pretrained`` loads it. Its vocabulary there holds the extra tokens too, for both
must feed BOS before the first token; they are never predicted here, so their rows of the head are zero and
``generation_config.json`` suppresses them. Any other run has no counterpart: its tensors are written as they
are, with this project's own config, and :func:`load` reads them back.

``tokenizer.json`` gives the ids that the run was trained on, and begins with BOS where the run does;
``AutoTokenizer.from_pretrained`` loads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors.torch import load_file, save_file

from trainers import models
from trainers.components.lazy import torch
from trainers.config import RunConfig
from trainers.models.network.blocks.llama import Llama
from trainers.models.transformer import Transformer
from trainers.objectives.autoregressive.objective import Autoregressive

if TYPE_CHECKING:
    from trainers.models.base import Backbone
    from trainers.run.trained import Trained

Layout = Literal["qwen3", "llama", "crossover"]

WEIGHTS, OWN_CONFIG = "model.safetensors", "crossover.json"

_WHOLE = {
    "embedding": "model.embed_tokens.weight",
    "extra": "model.embed_tokens.weight",
    "norm": "model.norm.weight",
    "head": "lm_head.weight",
}
"""Rows of extra tokens follow the others of the embedding."""
_LAYER = {
    "attention_norm": "input_layernorm",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    "wo": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def layout(config: RunConfig) -> Layout:
    """What a run's weights are written as: a ``transformers`` architecture, or ``crossover`` where there is
    none.
    """
    if not isinstance(config.model, Transformer) or not isinstance(config.objective, Autoregressive):
        return "crossover"
    if type(config.model.block) is not Llama:
        return "crossover"
    return "qwen3" if config.model.qk_norm else "llama"


def export(trained: Trained, to: str | Path) -> Layout:
    """Write the weights for other programs.

    Args:
        trained: the model, at a step of its run.
        to: the folder; it is created.

    Returns:
        The layout that they were written in: ``qwen3`` or ``llama`` for transformers, or ``crossover``.
    """
    to, config, chosen = Path(to), trained.config, layout(trained.config)
    to.mkdir(parents=True, exist_ok=True)
    if chosen == "crossover":
        tensors = dict(trained.model.state_dict())
    else:
        tensors = dict(transformers_weights(trained.model))
        _write(to / "config.json", transformers_config(config))
        extra = range(config.data.tokenizer.vocab, _vocab(config))
        _write(to / "generation_config.json", {"bos_token_id": extra[0], "suppress_tokens": list(extra)})
    save_file(
        {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()},
        to / WEIGHTS,
        {"format": "pt"},
    )
    own = {"layout": chosen, "training_key": config.training_key, "step": trained.step}
    own |= {"spent": trained.spent}
    _write(to / OWN_CONFIG, {**own, "config": config.model_dump(mode="json")})
    _write_tokenizer(trained, to)
    return chosen


def load(folder: str | Path) -> tuple[RunConfig, Backbone]:
    """Config and module, in eval mode, of weights that were exported in the layout ``crossover``."""
    record = json.loads((Path(folder) / OWN_CONFIG).read_text())
    if record["layout"] != "crossover":
        raise ValueError(
            f"{folder}: written as {record['layout']}; transformers' AutoModelForCausalLM loads it"
        )
    config = RunConfig.model_validate(record["config"])
    model = models.build(config)
    model.load_state_dict(load_file(Path(folder) / WEIGHTS))
    return config, model.eval()


def transformers_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of a transformer as Qwen3 and Llama have them: matrices [out, in], RoPE in halves."""
    named = dict(model.logical_parameters())
    extra = named.pop("extra")
    yield "model.embed_tokens.weight", torch.cat([named.pop("embedding"), extra])
    if "head" in named:
        head = named.pop("head")
        yield "lm_head.weight", torch.cat([head, head.new_zeros(len(extra), head.shape[1])])
    for name, tensor in named.items():
        vector = name.endswith("norm")
        yield transformers_name(name), tensor.flatten() if vector else tensor.flatten(0, -2)


def transformers_name(name: str) -> str:
    """What Qwen3 and Llama call a tensor that a transformer's ``logical_parameters`` names."""
    if name in _WHOLE:
        return _WHOLE[name]
    prefix, index, part = name.split(".")
    return f"model.{prefix}.{index}.{_LAYER[part]}.weight"


def transformers_config(config: RunConfig) -> dict[str, Any]:
    """``config.json`` of a run's counterpart in ``transformers``."""
    model, kind = config.model, layout(config)
    if not isinstance(model, Transformer) or kind == "crossover":
        raise ValueError(
            f"a run of {config.objective.name} on {model.name} has no counterpart in transformers"
        )
    return {
        "architectures": [{"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}[kind]],
        "model_type": kind,
        "vocab_size": _vocab(config),
        "bos_token_id": config.data.tokenizer.vocab,
        "eos_token_id": None,
        "hidden_size": model.width,
        "intermediate_size": model.ffn_width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "head_dim": model.head_width,
        "hidden_act": "silu",
        "rms_norm_eps": model.norm_eps,
        "rope_theta": model.rope_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_base},
        "max_position_embeddings": config.data.context,
        "attention_bias": False,
        "attention_dropout": model.dropout_attention,
        "mlp_bias": False,
        "tie_word_embeddings": model.tied,
        "dtype": "float32",
    }


def _write_tokenizer(trained: Trained, to: Path) -> None:
    """The run's tokenizer with its extra tokens, where it has a form that other programs read."""
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing

    config, dataset = trained.config, trained.dataset
    tokenizer = config.data.tokenizer.exchangeable(dataset.tokenizer_folder)
    if tokenizer is None:
        return
    extra = {name: f"<|{name}|>" for name in config.objective.extra_tokens}
    for token in extra.values():  # one at a time: ids follow their order
        tokenizer.add_special_tokens([AddedToken(token, normalized=False)])
    if "bos" in extra:
        bos = (extra["bos"], tokenizer.token_to_id(extra["bos"]))
        tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    tokenizer.save(str(to / "tokenizer.json"))
    named = {f"{name}_token": token for name, token in extra.items() if name in ("bos", "mask")}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.data.context}
    _write(to / "tokenizer_config.json", {**about, "clean_up_tokenization_spaces": False, **named})


def _vocab(config: RunConfig) -> int:
    return config.data.tokenizer.vocab + len(config.objective.extra_tokens)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
