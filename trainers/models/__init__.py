"""Models: one file each, registered with ``@models.register``. Importing this package needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.components.lazy import torch

if TYPE_CHECKING:
    from trainers.config import RunConfig
    from trainers.models.base import Backbone, Module


def build(config: RunConfig, device: torch.device | str = "cpu") -> Backbone:
    """The initialised module of a run: backbone, the objective's extra tokens, and the objective's own
    modules.
    """
    vocab = config.data.tokenizer.vocab
    model = config.model.build(vocab, len(config.objective.extra_tokens), config.data.context)
    model.objective = config.objective.modules(config.model, vocab)
    model.checkpoint_activations = config.resources.checkpoint_activations
    model.kernels = config.resources.kernels
    initialise(model, config.seed)
    model.to(device)
    return model


def initialise(model: Module, seed: int) -> None:
    """Set every parameter from hash(seed, its logical name), in place; their order and fusion do not matter.

    A module with ``initial_parameters()`` names its tensors and their standard deviations (None: leave as
    built). Others (an objective's extra modules): matrices are normal with standard deviation 0.02, biases
    zero, other vectors as built.
    """
    from trainers.models.network.initial import initialise as apply

    apply(model, seed)
