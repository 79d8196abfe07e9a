"""Training FLOPs of a run, by named convention. Needs no torch."""

from __future__ import annotations

from trainers.config import RunConfig


def matmul_flops(config: RunConfig) -> float:
    """Training FLOPs a token by the ``matmul`` convention.

    6 x matrix parameters that a token uses (head included, input embedding not) + 12 L T d, full attention
    counted for every objective, times the objective's forward-backward passes; and its own modules'.
    """
    return config.objective.flops_per_token(config.model, config.data.tokenizer.vocab, config.data.context)


training_flops = matmul_flops


def six_nd(config: RunConfig, tokens: float) -> float:
    """6 N D, N being all parameters, embeddings included and extra rows not."""
    return 6 * config.counts.total * tokens
