"""The predicted memory of a training process. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.config import RunConfig

HEAP = 1.17
"""Bytes that the allocator holds for a byte of activations: what is freed between pieces that stay is not all
used again. Measured with glibc, 1.12 to 1.28 over five shapes."""

LIBRARIES = 12_000_000
"""Bytes that libraries keep for products of a new shape, and a run for its data and records."""


def training_bytes(config: RunConfig) -> int:
    """Peak bytes of training above those of the process before its model is built.

    Weights, AdamW's two moments, and the copy of both that a checkpoint is written from while training goes
    on; beside them the larger of the activations (with the gradients, where batches are accumulated, and the
    masks, where each sequence has its own) and the gradients.
    """
    model, resources = config.model, config.resources
    vocab = config.data.tokenizer.vocab
    weights = 4 * config.counts.stored
    states = 3 + (config.ema is not None)
    sequences = min(resources.micro_batch or config.batch_size, config.batch_size)
    activations = HEAP * model.activation_bytes(
        vocab,
        config.data.context,
        sequences,
        2 if config.dtype == "bfloat16" else 4,
        resources.checkpoint_activations,
    )
    if config.data.attend == "within":
        activations += 4 * sequences * config.data.context**2
    if sequences < config.batch_size:
        activations += weights
    return int(LIBRARIES + 2 * states * weights + max(activations, weights))
