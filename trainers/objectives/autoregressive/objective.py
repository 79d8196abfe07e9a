"""Autoregressive language modelling: predict each token from those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.components.lazy import torch
from trainers.models.attention import CAUSAL
from trainers.objectives.base import Corruption, Likelihood, Objective, Scores, objectives

if TYPE_CHECKING:
    from trainers.batch import Batch
    from trainers.models.base import Backbone
    from trainers.noise import Noise


@objectives.register
class Autoregressive(Objective):
    """Next-token prediction under causal attention; the loss is the exact NLL.

    Inputs are [BOS, x_0 .. x_{T-2}], targets x_0 .. x_{T-1}: the first token is predicted too, so that a
    masked twin is scored on the same T positions. Padding stands at the end of a sequence, where causal
    attention never sees it. Where attention stays within documents, BOS stands before each of them.
    """

    name: ClassVar[str] = "autoregressive"
    likelihood: ClassVar[Likelihood] = "exact"
    sampler: ClassVar[str | None] = "left_to_right"

    input_mask: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of input tokens replaced by a mask token while training, the loss staying on all "
        "positions: noise for AR as in arXiv 2511.03276 and 2510.04071 (0 .1 .3 .5 .7 .9 there). BOS stays.",
    )

    @property
    def short(self) -> str:
        return "AR"

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return ("bos", "mask") if self.input_mask else ("bos",)

    @property
    def training_likelihood(self) -> Likelihood:
        return "none" if self.input_mask else "exact"

    def corrupt(self, model: Backbone, batch: Batch, noise: Noise, step: int) -> Corruption:
        context = batch.tokens[:, :-1]
        if self.input_mask:
            hidden = noise.uniform("input_mask", context.shape[1]) < self.input_mask
            context = torch.where(hidden, model.vocab + 1, context)
        return Corruption(
            inputs=_shift_in_bos(context, model.vocab, batch.documents),
            targets=batch.tokens,
            weights=batch.loss_mask.to(torch.float32),
            normaliser=batch.loss_mask.sum(),
            attention=CAUSAL.within(batch.documents),
            positions=batch.positions,
        )

    def score(self, model: Backbone, batch: Batch, draws: range, micro_batch: int) -> Scores:
        """Exact: one draw, whatever is asked for."""
        values = []
        for start in range(0, len(batch), micro_batch):
            part = batch.rows(start, start + micro_batch)
            inputs = _shift_in_bos(part.tokens[:, :-1], model.vocab, part.documents)
            hidden = model(inputs, CAUSAL.within(part.documents), part.positions)
            nll = model.token_nll(hidden, part.tokens).to(torch.float64)
            values.append((nll * part.loss_mask).sum(1) / part.loss_mask.sum(1).clamp_min(1))
        return Scores(torch.cat(values)[:, None].cpu(), batch.loss_mask.sum(1).cpu())


def _shift_in_bos(context: torch.Tensor, bos: int, documents: torch.Tensor | None) -> torch.Tensor:
    """[B, T-1] ids with BOS before them: [B, T]; in the place of what precedes a document too, where
    ``documents`` are told apart.
    """
    if documents is not None:
        context = context.masked_fill(documents[:, 1:] != documents[:, :-1], bos)
    return torch.cat([context.new_full((len(context), 1), bos), context], 1)
