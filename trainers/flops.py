"""Training FLOPs of a run, by named convention. Needs no torch."""

from __future__ import annotations

from trainers.config import RunConfig


def matmul_flops(config: RunConfig) -> float:
    """Training FLOPs a token by the ``matmul`` convention.

    6 x matrix parameters (head included, input embedding not) + 12 L T d, full attention counted for every
    objective, times the objective's forward-backward passes.
    """
    per_pass = config.model.flops_per_token(config.data.tokenizer.vocab, config.data.context)
    return config.objective.training_forwards * per_pass


training_flops = matmul_flops


def six_nd(config: RunConfig, tokens: float) -> float:
    """6 N D, N being all parameters, embeddings included and extra rows not."""
    return 6 * config.model.parameters(config.data.tokenizer.vocab, 0).total * tokens
