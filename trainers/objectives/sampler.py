"""The interface of a sampler: how text is drawn from a trained model.

A sampler fills in the tokens of a batch that are not given. To continue a prompt is the case in which a
prefix is given; infilling gives both ends.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from trainers.components.component import Component, Registry, unknown
from trainers.components.errors import UserError
from trainers.components.lazy import torch
from trainers.objectives.base import Objective

if TYPE_CHECKING:
    from trainers.models.base import Backbone


class Sampler(Component):
    """A way to draw tokens; its fields are its options."""

    objective: ClassVar[type[Objective]]
    """The objective whose models it draws from, and those derived from it."""

    @abstractmethod
    def complete(self, model: Backbone, tokens: torch.Tensor, given: torch.Tensor, seed: int) -> torch.Tensor:
        """``tokens`` [B, T] int64 with every position that is not ``given`` [B, T] bool drawn anew.

        The model is in eval mode. A draw depends on the seed, the row and the position or step alone.
        ``UserError`` where the sampler cannot complete what is given.
        """

    @classmethod
    def suits(cls, objective: Objective) -> bool:
        """Whether models of ``objective`` can be drawn from."""
        return isinstance(objective, cls.objective)


samplers: Registry[Sampler] = Registry("sampler", "trainers.objectives")


def sampler_of(objective: Objective, name: str | None = None, **options: Any) -> Sampler:
    """The sampler ``name`` (default: the objective's own) with its options.

    Raises ``UserError`` where the objective has none, where the sampler is another objective's, and for an
    option that it does not have.
    """
    name = objective.sampler if name is None else name
    if name is None:
        raise UserError(f"objective {objective.name!r} has no sampler")
    allowed = [cls.name for cls in samplers if cls.suits(objective)]
    if name not in allowed:
        raise UserError(unknown("sampler", name, allowed, f" of objective {objective.name!r}"))
    return samplers.parse({"name": name, **options})
