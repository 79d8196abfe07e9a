"""The interface of an objective: what it feeds, what it scores, and what its numbers may be called.

Most objectives write :meth:`Objective.corrupt` alone; one forward pass and a weighted cross-entropy follow. One that needs
several passes, or another loss, overrides :meth:`Objective.terms` and owns all of its forwards.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from trainers.component import Component, Registry

if TYPE_CHECKING:
    import torch

    from trainers.batch import Batch
    from trainers.noise import Noise

Likelihood = Literal["exact", "upper_bound", "pseudo", "none"]
"""What a reported loss is: the NLL itself, an upper bound of it, a pseudo-likelihood, or nothing of the kind."""


@dataclass(frozen=True)
class Term:
    """One loss term as numerator and denominator (0-d tensors), so that accumulation and workers sum before they divide."""

    numerator: torch.Tensor
    denominator: torch.Tensor


@dataclass(frozen=True)
class Corruption:
    """What one training forward is fed and scored on.

    ``inputs``: ids [B, T] int64 (extra tokens are V, V+1, ... in the order of ``extra_tokens``) or embeddings [B, T, d].
    ``targets`` [B, T] int64; ``weights`` [B, T] float32, zero where nothing is scored; ``normaliser``: 0-d tensor, the
    denominator. ``attention``: ``causal``, ``full``, or a bool mask [B, 1, T, T] that is true where attention is allowed.
    ``positions`` [B, T] or None for 0..T-1; ``conditioning`` [B, d] is added to every position's embedding.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    normaliser: torch.Tensor
    attention: str | torch.Tensor
    positions: torch.Tensor | None = None
    conditioning: torch.Tensor | None = None


@dataclass(frozen=True)
class Scores:
    """Nats per token of each validation sequence, once per Monte-Carlo draw: ``values`` [sequences, draws] float32.

    The mean over both axes estimates the loss; the draws are independent of each other and shared by all runs and steps.
    ``tokens`` [sequences]: scored positions of each, the weights of the mean over sequences.
    """

    values: torch.Tensor
    tokens: torch.Tensor


class Objective(Component):
    """How a model learns. Subclasses declare the class variables below; they are torch-free, for planning needs them."""

    extra_tokens: ClassVar[tuple[str, ...]] = ()
    """Tokens fed but never predicted; each gets a row of the extra embedding, in this order."""
    likelihood: ClassVar[Likelihood] = "none"
    """What :meth:`score` returns."""
    training_forwards: ClassVar[float] = 1.0
    """Forward-backward passes over the backbone a step, for FLOPs."""

    def modules(self, width: int, vocab: int) -> torch.nn.Module | None:
        """Extra modules (heads, time embeddings) that ``terms`` finds as ``model.objective``; None for none.

        Their parameters are trained and their buffers checkpointed: an objective's state lives in buffers.
        """
        return None

    @abstractmethod
    def corrupt(self, batch: Batch, noise: Noise, step: int, vocab: int) -> Corruption:
        """Inputs, targets and weights of one training forward."""

    def terms(self, model: Any, batch: Batch, noise: Noise, step: int) -> dict[str, Term]:
        """Named loss terms of a (micro-)batch; the training loss is the sum of numerator/denominator over terms."""
        c = self.corrupt(batch, noise, step, model.vocab)
        total = model.weighted_cross_entropy(c)
        return {"loss": Term(total, c.normaliser)}

    @abstractmethod
    def score(self, model: Any, batch: Batch, draws: range, micro_batch: int) -> Scores:
        """Score validation sequences (``batch.counters`` are validation positions), Monte-Carlo draws ``draws``.

        Draw j of position i is the same for every run, step, batch size and number of draws asked for.
        """

    @abstractmethod
    def sample(self, model: Any, prompt: torch.Tensor, length: int, seed: int, **options: Any) -> torch.Tensor:
        """Continue ``prompt`` [P] to ``length`` tokens; [length] int64."""


objectives: Registry[Objective] = Registry("objective", "trainers.objectives")
