"""How a run's tensors lie over the workers that train it together.

A layout wraps the model, reduces gradients, and gives and takes whole tensors for checkpoints. The learner
goes through it for all of these, so that a sharded model needs no other loop.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trainers.components.errors import UserError
from trainers.components.lazy import torch
from trainers.machine.workers import ALONE, Workers

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.models.base import Backbone


class Layout(ABC):
    """A layout of one run over ``workers``. All of them make the same calls in the same order."""

    def __init__(self, workers: Workers = ALONE) -> None:
        self.workers = workers

    @abstractmethod
    def wrap(self, model: Backbone) -> Backbone:
        """The model that is trained, of an initialised one."""

    @abstractmethod
    def reduce(self, parameters: Sequence[Tensor]) -> None:
        """Sum the gradients of a backward pass over workers, each for the parameters that it keeps."""

    @abstractmethod
    def clip(self, parameters: Sequence[Tensor], most: float | None) -> Tensor:
        """Scale the gradients down to the global norm ``most`` where it is larger; their norm before, 0-d."""

    @abstractmethod
    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copies on the CPU of whole tensors, for a checkpoint."""

    @abstractmethod
    def load(self, own: Tensor, whole: Tensor) -> None:
        """Copy this worker's part of a whole tensor into its own, in place."""


class Replicate(Layout):
    """Every worker has the whole model: data parallelism. Gradients are summed after the backward pass."""

    def wrap(self, model: Backbone) -> Backbone:
        return model

    def reduce(self, parameters: Sequence[Tensor]) -> None:
        self.workers.sum_gradients(parameters)

    def clip(self, parameters: Sequence[Tensor], most: float | None) -> Tensor:
        limit = math.inf if most is None else most
        return torch.nn.utils.clip_grad_norm_(list(parameters), limit, foreach=True)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: t.detach().to("cpu", copy=True) for name, t in tensors.items()}

    def load(self, own: Tensor, whole: Tensor) -> None:
        own.copy_(whole)


def layout_of(name: str, workers: Workers = ALONE) -> Layout:
    """The layout of a run (``resources.layout``). `UserError` for one that is not there yet."""
    if name != "replicate":
        raise UserError(f"resources.layout: {name!r} is not there yet; allowed: 'replicate'")
    return Replicate(workers)
