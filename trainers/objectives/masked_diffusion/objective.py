"""Masked (absorbing-state) discrete diffusion: predict masked tokens from visible ones, at a random mask
rate.

The training loss is a Monte-Carlo estimate of the any-order bound (MDLM, arXiv 2406.07524; SMDM, arXiv
2410.18514; LLaDA, arXiv 2502.09992)

    -log p(x) <= L = E_{t ~ U(0,1)} (1/t) sum_{i masked} CE_i  =  E_{k ~ U{1..T}} (T/k) sum_{i masked} CE_i ,

where each token is masked with probability t (left), or k tokens are masked, all subsets alike (right), and
CE_i = -log p(x_i | visible tokens). How far each variant of the fields below is from L, with g(k) = E CE_i of
a masked token when k of T are masked and f(p) = E g(k) under Bernoulli(p) weighting, so that L/T = mean_k
g(k) = int_0^1 f(p) dp:

- ``inverse_p``, ``epsilon`` e: L/T + e/(1-e) (L/T - mean_{p<e} f(p)). A model is better with more context, so
  f rises with p, and the loss lies above L/T, by at most .001 L/T at e = .001. Unbiased at e = 0.
- ``realised`` (T/k), empty masks drawn again: L/T at e = 0, with less variance than 1/p: k is uniform on
  1..T.
- ``realised`` with ``forced_mask`` (MegaDLMs): L/T + (g(1) - L/T)/(T+1), *below* the bound where g rises: not
  a bound.
- ``none`` (MaskGIT, arXiv 2202.04200): sum_k (k/T) g(k), unweighted: not a likelihood.

Evaluation does not depend on any of this: see `trainers.objectives.masked_diffusion.likelihood`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, cast, get_args

from pydantic import Field

from trainers.components.lazy import torch
from trainers.noise import Noise
from trainers.objectives.base import Corruption, Likelihood, Objective, Scores, objectives
from trainers.objectives.masked_diffusion import likelihood as estimator

if TYPE_CHECKING:
    from trainers.batch import Batch
    from trainers.models.base import Backbone


@objectives.register
class MaskedDiffusion(Objective):
    """Masked diffusion; the defaults are SMDM's, LLaDA's and DBA's loss with MDLM's stratified t."""

    name: ClassVar[str] = "masked_diffusion"
    likelihood: ClassVar[Likelihood] = "upper_bound"
    decoding_orders: ClassVar[tuple[str, ...]] = get_args(estimator.DecodingOrder)
    sampler: ClassVar[str | None] = "confidence"

    t: Literal["stratified", "iid"] = Field(
        "stratified",
        description="Mask level t: one in every 1/batch-th of (0, 1) a global batch (MDLM: the same loss in "
        "expectation, with less variance), or independent a sequence (SMDM, LLaDA, DBA).",
    )
    weight: Literal["inverse_p", "realised", "none"] = Field(
        "inverse_p",
        description="Weight of a masked token: 1/p, p its mask probability (SMDM, LLaDA, DBA); tokens over "
        "realised mask count, empty masks drawn again (any-order ELBO); or 1 (MaskGIT, not a likelihood).",
    )
    epsilon: float = Field(
        1e-3,
        ge=0,
        lt=1,
        description="Least mask probability, p = (1 - epsilon) t + epsilon: it caps the weight 1/p. "
        "1e-3 in SMDM, LLaDA, DBA and MDLM.",
    )
    normaliser: Literal["all", "masked", "sequence"] = Field(
        "all",
        description="Divide by all non-padding tokens of the global batch (SMDM, LLaDA, DBA); by its masked "
        "ones (DiffuLLaMA: about twice the scale, not a bound); or each sequence by its own length, then by "
        "sequences (LLaDA's fine-tuning).",
    )
    forced_mask: bool = Field(
        False,
        description="Mask one token where none was drawn (MegaDLMs, with weight realised). Not a bound.",
    )
    random_length: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of steps whose sequences are cut to one random length in 1..T. 0.01 in LLaDA and "
        "SMDM's _rl models, which are used at many lengths; 0 in SMDM's scaling runs, and here, where twins "
        "are scored at one length.",
    )

    @property
    def short(self) -> str:
        return "MDM"

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        return ("mask",)

    @property
    def training_likelihood(self) -> Likelihood:
        """A bound only where the expected loss is the ELBO's: no forced mask, no finite epsilon, no cut."""
        unbiased = self.weight != "none" and self.normaliser != "masked" and not self.forced_mask
        return "upper_bound" if unbiased and self.epsilon == 0 and self.random_length == 0 else "none"

    def corrupt(self, model: Backbone, batch: Batch, noise: Noise, step: int) -> Corruption:
        length = self._length(batch, noise)
        batch = batch.cut(length)
        tokens, scored = batch.tokens, batch.loss_mask
        masked, p = self.draw_masks(scored, noise)
        sizes = scored.sum(1, keepdim=True)
        if self.weight == "inverse_p":
            weights = masked / p[:, None].clamp_min(2.0**-24)
        elif self.weight == "realised":
            weights = masked * sizes / masked.sum(1, keepdim=True).clamp_min(1)
        else:
            weights = masked.to(torch.float32)
        normaliser = scored.sum()
        if self.normaliser == "masked":
            normaliser = masked.sum()
        elif self.normaliser == "sequence":
            weights, normaliser = weights / sizes.clamp_min(1), (sizes > 0).sum()
        return Corruption(
            inputs=torch.where(masked, model.vocab, tokens),
            targets=tokens,
            weights=weights.to(torch.float32),
            normaliser=normaliser,
            attention=estimator.bidirectional(batch),
            positions=batch.positions,
        )

    def draw_masks(self, scored: torch.Tensor, noise: Noise) -> tuple[torch.Tensor, torch.Tensor]:
        """Which positions are masked [B, T] (none outside ``scored``), and the mask probability of each
        sequence [B] float32.
        """
        p = self._rate(noise.stratified("t") if self.t == "stratified" else noise.uniform("t"))
        masked = (noise.uniform("mask", scored.shape[1]) < p[:, None]) & scored
        if not self.forced_mask and self.weight != "realised":
            return masked, p
        empty = scored.any(1) & ~masked.any(1)
        if self.forced_mask:
            first = noise.uniform("forced", scored.shape[1]).masked_fill(~scored, 2.0).argmin(1, keepdim=True)
            return masked | torch.zeros_like(masked).scatter(1, first, empty[:, None]), p
        attempt = 0
        while bool(empty.any()):
            # The level is drawn anew with its mask: given t alone, small t would keep too large a share.
            again = noise.derive(f"redraw/{attempt}")
            fresh_p = self._rate(again.uniform("t"))
            fresh = (again.uniform("mask", scored.shape[1]) < fresh_p[:, None]) & scored
            masked, p = torch.where(empty[:, None], fresh, masked), torch.where(empty, fresh_p, p)
            empty = scored.any(1) & ~masked.any(1)
            attempt += 1
        return masked, p

    def fed(self, batch: Batch, noise: Noise, step: int) -> torch.Tensor:
        return batch.real[:, : self._length(batch, noise)].sum()

    def score(self, model: Backbone, batch: Batch, draws: range, micro_batch: int) -> Scores:
        """The one estimator for masked diffusion, whatever the training variant:
        `trainers.objectives.masked_diffusion.likelihood.elbo`.
        """
        return estimator.elbo(model, model.vocab, batch, draws, micro_batch)

    def score_in_order(
        self, model: Backbone, batch: Batch, order: str, micro_batch: int = 64, tokens_per_step: int = 1
    ) -> Scores:
        """See `trainers.objectives.masked_diffusion.likelihood.exact_under_order`."""
        if order not in self.decoding_orders:
            return super().score_in_order(model, batch, order)
        chosen = cast(estimator.DecodingOrder, order)
        return estimator.exact_under_order(model, model.vocab, batch, chosen, micro_batch, tokens_per_step)

    def _rate(self, t: torch.Tensor) -> torch.Tensor:
        return (1 - self.epsilon) * t + self.epsilon

    def _length(self, batch: Batch, noise: Noise) -> int:
        """Length that this step's sequences are cut to; one for the whole global batch, as published, so it
        needs no padding.
        """
        full = batch.tokens.shape[1]
        if not self.random_length:
            return full
        step = torch.div(batch.counters[:1], noise.global_batch, rounding_mode="floor")
        drawn = Noise(noise.seed, step, 1, f"{noise.prefix}random_length/")
        cut = bool(drawn.uniform("whether") < self.random_length)
        return 1 + int(drawn.integers("length", full)) if cut else full
