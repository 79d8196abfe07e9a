"""Scoring a model on both validation halves, with its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch

from trainers.machine.workers import ALONE, Workers
from trainers.objectives.base import Likelihood, Objective, Scores

if TYPE_CHECKING:
    from trainers.batch import Batch
    from trainers.config import EvaluationConfig
    from trainers.models.base import Backbone

HALVES: tuple[Literal["a", "b"], ...] = ("a", "b")
"""Half A selects (the best step), half B is reported."""


class Validation(Protocol):
    """What evaluation needs of a dataset: first sequences of a half; counters are validation positions."""

    def validation(self, half: Literal["a", "b"], sequences: int) -> Batch: ...


@dataclass(frozen=True)
class Half:
    """One half's loss in nats per token, and its errors.

    ``se``: standard error over validation sequences, of the mean over draws (the masks of these draws are
    part of it). ``mc_se``: standard error over draws at these sequences alone; None for one draw, rough (a
    few degrees of freedom) below 8, zero where exact.
    """

    nll: float
    se: float
    mc_se: float | None
    scores: Scores

    @classmethod
    def of(cls, scores: Scores, exact: bool) -> Half:
        values, tokens = scores.values.to(torch.float64), scores.tokens.to(torch.float64)
        share = tokens / tokens.sum()
        n, draws = values.shape
        if n < 2:
            raise ValueError(f"a standard error needs 2 validation sequences or more, not {n}")
        by_sequence = values.mean(1)
        nll = float(share @ by_sequence)
        se = float(((share * (by_sequence - nll)) ** 2).sum().mul(n / (n - 1)).sqrt())
        if exact:
            return cls(nll, se, 0.0, scores)
        return cls(nll, se, float((share @ values).std() / draws**0.5) if draws > 1 else None, scores)


@dataclass(frozen=True)
class Evaluation:
    """Both halves of one evaluation. ``kind``: what its numbers may be called; ``draws``: those of half B."""

    kind: Likelihood
    draws: int
    a: Half
    b: Half

    def event(self) -> dict[str, Any]:
        """As plain JSON values, for a run's history; ``scores`` has one row a sequence."""
        halves = {"a": self.a, "b": self.b}
        return {
            "kind": self.kind,
            "draws": self.draws,
            **{name: {"nll": half.nll, "se": half.se, "mc_se": half.mc_se} for name, half in halves.items()},
            "scores": {name: half.scores.values.tolist() for name, half in halves.items()},
            "sequence_tokens": {name: half.scores.tokens.tolist() for name, half in halves.items()},
        }


@contextmanager
def evaluation_mode(model: Backbone) -> Iterator[torch.device]:
    """Eval mode, no gradients, no autocast (weights are float32, so scores are); yields the device."""
    was_training = model.training
    device = next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield device
    finally:
        model.train(was_training)


def evaluate(
    model: Backbone,
    objective: Objective,
    dataset: Validation,
    config: EvaluationConfig,
    draws: int | None = None,
    micro_batch: int = 64,
    workers: Workers = ALONE,
) -> Evaluation:
    """Score a model on both validation halves.

    Args:
        model: the network, in evaluation mode.
        objective: says how a sequence is scored, and what the number is.
        dataset: the validation sequences.
        config: how many sequences of each half, and how many draws.
        draws: draws a sequence instead of ``config.draws``.
        micro_batch: sequences a forward pass; moves the result by less than 1e-6.
        workers: those who have equal models; each scores equally many sequences, and all get the result.

    Returns:
        Nats a token of halves A and B, with standard errors and the scores of each sequence.
    """
    columns = range(config.draws if draws is None else draws)
    scores = _score(model, objective, dataset, config, columns, micro_batch, workers=workers)
    return _assemble(objective, scores)


def to_precision(
    model: Backbone,
    objective: Objective,
    dataset: Validation,
    config: EvaluationConfig,
    standard_error: float | None = None,
    minimum: int = 16,
    maximum: int = 1024,
    micro_batch: int = 64,
) -> Evaluation:
    """Score with as many draws as bring half B's Monte-Carlo error to ``standard_error`` nats at most.

    Default ``config.precise``. Half B is what is reported; half A, which only selects, gets the draws of
    a curve. ``minimum`` draws tell the error to about 20 %; at ``maximum`` it stops, and ``b.mc_se`` tells
    what it reached. Draws already made are kept, so B is that of `evaluate` with its number of draws.
    """
    target = config.precise if standard_error is None else standard_error
    scores = _score(model, objective, dataset, config, range(config.draws), micro_batch, ("a",))
    scores |= _score(model, objective, dataset, config, range(minimum), micro_batch, ("b",))
    while True:
        result = _assemble(objective, scores)
        reached = result.b.mc_se
        if reached is None or reached <= target or result.draws >= maximum:
            return result
        needed = min(maximum, max(result.draws + 1, ceil(result.draws * (reached / target) ** 2)))
        more = _score(model, objective, dataset, config, range(result.draws, needed), micro_batch, ("b",))
        values = torch.cat([scores["b"].values, more["b"].values], 1)
        scores["b"] = Scores(values, scores["b"].tokens)


def _score(
    model: Backbone,
    objective: Objective,
    dataset: Validation,
    config: EvaluationConfig,
    draws: range,
    micro_batch: int,
    halves: tuple[Literal["a", "b"], ...] = HALVES,
    workers: Workers = ALONE,
) -> dict[str, Scores]:
    by_half: dict[str, Scores] = {}
    with evaluation_mode(model) as device:
        for half in halves:
            batch = dataset.validation(half, config.sequences)
            by_half[half] = shared_scores(model, objective, batch, draws, micro_batch, workers, device)
    return by_half


def shared_scores(
    model: Backbone,
    objective: Objective,
    batch: Batch,
    draws: range,
    micro_batch: int,
    workers: Workers,
    device: torch.device,
) -> Scores:
    """Scores of a batch of which each worker scores a share, as many sequences as any other."""
    count = len(batch)
    start, stop = workers.rows(count)
    first, last = workers.equal_rows(count)
    own = slice(start - first, stop - first)
    scores = objective.score(model, batch.rows(first, last).to(device), draws, micro_batch)
    return Scores(workers.gather(scores.values[own], count), workers.gather(scores.tokens[own], count))


def _assemble(objective: Objective, scores: dict[str, Scores]) -> Evaluation:
    exact = objective.likelihood == "exact"
    a, b = (Half.of(scores[half], exact) for half in HALVES)
    return Evaluation(objective.likelihood, b.scores.values.shape[1], a, b)
