"""Sampling a masked-diffusion model: from all masked to none, in as many steps as one likes.

``ancestral`` reveals each masked token with probability (t - s) / t from level t to s (MDLM, SMDM's
`origin`): the reverse process of the bound, so with many steps it samples the distribution that the bound is
about. ``confidence`` reveals, at each step, an equal share of the masked tokens: those whose drawn token is
the most probable (LLaDA's low-confidence remasking, SMDM's `greddy`).
"""

from __future__ import annotations

from typing import Any, Literal

from trainers.components.lazy import torch
from trainers.noise import Noise
from trainers.objectives.categorical import draw

Sampler = Literal["confidence", "ancestral"]


def sample(
    model: Any,
    prompts: torch.Tensor,
    length: int,
    seed: int,
    *,
    mask: int,
    sampler: Sampler = "confidence",
    steps: int | None = None,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Continue prompts [B, P] to [B, length] in ``steps`` forward passes (default: one a token)."""
    missing = length - prompts.shape[1]
    if missing < 0:
        raise ValueError(f"length {length} is less than the prompt's {prompts.shape[1]} tokens")
    if sampler not in ("confidence", "ancestral"):
        raise ValueError(f"sampler must be confidence or ancestral, not {sampler!r}")
    steps = max(missing, 1) if steps is None else steps
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, not {steps}")
    noise = Noise(seed, torch.arange(len(prompts), device=prompts.device), len(prompts), "sample/")
    tokens = torch.cat([prompts, prompts.new_full((len(prompts), missing), mask)], 1)
    with torch.no_grad():
        for step in range(steps):
            masked = tokens == mask
            if not bool(masked.any()):
                break
            log_p = model.logits(model(tokens, "full")).to(torch.float64).log_softmax(-1)
            drawn = draw(log_p, temperature, noise, f"token/{step}")
            left = steps - step
            if sampler == "confidence":
                count = -(-masked.sum(1, keepdim=True) // left)
                confidence = log_p.gather(-1, drawn[..., None])[..., 0].masked_fill(~masked, -torch.inf)
                reveal = confidence.argsort(dim=1, descending=True, stable=True).argsort(1) < count
            else:
                reveal = noise.uniform(f"reveal/{step}", length) < 1 / left
            tokens = torch.where(reveal & masked, drawn, tokens)
    return tokens
