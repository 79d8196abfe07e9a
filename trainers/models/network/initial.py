"""Initial values as a function of the seed and a parameter's logical name alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from trainers.noise import hash_normal

if TYPE_CHECKING:
    from trainers.models.base import Module

OTHER_STD = 0.02


@torch.no_grad()
def initialise(model: Module, seed: int) -> None:
    """See `trainers.models.initialise`."""
    named: set[int] = set()
    declared: Any = getattr(model, "initial_parameters", None)
    if declared is not None:
        for name, tensor, std in declared():
            named.add(tensor.untyped_storage().data_ptr())
            if std is not None:
                _normal(tensor, seed, name, std)
    for name, parameter in model.named_parameters():
        if parameter.untyped_storage().data_ptr() in named:
            continue
        if parameter.ndim >= 2:
            _normal(parameter, seed, name, OTHER_STD)
        elif name.endswith("bias"):
            parameter.zero_()


def _normal(tensor: torch.Tensor, seed: int, name: str, std: float) -> None:
    index = torch.arange(tensor.numel(), dtype=torch.int64)
    values = hash_normal(seed, f"initial/{name}", index).mul_(std).view(tensor.shape)
    tensor.copy_(values)
