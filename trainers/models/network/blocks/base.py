"""What a block is: the tensors of one layer, and what a layer makes of the residual stream.

The tensors are declared, so counts, FLOPs, initial values and the module follow from one list.
`docs/write-your-own-block.md` builds one with experts.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from trainers.components.component import Component, Registry
from trainers.models.network.limits import EXPLICIT_CONTEXT, LOGITS_VALUES

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.models.network.forward_pass import ForwardPass
    from trainers.models.transformer import Transformer

Initial = Literal["normal", "residual", "ones", "zeros"]
"""First values: normal with the model's ``init_std``; the same over sqrt(2 L), for what is added to the
residual stream (GPT-2); or constants."""


@dataclass(frozen=True)
class Weight:
    """A tensor that a block declares.

    ``used`` is the share of it that one token uses: k / E for E experts of which a token is sent to k.
    ``embedding``: it is looked up, not multiplied with, and counts as embedding.
    """

    shape: tuple[int, ...]
    initial: Initial = "normal"
    used: float = 1.0
    embedding: bool = False

    @property
    def size(self) -> int:
        """Parameters."""
        return math.prod(self.shape)

    @property
    def active(self) -> int:
        """Parameters that one token uses."""
        return round(self.size * self.used)

    @property
    def matrix(self) -> int:
        """Parameters that one token is multiplied with."""
        return self.active if len(self.shape) > 1 and not self.embedding else 0


Weights = Mapping[str, "Tensor"]
"""A layer's tensors, or the network's outer ones, by the names under which they were declared."""


class Block(Component):
    """The form of a transformer's layers. Its fields are its options; ``model`` gives the shape.

    Matrices are [out, in]. B sequences, T positions, d width, H heads, e head width, f width of the MLP.
    """

    rotary: ClassVar[bool] = False
    """Whether RoPE tells positions apart: ``run.view.rotation`` is given, and heads have an even width."""
    unused: ClassVar[frozenset[str]] = frozenset()
    """Fields of the transformer that this block does not read. They are no part of a run's identity."""

    def ffn_width(self, model: Transformer) -> int:
        """Hidden width of the MLP where the model gives none."""
        return 4 * model.width

    @abstractmethod
    def layer(self, model: Transformer) -> dict[str, Weight]:
        """The tensors of one layer by name. Each layer has them all."""

    @abstractmethod
    def outer(self, model: Transformer) -> dict[str, Weight]:
        """Tensors of the network outside its layers: the last norm, learned positions."""

    @abstractmethod
    def forward(self, model: Transformer, layer: Weights, x: Tensor, run: ForwardPass, index: int) -> Tensor:
        """The residual stream [B, T, d] after layer ``index``."""

    def enter(self, outer: Weights, x: Tensor, positions: Tensor) -> Tensor:
        """The residual stream before the first layer; ``positions`` [T] or [B, T]."""
        return x

    @abstractmethod
    def leave(self, model: Transformer, outer: Weights, x: Tensor, run: ForwardPass) -> Tensor:
        """Hidden states [B, T, d] of the residual stream after the last layer: usually its norm."""

    def logical(self, model: Transformer, layer: Weights) -> Iterator[tuple[str, Tensor, Initial]]:
        """A layer's tensors without fusion: logical name, view, first values.

        First values are a function of the seed and this name: two blocks start from equal tensors where their
        names agree.
        """
        for name, weight in self.layer(model).items():
            yield name, layer[name].detach(), weight.initial

    def longest(self) -> int | None:
        """The largest context that this block can be built for; None for any."""
        return None

    def activation_bytes(
        self,
        model: Transformer,
        vocab: int,
        context: int,
        sequences: int,
        bytes_per_value: int,
        recompute: bool = False,
    ) -> int:
        """See `trainers.models.base.Model.activation_bytes`.

        The default is of plain torch: two normed inputs, queries, keys, values and their mixture, attention
        weights of short contexts, and the MLP's hidden values twice.
        """
        low, tokens, d, f = bytes_per_value, sequences * context, model.width, model.ffn_width
        weights = model.n_heads * context if context <= EXPLICIT_CONTEXT else 0
        residual = 8 * d
        each = residual + low * (6 * d + weights + 2 * f)
        working = tokens * low * max(2 * f, 4 * d)
        logits = (4 + low * (low < 4)) * min(vocab * tokens, LOGITS_VALUES)
        layers = model.layers * residual // 2 + each if recompute else model.layers * each
        return int(tokens * (layers + 16 * d) + max(working, logits))


blocks: Registry[Block] = Registry("block", "trainers.models.network.blocks")
