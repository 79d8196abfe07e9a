"""What a model is to the rest of the project: exact counts without torch, and a module built on demand."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.components.component import Component, Registry

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Parameters:
    """Exact parameter counts.

    ``embedding``: input embedding and an untied head; ``non_embedding``: all the rest (the field's N without
    embeddings); ``extra``: rows for tokens that are fed but never predicted (mask, BOS), counted apart so
    that twins have equal N; ``matrix``: parameters that take part in matrix products, head included (tied or
    not), input embedding not.
    """

    embedding: int
    non_embedding: int
    extra: int
    matrix: int

    @property
    def total(self) -> int:
        """N with embeddings, extra rows left out."""
        return self.embedding + self.non_embedding


class Model(Component):
    """A model's config. ``vocab`` is V, the tokens that can be predicted; ``extra`` how many further rows can
    be fed.
    """

    @abstractmethod
    def parameters(self, vocab: int, extra: int) -> Parameters:
        """Exact counts, equal to those of the built module."""

    @abstractmethod
    def flops_per_token(self, vocab: int, context: int) -> int:
        """Training FLOPs a token by the ``matmul`` convention: 6 x matrix parameters + 12 L T d (full
        attention).
        """

    @abstractmethod
    def activation_bytes(
        self, vocab: int, context: int, sequences: int, bytes_per_value: int, recompute: bool = False
    ) -> int:
        """Peak bytes that one forward and backward pass of ``sequences`` sequences holds, weights not
        counted.

        ``bytes_per_value`` is 4 or 2, of what lies between matrix products; ``recompute``: with activation
        checkpointing.
        """

    @abstractmethod
    def build(self, vocab: int, extra: int, context: int) -> torch.nn.Module:
        """The module, uninitialised (see `trainers.models.initialise`)."""


models: Registry[Model] = Registry("model", "trainers.models")
