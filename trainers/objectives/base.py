"""The interface of an objective: what it feeds, what it scores, and what its numbers may be called.

Most objectives write :meth:`Objective.corrupt` alone; one forward pass and a weighted cross-entropy follow.
One that needs several passes, or another loss, overrides :meth:`Objective.terms` and owns all of its
forwards. `docs/write-your-own-objective.md` builds three of them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from trainers.components.component import Component, Registry
from trainers.components.errors import UserError
from trainers.components.lazy import torch
from trainers.models.base import Term
from trainers.noise import Noise

if TYPE_CHECKING:
    from trainers.batch import Batch
    from trainers.models.attention import Attention
    from trainers.models.base import Backbone, Model

Likelihood = Literal["exact", "upper_bound", "pseudo", "none"]
"""What a reported loss is: the NLL, an upper bound of it, a pseudo-likelihood, or nothing of the kind."""

EVALUATION_SEED = 0
"""Seed of all evaluation noise, the same for every run, so that runs are compared under equal masks."""


@dataclass(frozen=True)
class Corruption:
    """What one training forward is fed and scored on.

    ``inputs``: ids [B, T] int64 (extra tokens are V, V+1, ... in the order of ``extra_tokens``) or embeddings
    [B, T, d]. ``targets`` [B, T] int64; ``weights`` [B, T] float32, zero where nothing is scored;
    ``normaliser``: 0-d tensor, the denominator. ``attention``: who attends to whom (``causal`` and
    ``full`` will do). ``positions`` [B, T] or None for 0..T-1; ``conditioning`` [B, d] or [B, T, d] is added
    to the embeddings.

    T need not be that of the batch: in the 2T layout (`Attention.two_halves`) inputs, targets and weights are
    of 2T positions, ``positions`` repeat, and the weights of one half are zero.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    normaliser: torch.Tensor
    attention: Attention | str
    positions: torch.Tensor | None = None
    conditioning: torch.Tensor | None = None


@dataclass(frozen=True)
class Scores:
    """Nats per token of each validation sequence and draw: ``values`` [sequences, draws] float64.

    The mean over draws, and over sequences weighted by ``tokens`` [sequences] (scored positions of each,
    int64), estimates the loss. Draws are independent of each other and shared by all runs and steps.
    """

    values: torch.Tensor
    tokens: torch.Tensor


@dataclass(frozen=True)
class OwnParameters:
    """Parameters of an objective's own modules, and how many of them are matrices."""

    total: int
    matrix: int


