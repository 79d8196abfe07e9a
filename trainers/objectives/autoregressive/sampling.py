"""Sampling left to right with a key-value cache: each new token costs one position."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.components.errors import UserError
from trainers.components.lazy import torch
from trainers.noise import Noise
from trainers.objectives.autoregressive.objective import Autoregressive
from trainers.objectives.base import Objective
from trainers.objectives.categorical import draw
from trainers.objectives.sampler import Sampler, samplers

if TYPE_CHECKING:
    from trainers.models.base import Backbone


@samplers.register
class LeftToRight(Sampler):
    """Token by token, each from the model's distribution after those before it."""

    name: ClassVar[str] = "left_to_right"
    objective: ClassVar[type[Objective]] = Autoregressive

    temperature: float = Field(1.0, ge=0, description="Divides the logits; 0 takes the most likely token.")

    def complete(self, model: Backbone, tokens: torch.Tensor, given: torch.Tensor, seed: int) -> torch.Tensor:
        if bool((given[:, 1:] & ~given[:, :-1]).any()):
            raise UserError(
                f"sampler {self.name!r} draws what follows a prefix; it cannot fill a gap before given tokens"
            )
        noise = Noise(seed, torch.arange(len(tokens), device=tokens.device), len(tokens), "sample/")
        first, tokens, cache = int(given.sum(1).min()), tokens.clone(), model.new_cache()
        feed = torch.cat([tokens.new_full((len(tokens), 1), model.vocab), tokens[:, :first]], 1)
        with torch.no_grad():
            for position in range(first, tokens.shape[1]):
                logits = model.logits(model(feed, "causal", cache=cache)[:, -1])
                drawn = draw(logits, self.temperature, noise, f"token/{position}")
                tokens[:, position] = torch.where(given[:, position], tokens[:, position], drawn)
                feed = tokens[:, position, None]
        return tokens
