"""What a model is to the rest of the project: exact counts without torch, and a module built on demand."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from trainers.components.component import Component, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from torch import Tensor

    from trainers.models.attention import Attention
    from trainers.noise import Noise
    from trainers.objectives.base import Corruption


@dataclass(frozen=True)
class Parameters:
    """Exact parameter counts.

    ``embedding``: input embedding and an untied head; ``non_embedding``: all the rest (the field's N without
    embeddings); ``extra``: rows for tokens that are fed but never predicted (mask, BOS), counted apart so
    that twins have equal N; ``matrix``: parameters that a token is multiplied with, head included (tied or
    not), input embedding not; ``inactive``: those that a token does not use (experts it is not sent to);
    ``objective``: those of the objective's own modules.
    """

    embedding: int
    non_embedding: int
    extra: int
    matrix: int
    inactive: int = 0
    objective: int = 0

    @property
    def total(self) -> int:
        """N with embeddings and the objective's own, extra rows left out."""
        return self.embedding + self.non_embedding + self.objective

    @property
    def stored(self) -> int:
        """Every parameter of a checkpoint: N and the extra rows."""
        return self.total + self.extra

    @property
    def active(self) -> int:
        """N that one token uses, embeddings included, extra rows left out."""
        return self.total - self.inactive


@dataclass(frozen=True)
class Term:
    """One loss term as numerator and denominator (0-d), so that accumulation and workers sum, then divide."""

    numerator: Tensor
    denominator: Tensor

    def __add__(self, other: Term) -> Term:
        return Term(self.numerator + other.numerator, self.denominator + other.denominator)


@dataclass(frozen=True)
class Collected:
    """What a model tells of itself: loss ``terms`` that join the objective's, and ``metrics`` of its health,
    each a ratio of sums over sequences.
    """

    terms: dict[str, Term] = field(default_factory=dict)
    metrics: dict[str, Term] = field(default_factory=dict)

    def __add__(self, other: Collected) -> Collected:
        return Collected(added(self.terms, other.terms), added(self.metrics, other.metrics))


def added(a: dict[str, Term], b: dict[str, Term]) -> dict[str, Term]:
    """Terms by name, those of one name summed."""
    return {**a, **{name: a[name] + term if name in a else term for name, term in b.items()}}


class Cache(Protocol):
    """What a backbone keeps of the positions fed so far. `Backbone.new_cache` gives an empty one."""

    @property
    def length(self) -> int:
        """Positions fed so far."""


class Module(Protocol):
    """What this project uses of ``torch.nn.Module``, which every backbone is."""

    training: bool

    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, *args: Any, **kwargs: Any) -> Any: ...
    def compile(self) -> None: ...
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def named_buffers(self) -> Iterator[tuple[str, Tensor]]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class Backbone(Module, Protocol):
    """A built model as its callers see it: tokens in, hidden states and losses out."""

    vocab: int
    """V, the tokens that can be predicted. Ids V, V + 1, ... are the objective's extra tokens."""
    width: int
    """d, the width of the residual stream."""
    objective: Any
    """The module that ``Objective.modules`` returned, or None."""
    checkpoint_activations: bool
    """Whether the backward pass computes activations again instead of keeping them."""
    kernels: Literal["auto", "plain", "fused"]
    """Which implementation runs (``resources.kernels``)."""

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings [..., d] of ids [...], extra tokens included."""

    def __call__(
        self,
        inputs: Tensor,
        attention: Attention | str | Tensor,
        positions: Tensor | None = None,
        conditioning: Tensor | None = None,
        noise: Noise | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Hidden states [B, T, d] of ids [B, T] or embeddings [B, T, d].

        ``attention`` says who attends to whom; ``causal``, ``full`` and a bool mask [B or 1, 1, T, T], true
        where attention is allowed, are short for it. ``positions`` [B, T] default to 0..T-1.
        ``conditioning`` [B, d] or [B, T, d] is added to the embeddings, where the residual stream begins.
        ``noise`` drives dropout. ``cache`` (of :meth:`new_cache`, causal attention only) holds the positions
        that ``inputs`` continue, and is extended by them.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., d]."""

    def token_nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Nats of each target, in the shape of ``targets`` [...]. Carries no gradient."""

    def weighted_cross_entropy(self, corruption: Corruption, noise: Noise | None = None) -> Tensor:
        """Sum over scored positions of weight x cross-entropy, 0-d, after one forward pass."""

    def new_cache(self) -> Cache:
        """An empty cache for sampling left to right."""

    def collect(self) -> Collected:
        """Loss terms and metrics of the model itself, of all forward passes in training mode since the last
        call. Empty for most.
        """


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
    def build(self, vocab: int, extra: int, context: int) -> Backbone:
        """The module, uninitialised (see `trainers.models.initialise`)."""


models: Registry[Model] = Registry("model", "trainers.models")
