"""Optimizers. AdamW, with weight decay on matrices only, is the field's default."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from trainers.components.component import Component, Registry

if TYPE_CHECKING:
    from torch import Tensor


class Stepper(Protocol):
    """What the training loop needs of a built optimizer; every ``torch.optim.Optimizer`` has it.

    ``param_groups``: dicts with ``lr``, set before each step. ``state``: for each parameter, named tensors,
    all checkpointed.
    """

    param_groups: list[dict[str, Any]]
    state: Any

    def zero_grad(self, set_to_none: bool = True) -> None: ...

    def step(self) -> Any: ...


class Optimizer(Component):
    """An optimizer's settings; ``clip`` is common to all."""

    lr: float = Field(2e-3, gt=0, description="Peak learning rate.")
    clip: float | None = Field(
        1.0, gt=0, description="Global gradient norm is clipped to this; None for no clipping."
    )

    @abstractmethod
    def build(self, parameters: Sequence[Tensor]) -> Stepper:
        """The optimizer of these parameters, at the peak rate."""


class AdamW(Optimizer):
    """AdamW (arXiv 1711.05101)."""

    name: ClassVar[str] = "adamw"

    betas: tuple[float, float] = Field((0.9, 0.95), description="Decay of the moments.")
    eps: float = Field(1e-8, gt=0, description="Added to the root of the second moment.")
    weight_decay: float = Field(0.1, ge=0, description="Decoupled decay, on matrices only.")

    def build(self, parameters: Sequence[Tensor]) -> Stepper:
        from trainers.components.adamw import FusedAdamW

        matrices = [p for p in parameters if p.ndim >= 2]
        others = [p for p in parameters if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return FusedAdamW([g for g in groups if g["params"]], self.lr, self.betas, self.eps)


optimizers: Registry[Optimizer] = Registry("optimizer")
optimizers.register(AdamW)
