"""Optimizers. AdamW, with weight decay on matrices only, is the field's default."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trainers.component import Component, Registry


class Optimizer(Component):
    """An optimizer's settings; ``clip`` is common to all."""

    lr: float = Field(2e-3, gt=0, description="Peak learning rate.")
    clip: float | None = Field(1.0, gt=0, description="Global gradient norm is clipped to this; None for no clipping.")


class AdamW(Optimizer):
    """AdamW (arXiv 1711.05101)."""

    name: ClassVar[str] = "adamw"

    betas: tuple[float, float] = Field((0.9, 0.95), description="Decay of the moments.")
    eps: float = Field(1e-8, gt=0, description="Added to the root of the second moment.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay, on matrices only.")


optimizers: Registry[Optimizer] = Registry("optimizer")
optimizers.register(AdamW)
