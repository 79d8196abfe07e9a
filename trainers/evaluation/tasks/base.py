"""The interface of an evaluation task: items, how they are scored, and the metrics that follow.

A task scores its items by what the objective calls its likelihood, exact or a bound, so that one task serves
every objective. The config needs no torch to name a task.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from trainers.components.component import COSMETIC, Choice, Component, Registry, digest
from trainers.components.lazy import torch
from trainers.data.base import Corpus, corpora

if TYPE_CHECKING:
    from trainers.batch import Batch
    from trainers.data.validation import HalfName, ValidationSet
    from trainers.machine.workers import Workers
    from trainers.models.base import Backbone
    from trainers.objectives.base import Objective, Scores


Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Scorer:
    """A model in eval mode, as tasks see it. ``workers``, who have equal models, share what is scored."""

    model: Backbone
    objective: Objective
    device: torch.device
    workers: Workers
    micro_batch: int = 64

    def scores(self, batch: Batch, draws: int) -> Scores:
        """Nats per scored token of each sequence and draw. Sequences of equal counters that are scored at
        equal positions are scored under equal masks.
        """
        from trainers.evaluation.scoring import shared_scores

        return shared_scores(
            self.model, self.objective, batch, range(draws), self.micro_batch, self.workers, self.device
        )


@dataclass(frozen=True)
class Metric:
    """A number that a task reports, and its standard error over items."""

    value: float
    se: float

    @classmethod
    def share(cls, correct: torch.Tensor) -> Metric:
        """The share of items [n] bool that are correct.

        The standard error is that of Jeffreys' posterior, which is not zero where all or none are.
        """
        n, count = len(correct), int(correct.sum())
        p = (count + 0.5) / (n + 1)
        return cls(count / n, (p * (1 - p) / (n + 2)) ** 0.5)


@dataclass(frozen=True)
class Items:
    """What a model gave for the items of one half: one row an item and choice, and the metrics.

    ``nll`` are nats per scored token. ``margin`` is by how much the right choice is likelier than the best
    wrong one, nats per token, the same for all choices of an item; ``correct`` says whether it is positive.
    Both are None where there is nothing to choose.
    """

    item: list[int]
    choice: list[int]
    nll: list[float]
    margin: list[float] | list[None]
    correct: list[bool] | list[None]
    metrics: dict[str, Metric]

    def columns(self) -> dict[str, list[Any]]:
        """The rows as columns of plain values."""
        names = ("item", "choice", "nll", "margin", "correct")
        return {name: getattr(self, name) for name in names}


class Task(Component):
    """Something that a model is asked about validation data. The data's two halves are asked apart."""

    better: ClassVar[Mapping[str, Better]] = {}
    """Metric (or column of items) -> which values are better, ``lower`` or ``higher``."""

    label: Annotated[str | None, COSMETIC] = Field(
        None, pattern=r"^[a-z][a-z0-9_]*$", description="Name of its metrics; None for that of the task."
    )
    corpus: Annotated[Corpus, Choice(corpora)] | None = Field(
        None, description="Ask about the validation data of this corpus; None for the run's own."
    )
    spacing: Annotated[float, COSMETIC] = Field(
        1.5, ge=1, le=100, description="Least ratio of the evaluation steps at which it is asked."
    )
    draws: int = Field(8, ge=1, description="Monte-Carlo draws a sequence, for objectives that need any.")

    @property
    def title(self) -> str:
        """The name under which it is reported."""
        return self.label or self.name

    @property
    def key(self) -> str:
        """Digest of what decides its values."""
        return digest(self.identity())

    @abstractmethod
    def scored_tokens(self, context: int) -> int:
        """Tokens fed to score both halves once, for plans."""

    @abstractmethod
    def items(self, scorer: Scorer, data: ValidationSet, half: HalfName) -> Items:
        """Ask about one half. ``UserError`` where the data gives no items."""


tasks: Registry[Task] = Registry("task", "trainers.evaluation.tasks")