class Objective(Component):
    """How a model learns. What planning reads (the declarations) is torch-free."""

    likelihood: ClassVar[Likelihood] = "none"
    """What :meth:`score` returns."""
    training_forwards: ClassVar[float] = 1.0
    """Forward-backward passes over the backbone a step, for FLOPs; one without gradient counts a third."""
    decoding_orders: ClassVar[tuple[str, ...]] = ()
    """Orders in which :meth:`score_in_order` can decode; none for most."""
    sampler: ClassVar[str | None] = None
    """Name of the sampler (`trainers.objectives.sampler`) that is used where none is named; None where there
    is none.
    """

    @property
    def short(self) -> str:
        """Abbreviation in titles and figures; the name where there is none."""
        return self.name

    @property
    def extra_tokens(self) -> tuple[str, ...]:
        """Tokens fed but never predicted, ids V, V+1, ...; each gets a row of the extra embedding."""
        return ()

    @property
    def training_likelihood(self) -> Likelihood:
        """What the expected *training* loss is: ``python -m trainers`` prints it above the losses, ``pseudo``
        and ``none`` as "not a likelihood".
        """
        return "none"

    def modules(self, model: Model, vocab: int) -> torch.nn.Module | None:
        """Extra modules (heads, time embeddings) that ``terms`` finds as ``model.objective``; None for none.

        ``model`` is the backbone's config. Their parameters are trained, and count towards N. Their buffers
        are checkpointed: an objective's state lives in them.
        """
        return None

    def own_parameters(self, model: Model, vocab: int) -> OwnParameters:
        """Exact counts of :meth:`modules`. Needs torch only where there are any."""
        if type(self).modules is Objective.modules:
            return OwnParameters(0, 0)
        with torch.device("meta"):
            modules = self.modules(model, vocab)
        sizes = [] if modules is None else [(p.numel(), p.ndim) for p in modules.parameters()]
        return OwnParameters(sum(n for n, _ in sizes), sum(n for n, ndim in sizes if ndim > 1))

    def flops_per_token(self, model: Model, vocab: int, context: int) -> float:
        """Training FLOPs a token by the ``matmul`` convention.

        They are those of ``training_forwards`` passes over the backbone, and 6 for each matrix parameter of
        its own. Override it where a step does otherwise: where a matrix is used more or less than once a
        token, or the head more than once a pass.
        """
        passes = self.training_forwards * model.flops_per_token(vocab, context)
        return passes + 6 * self.own_parameters(model, vocab).matrix

    @abstractmethod
    def corrupt(self, model: Backbone, batch: Batch, noise: Noise, step: int) -> Corruption:
        """Inputs, targets and weights of one training forward.

        ``model`` gives ``vocab`` (V), ``width`` (d), ``embed(ids)`` and ``objective`` (what :meth:`modules`
        returned). All randomness comes from ``noise``, so that it depends on the sample counter alone.
        """

    def terms(self, model: Backbone, batch: Batch, noise: Noise, step: int) -> dict[str, Term]:
        """Named loss terms of a (micro-)batch; the training loss is the sum of numerator / denominator.

        May be called again without gradient, to count denominators or to score: a state changes only in calls
        with gradient (``torch.is_grad_enabled()``), by sums over sequences.
        """
        c = self.corrupt(model, batch, noise, step)
        return {"loss": Term(model.weighted_cross_entropy(c, noise.derive("model")), c.normaliser)}

    def fed(self, batch: Batch, noise: Noise, step: int) -> torch.Tensor:
        """Non-padding positions of the batch that the model is fed, 0-d int64: what D counts."""
        return batch.real.sum()

    def score(self, model: Backbone, batch: Batch, draws: range, micro_batch: int) -> Scores:
        """Score validation sequences in the Monte-Carlo draws ``draws``; counters are validation positions.

        Draw j of position i is the same for every run, step, batch size and number of draws asked for. Called
        without gradients, in eval mode. The default is the training loss under fixed noise, one sequence at a
        time; it is as much of a likelihood as that is.
        """
        values = torch.zeros(len(batch), len(draws), dtype=torch.float64)
        for i in range(len(batch)):
            row = batch.rows(i, i + 1)
            for j, draw in enumerate(draws):
                noise = Noise(EVALUATION_SEED, row.counters, 1, f"evaluation/{draw}/")
                terms = self.terms(model, row, noise, 0).values()
                values[i, j] = sum(float(t.numerator) / max(float(t.denominator), 1e-30) for t in terms)
        return Scores(values, batch.loss_mask.sum(1).cpu())

    def score_in_order(
        self, model: Backbone, batch: Batch, order: str, micro_batch: int = 64, tokens_per_step: int = 1
    ) -> Scores:
        """The exact NLL, one draw, of the sampler that decodes in one of ``decoding_orders``,
        ``tokens_per_step`` positions at a time. ``UserError`` for any other order.
        """
        known = ", ".join(self.decoding_orders)
        raise UserError(
            f"objective {self.name!r} has no decoding order {order!r}; allowed: {known}"
            if known
            else f"objective {self.name!r} has no decoding orders"
        )


__all__ = ["EVALUATION_SEED", "Corruption", "Likelihood", "Objective", "Scores", "Term", "objectives"]

objectives: Registry[Objective] = Registry("objective", "trainers.objectives")
