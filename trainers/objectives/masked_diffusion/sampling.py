"""Sampling a masked-diffusion model: from all masked to none, in as many steps as one likes.

What is given is never masked, wherever it stands, so prompts and gaps are completed alike.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.components.lazy import torch
from trainers.noise import Noise
from trainers.objectives.base import Objective
from trainers.objectives.categorical import draw
from trainers.objectives.masked_diffusion.objective import MaskedDiffusion
from trainers.objectives.sampler import Sampler, samplers

if TYPE_CHECKING:
    from trainers.models.base import Backbone


class Unmasking(Sampler):
    """At each step every masked token is drawn, and some of the drawn ones are kept."""

    objective: ClassVar[type[Objective]] = MaskedDiffusion

    steps: int | None = Field(None, ge=1, description="Forward passes; None for one a token.")
    temperature: float = Field(1.0, ge=0, description="Divides the logits; 0 takes the most likely token.")

    @abstractmethod
    def kept(
        self,
        masked: torch.Tensor,
        log_p: torch.Tensor,
        drawn: torch.Tensor,
        remaining: int,
        noise: Noise,
        step: int,
    ) -> torch.Tensor:
        """Which of the ``masked`` positions [B, T] keep what was ``drawn`` [B, T] for them from ``log_p`` [B,
        T, V] float64. ``remaining`` steps, this one included, have to reveal all.
        """

    def complete(self, model: Backbone, tokens: torch.Tensor, given: torch.Tensor, seed: int) -> torch.Tensor:
        noise = Noise(seed, torch.arange(len(tokens), device=tokens.device), len(tokens), "sample/")
        mask = model.vocab
        tokens = torch.where(given, tokens, mask)
        steps = max(int((~given).sum(1).max()), 1) if self.steps is None else self.steps
        with torch.no_grad():
            for step in range(steps):
                masked = tokens == mask
                if not bool(masked.any()):
                    break
                log_p = model.logits(model(tokens, "full")).to(torch.float64).log_softmax(-1)
                drawn = draw(log_p, self.temperature, noise, f"token/{step}")
                kept = self.kept(masked, log_p, drawn, steps - step, noise, step)
                tokens = torch.where(kept & masked, drawn, tokens)
        return tokens


@samplers.register
class Confidence(Unmasking):
    """Keeps an equal share of the masked tokens at each step: those whose drawn token is the most probable
    (LLaDA's low-confidence remasking, arXiv 2502.09992; SMDM's ``greddy``).
    """

    name: ClassVar[str] = "confidence"

    def kept(
        self,
        masked: torch.Tensor,
        log_p: torch.Tensor,
        drawn: torch.Tensor,
        remaining: int,
        noise: Noise,
        step: int,
    ) -> torch.Tensor:
        return surest(masked, log_p.gather(-1, drawn[..., None])[..., 0], remaining)


@samplers.register
class Ancestral(Unmasking):
    """Keeps each token with probability (t - s) / t from level t to s (MDLM, arXiv 2406.07524; SMDM's
    ``origin``).

    This is the reverse process of the bound, so with many steps it samples the distribution that the bound is
    about.
    """

    name: ClassVar[str] = "ancestral"

    def kept(
        self,
        masked: torch.Tensor,
        log_p: torch.Tensor,
        drawn: torch.Tensor,
        remaining: int,
        noise: Noise,
        step: int,
    ) -> torch.Tensor:
        return noise.uniform(f"reveal/{step}", masked.shape[1]) < 1 / remaining


def surest(masked: torch.Tensor, confidence: torch.Tensor, remaining: int) -> torch.Tensor:
    """The share of ``masked`` [B, T] that is due with ``remaining`` steps to go: those of the highest
    ``confidence`` [B, T], the first where equal.
    """
    count = -(-masked.sum(1, keepdim=True) // remaining)
    ranked = confidence.masked_fill(~masked, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return ranked.argsort(1) < count
