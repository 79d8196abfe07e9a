"""The loss of another validation set, by the estimator that scores a run's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from trainers.evaluation.tasks.base import Better, Items, Metric, Scorer, Task, tasks

if TYPE_CHECKING:
    from trainers.data.validation import HalfName, ValidationSet


@tasks.register
class Likelihood(Task):
    """Nats per token of validation sequences: of another ``corpus``, so that a run has several validation
    sets, each under its ``label``. Whether it is an NLL is for the objective's likelihood to say.
    """

    name: ClassVar[str] = "likelihood"
    better: ClassVar[Mapping[str, Better]] = {"nll": "lower"}

    sequences: int = Field(48, ge=2, description="Sequences of each half, at most: as many as it has.")

    def scored_tokens(self, context: int) -> int:
        return 2 * self.sequences * context

    def items(self, scorer: Scorer, data: ValidationSet, half: HalfName) -> Items:
        from trainers.evaluation.scoring import Half

        count = min(self.sequences, len(data.halves[half].tokens))
        scores = scorer.scores(data.validation(half, count), self.draws)
        loss = Half.of(scores, scorer.objective.likelihood == "exact")
        return Items(
            item=list(range(count)),
            choice=[0] * count,
            nll=scores.values.mean(1).tolist(),
            margin=[None] * count,
            correct=[None] * count,
            metrics={"nll": Metric(loss.nll, loss.se)},
        )
