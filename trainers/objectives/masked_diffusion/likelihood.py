"""Likelihoods of a masked-diffusion model: the one Monte-Carlo bound that every run is scored by, and exact
chain rules.

The bound is the any-order ELBO in its sum form (LLaDA's likelihood evaluation, arXiv 2502.09992 appendix):
with n scored tokens,

    -log p(x) / n  <=  E_{k ~ U{1..n}} E_{|M| = k} (1/k) sum_{i in M} -log p(x_i | x outside M) .

k is stratified over sequences: sequence i of draw j takes the fraction (i phi + r_j) mod 1 of 1..n, with phi
the golden ratio, whose multiples fill the interval evenly for every number of sequences, and r_j a uniform
rotation of the draw. So each single value is unbiased, each draw is a stratification by itself, and draws are
independent replicates. Everything is a function of the validation position and the draw, shared by all runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trainers.components.lazy import torch
from trainers.models.attention import FULL, Attention
from trainers.noise import Noise, stream_key
from trainers.objectives.base import EVALUATION_SEED, Scores

if TYPE_CHECKING:
    from trainers.batch import Batch
    from trainers.models.base import Backbone

DecodingOrder = Literal["left_to_right", "confidence"]

_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
"""2**64 times the golden ratio, as int64: multiples wrap around 2**64 as fractions wrap around 1."""


def mask_counts(positions: torch.Tensor, lengths: torch.Tensor, draw: int) -> torch.Tensor:
    """k in 1..n of each validation position [B] in a draw; ``lengths`` [B] int64 are the n."""
    return counts_at(positions, lengths, stream_key(EVALUATION_SEED, f"evaluation/rotation/{draw}"))


def counts_at(positions: torch.Tensor, lengths: torch.Tensor, rotation: int) -> torch.Tensor:
    """k of each position under a rotation, an int64 fraction of 2**64; P(k) is within 2**-32 of 1/n."""
    fraction = ((positions * _GOLDEN + rotation) >> 32) & 0xFFFFFFFF
    return 1 + ((fraction * lengths) >> 32)


def evaluation_masks(positions: torch.Tensor, scored: torch.Tensor, draw: int) -> torch.Tensor:
    """Masked positions [B, T] of each validation position in a draw: a uniform subset of ``scored``."""
    counts = mask_counts(positions, scored.sum(1), draw)
    noise = Noise(EVALUATION_SEED, positions, 1)
    order = noise.uniform(f"evaluation/order/{draw}", scored.shape[1]).masked_fill(~scored, 2.0)
    ranks = order.argsort(dim=1, stable=True).argsort(1)
    return (ranks < counts[:, None]) & scored


def bidirectional(batch: Batch) -> Attention:
    """Full attention that leaves padding out, and other documents where it stays within them."""
    attention = FULL.within(batch.documents)
    return attention if bool(batch.real.all()) else attention.hiding(~batch.real)


def masked_nll(model: Backbone, mask: int, batch: Batch, masked: torch.Tensor) -> torch.Tensor:
    """Nats of each masked token given the visible ones, [B, T] float64, zero elsewhere.

    Only masked positions reach the head.
    """
    hidden = model(torch.where(masked, mask, batch.tokens), bidirectional(batch))
    nll = torch.zeros(masked.shape, dtype=torch.float64, device=masked.device)
    nll[masked] = model.token_nll(hidden[masked], batch.tokens[masked]).to(torch.float64)
    return nll


def elbo(model: Backbone, mask: int, batch: Batch, draws: range, micro_batch: int) -> Scores:
    """The bound in nats per token of each sequence and draw; ``mask`` is the id of the mask token."""
    columns = []
    for draw in draws:
        parts = []
        for start in range(0, len(batch), micro_batch):
            part = batch.rows(start, start + micro_batch)
            masked = evaluation_masks(part.counters, part.loss_mask, draw)
            nll = masked_nll(model, mask, part, masked)
            parts.append(nll.sum(1) / masked.sum(1).clamp_min(1))
        columns.append(torch.cat(parts))
    return Scores(torch.stack(columns, 1).cpu(), batch.loss_mask.sum(1).cpu())


def exact_under_order(
    model: Backbone,
    mask: int,
    batch: Batch,
    order: DecodingOrder,
    micro_batch: int = 64,
    tokens_per_step: int = 1,
) -> Scores:
    """The exact NLL, nats per token, of the sampler that decodes in a fixed order; no Monte-Carlo error.

    A rule that picks the next positions from what is visible alone makes the model a chain rule with a
    likelihood of its own (DUEL, arXiv 2603.01367). ``left_to_right`` is the plain chain rule; ``confidence``
    reveals the positions whose most likely token is the most probable, the first where equal.
    ``tokens_per_step`` of them are revealed at once, independently. It may lie above or below the bound.
    Takes n / tokens_per_step forwards a sequence.
    """
    values = []
    for start in range(0, len(batch), micro_batch):
        part = batch.rows(start, start + micro_batch)
        nll = _chain_rule(model, mask, part, order, tokens_per_step)
        values.append(nll / part.loss_mask.sum(1).clamp_min(1))
    return Scores(torch.cat(values)[:, None].cpu(), batch.loss_mask.sum(1).cpu())


def _chain_rule(
    model: Backbone, mask: int, batch: Batch, order: DecodingOrder, tokens_per_step: int
) -> torch.Tensor:
    """Nats of each sequence [B] float64 under a decoding order."""
    tokens, masked = batch.tokens, batch.loss_mask.clone()
    total = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    attention = bidirectional(batch)
    while bool(masked.any()):
        hidden = model(torch.where(masked, mask, tokens), attention)
        rank = torch.arange(tokens.shape[1], dtype=torch.float64, device=tokens.device).repeat(len(tokens), 1)
        if order == "confidence":
            logits = model.logits(hidden[masked]).to(torch.float64)
            rank[masked] = logits.logsumexp(-1) - logits.amax(-1)
        first = rank.masked_fill(~masked, torch.inf).argsort(dim=1, stable=True).argsort(1) < tokens_per_step
        chosen = first & masked
        nll = torch.zeros_like(rank)
        nll[chosen] = model.token_nll(hidden[chosen], tokens[chosen]).to(torch.float64)
        total += nll.sum(1)
        masked &= ~chosen
    return total
