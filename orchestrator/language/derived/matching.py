"""Models of equal size for paradigms of unequal parts: the MLP's width is solved so that a count agrees.

An objective with modules of its own (the heads of multi-token prediction) has another N than its twin of the
same shape, and other FLOPs. ``model.match: {count: total, to: autoregressive}`` gives its MLP the width at
which it has the N that the same model has under ``to``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trainers.components.component import Choice, Frozen
from trainers.config import RunConfig
from trainers.flops import matmul_flops
from trainers.models.base import Model
from trainers.objectives.base import Objective, objectives

TOLERANCE = 0.01
"""How far the counts may be apart, as a share."""


class Match(Frozen):
    """What is to agree, and with what."""

    count: Literal["total", "active", "flops"] = Field(
        description="What agrees: N, the N that one token uses, or training FLOPs a token (matmul)."
    )
    to: Annotated[Objective, Choice(objectives)] = Field(
        description="The objective whose model, as written, gives the count."
    )

    def of(self, config: RunConfig) -> float:
        """The count of a run."""
        if self.count == "flops":
            return matmul_flops(config)
        return config.counts.total if self.count == "total" else config.counts.active


def matched(config: RunConfig, match: Match) -> RunConfig:
    """The run with its MLP's width solved; unchanged where its objective is ``to``, or the count agrees.

    Raises ``ValueError`` where the model has no such width, or none brings the count to within 1 %.
    """
    target = match.of(config.model_copy(update={"objective": match.to}))
    if config.objective == match.to or match.of(config) == target:
        return config
    if not {"ffn", "width"} <= set(type(config.model).model_fields):
        raise ValueError(f"model {config.model.name!r} has no MLP whose width could be solved")

    def at(ffn: int) -> RunConfig:
        return config.model_copy(update={"model": _with_ffn(config.model, ffn)})

    first = match.of(at(1))
    slope = match.of(at(2)) - first
    ffn = max(1, 1 + round((target - first) / slope))
    nearest = at(ffn)
    off = match.of(nearest) / target - 1
    if abs(off) > TOLERANCE:
        raise ValueError(
            f"no width of the MLP brings {match.count} within 1 % of {match.to.name}'s: at {ffn} it is "
            f"{off:+.1%} off; take a larger model"
        )
    return nearest


def _with_ffn(model: Model, ffn: int) -> Model:
    return type(model).model_validate({**dict(model), "ffn": ffn})
