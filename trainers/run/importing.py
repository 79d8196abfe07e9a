"""Weights that a run starts from: a folder of safetensors, written by this project or by ``transformers``.

This is the inverse of `trainers.run.exporting`. Matrices of Llama and Qwen3 are those of our transformer,
rows of queries and keys in another order; what the folder does not hold (rows of extra tokens, an
objective's own modules) stays as initialised.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from trainers.components.errors import UserError
from trainers.components.files import file_sha256
from trainers.components.lazy import torch
from trainers.config import Pretrained, RunConfig
from trainers.models.transformer import Transformer
from trainers.run.exporting import OWN_CONFIG, WEIGHTS, transformers_name
from trainers.run.learner import Learner
from trainers.state.checkpoint import Snapshot

_AGREE = {
    "rms_norm_eps": lambda model: model.norm_eps,
    "tie_word_embeddings": lambda model: model.tied,
    "num_attention_heads": lambda model: model.n_heads,
    "num_key_value_heads": lambda model: model.n_kv_heads,
}
"""Fields of a ``config.json`` that no tensor's shape tells, and what they are of a model of ours."""


def adopt(learner: Learner, init: Pretrained) -> None:
    """Give a new learner the weights of a folder, and what they cost where the folder says it.

    Raises ``UserError`` where the file is not the declared one, or its model is not the learner's.
    """
    folder = Path(init.path)
    if file_sha256(folder / WEIGHTS) != init.sha256:
        raise UserError(f"init.sha256: {folder / WEIGHTS} is another file than {init.sha256}")
    tensors, own = load_file(folder / WEIGHTS), _read(folder / OWN_CONFIG)
    source = RunConfig.model_validate(own["config"]) if own is not None else None
    same = source is not None and source.objective.name == learner.config.objective.name
    fresh = () if same else ("extra", "objective.")
    if own is not None and own["layout"] == "crossover":
        counters = learner.snapshot(with_state=False).counters
        weights = {f"model.{name}": tensor for name, tensor in tensors.items()}
        learner.load_weights(Snapshot(0, weights, None, counters), fresh)
    else:
        _check(_read(folder / "config.json"), learner.config)
        _translate(learner, tensors, fresh)
    learner.inherited = dict(own.get("spent", learner.inherited)) if own is not None else learner.inherited


@torch.no_grad()
def _translate(learner: Learner, tensors: dict[str, torch.Tensor], fresh: tuple[str, ...]) -> None:
    """Copy tensors in that have the names and shapes of Llama or Qwen3."""
    vocab = learner.dataset.vocab
    model: Any = learner.model
    extra = len(learner.config.objective.extra_tokens)
    for name, view in model.logical_parameters():
        if fresh and name.startswith(fresh):
            continue
        theirs = transformers_name(name)
        given = tensors.get(theirs)
        if given is not None and name in ("embedding", "extra", "head"):
            given = given[vocab : vocab + extra] if name == "extra" else given[:vocab]
        expected = [view.numel()] if name.endswith("norm") else list(view.flatten(0, -2).shape)
        if given is None or list(given.shape) != expected:
            there = "not there" if given is None else f"{list(given.shape)} there"
            raise UserError(f"init.path: {theirs} is {there}, and model's {name} is {expected}")
        view.copy_(given.reshape(view.shape))
    if learner.average is not None:
        for mine, followed in zip(learner.average.parameters(), model.parameters(), strict=True):
            mine.copy_(followed)


def _check(theirs: dict[str, Any] | None, config: RunConfig) -> None:
    """That a model of ``transformers`` is one that ours computes. Shapes are not compared here."""
    model = config.model
    known = theirs is not None and theirs.get("model_type") in ("llama", "qwen3")
    if theirs is None or not known or not isinstance(model, Transformer):
        raise UserError("init.path: there is no config.json of a Llama or Qwen3 for a model transformer")
    if model.qk_norm != (theirs["model_type"] == "qwen3"):
        raise UserError(f"init.path: model_type {theirs['model_type']}, and model.qk_norm is {model.qk_norm}")
    base = theirs.get("rope_theta", (theirs.get("rope_parameters") or {}).get("rope_theta"))
    pairs = {"rope_theta": (base, model.rope_base)}
    pairs |= {name: (theirs.get(name), own(model)) for name, own in _AGREE.items()}
    for name, (there, here) in pairs.items():
        if there is not None and there != here:
            raise UserError(f"init.path: {name} is {there} there, and {here} in model")


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None
