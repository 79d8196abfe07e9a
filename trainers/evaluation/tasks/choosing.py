"""Multiple choice: of several completions of a prefix, the model prefers the one with the least NLL."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trainers.components.lazy import torch
from trainers.data.validation import HALF_B_COUNTER
from trainers.evaluation.tasks.base import Better, Items, Metric, Scorer, Task

if TYPE_CHECKING:
    from trainers.data.validation import HalfName, HeldOut, ValidationSet


@dataclass(frozen=True)
class Choices:
    """``tokens`` [items, choices, T] int64; ``scored`` [T] bool, the completion, where the rest is given;
    ``answer`` [items] int64, the place of the right choice.
    """

    tokens: np.ndarray
    scored: np.ndarray
    answer: np.ndarray


class MultipleChoice(Task):
    """A task that offers choices. They share their masks, so that a choice is not preferred for its noise."""

    better: ClassVar[Mapping[str, Better]] = {"accuracy": "higher", "margin": "higher"}

    @abstractmethod
    def choices(self, data: HeldOut) -> Choices:
        """The items of one half. ``UserError`` where the data gives none."""

    def items(self, scorer: Scorer, data: ValidationSet, half: HalfName) -> Items:
        from trainers.batch import Batch

        offered = self.choices(data.halves[half])
        n, c, length = offered.tokens.shape
        tokens = torch.from_numpy(offered.tokens.reshape(n * c, length))
        scored = torch.from_numpy(offered.scored).expand(n * c, length)
        counters = torch.arange(n).repeat_interleave(c) + (HALF_B_COUNTER if half == "b" else 0)
        batch = Batch(tokens, scored, counters, given=~scored)
        nll = scorer.scores(batch, self.draws).values.mean(1).view(n, c)
        right = torch.nn.functional.one_hot(torch.from_numpy(offered.answer), c).bool()
        margin = nll.masked_fill(right, torch.inf).amin(1) - nll[right]
        correct = margin > 0
        return Items(
            item=[i for i in range(n) for _ in range(c)],
            choice=list(range(c)) * n,
            nll=nll.flatten().tolist(),
            margin=margin.repeat_interleave(c).tolist(),
            correct=correct.repeat_interleave(c).tolist(),
            metrics={"accuracy": Metric.share(correct)},
        )
