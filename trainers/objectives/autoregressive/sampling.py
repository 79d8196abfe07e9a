"""Sampling left to right with a key-value cache: each new token costs one position."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.components.lazy import torch
from trainers.noise import Noise
from trainers.objectives.categorical import draw

if TYPE_CHECKING:
    from trainers.models.base import Backbone


def sample(
    model: Backbone, prompts: torch.Tensor, length: int, seed: int, *, bos: int, temperature: float = 1.0
) -> torch.Tensor:
    """Continue prompts [B, P] to [B, length]. The noise of a sample depends on seed, its row and the position
    alone.
    """
    if length < prompts.shape[1]:
        raise ValueError(f"length {length} is less than the prompt's {prompts.shape[1]} tokens")
    noise = Noise(seed, torch.arange(len(prompts), device=prompts.device), len(prompts), "sample/")
    tokens, cache = prompts, model.new_cache()
    feed = torch.cat([prompts.new_full((len(prompts), 1), bos), prompts], 1)
    with torch.no_grad():
        for position in range(prompts.shape[1], length):
            logits = model.logits(model(feed, "causal", cache=cache)[:, -1])
            feed = draw(logits, temperature, noise, f"token/{position}")[:, None]
            tokens = torch.cat([tokens, feed], 1)
    return tokens
