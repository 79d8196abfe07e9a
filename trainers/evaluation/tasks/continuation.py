"""Which continuation is the document's own?"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from trainers.components.errors import UserError
from trainers.data.validation import HeldOut
from trainers.evaluation.tasks.base import tasks
from trainers.evaluation.tasks.choosing import Choices, MultipleChoice


@tasks.register
class Continuation(MultipleChoice):
    """The true continuation of a document's beginning against others, by the NLL of the continuation alone.

    AR is scored by the exact NLL given the prefix; masked diffusion by its bound, with masks on the
    continuation only. All choices have one length, so that none is preferred for being short. The true one is
    choice 0.
    """

    name: ClassVar[str] = "continuation"

    count: int = Field(64, ge=2, description="Items of each half, at most: as many as it has documents.")
    alternatives: int = Field(4, ge=2, le=64, description="Choices of an item, the true one included.")
    prefix: int = Field(16, ge=1, description="Tokens that are given.")
    length: int = Field(8, ge=1, description="Tokens of a continuation.")
    others: Literal["set", "document"] = Field(
        "set",
        description="Where wrong continuations come from: other documents of the half, at the same place, or "
        "the same document, further on.",
    )

    def scored_tokens(self, context: int) -> int:
        return 2 * self.count * self.alternatives * (self.prefix + self.length)

    def choices(self, data: HeldOut) -> Choices:
        size = self.prefix + self.length
        context = data.tokens.shape[1]
        if size > context:
            raise UserError(
                f"evaluation.tasks: {self.title}: prefix and length are {size} tokens, and data.context "
                f"{context}"
            )
        needed = size if self.others == "set" else self.prefix + self.alternatives * self.length
        documents = [ids.astype(np.int64) for ids in data.documents() if len(ids) >= needed][: self.count]
        items = [self._item(i, documents) for i in range(len(documents))]
        items = [item for item in items if len(item) == self.alternatives]
        if len(items) < 2:
            raise UserError(
                f"evaluation.tasks: {self.title}: half of the validation data gives {len(items)} items; it "
                f"has {len(documents)} documents of {needed} tokens or more"
            )
        tokens = np.array(items)
        return Choices(tokens, np.arange(size) >= self.prefix, np.zeros(len(items), np.int64))

    def _item(self, place: int, documents: list[np.ndarray]) -> list[np.ndarray]:
        """The prefix with its own continuation, then with others that differ from each other; fewer than
        asked where there are no more.
        """
        own, p, n = documents[place], self.prefix, self.length
        if self.others == "document":
            spans = [own[p + k * n : p + (k + 1) * n] for k in range(self.alternatives)]
        else:
            turned = [*documents[place:], *documents[:place]]
            spans = [document[p : p + n] for document in turned]
        different = list({span.tobytes(): span for span in spans}.values())[: self.alternatives]
        return [np.concatenate([own[:p], span]) for span in different]
