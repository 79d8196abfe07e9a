"""Sampling a token from logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.components.lazy import torch

if TYPE_CHECKING:
    from trainers.noise import Noise


def gumbel(noise: Noise, stream: str, *shape: int) -> torch.Tensor:
    """Standard Gumbel noise [B, *shape], float64, from 48 random bits a value.

    float32 cuts off the upper tail, which lowers the entropy of what is sampled and flatters generative
    perplexity (Zheng et al., arXiv 2409.02908).
    """
    high, low = (noise.uniform(f"{stream}/{part}", *shape).to(torch.float64) for part in ("high", "low"))
    return -(-(high + low * 2.0**-24 + 2.0**-49).log()).log()


def draw(logits: torch.Tensor, temperature: float, noise: Noise, stream: str) -> torch.Tensor:
    """One token [B, ...] of logits [B, ..., V] at a temperature; 0 takes the most likely."""
    scaled = logits.to(torch.float64)
    if temperature > 0:
        scaled = scaled / temperature + gumbel(noise, stream, *logits.shape[1:])
    return scaled.argmax(-1)
