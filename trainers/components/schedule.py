"""Learning-rate schedules. A schedule says whether the weights at a step depend on where training ends."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from trainers.components.component import Component, Registry


class Schedule(Component):
    """Multiplier of the peak learning rate by step (0-based: the multiplier of the update that completes step
    + 1).
    """

    depends_on_end: ClassVar[bool]
    """True if the end is part of a run's identity; such a run cannot be extended."""
    anneals: ClassVar[bool] = False
    """Whether the rate decays towards zero at the end of training. Warm-up does not count, and neither does a
    decay whose course is independent of the end, such as an inverse square root."""

    warmup: int = Field(20, ge=0, description="Steps of linear warm-up from zero.")

    def factor(self, step: int, steps: int) -> float:
        """Multiplier at ``step`` of a run of ``steps``."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return self.after_warmup(step, steps)

    def trunk_steps(self, steps: int) -> int | None:
        """Steps of the shared constant-rate part of a run of ``steps``; None for a schedule without one."""
        return None

    @abstractmethod
    def after_warmup(self, step: int, steps: int) -> float:
        """Multiplier once warm-up is over."""


class Constant(Schedule):
    """Warm-up, then constant: the default, for only it lets a run be extended and curves be read at any
    horizon.
    """

    name: ClassVar[str] = "constant"
    depends_on_end: ClassVar[bool] = False

    def after_warmup(self, step: int, steps: int) -> float:
        return 1.0


class WSD(Schedule):
    """Warm-up, stable, decay (MiniCPM, arXiv 2404.06395). The stable part is a constant run, the trunk of all
    its branches.
    """

    name: ClassVar[str] = "wsd"
    depends_on_end: ClassVar[bool] = True
    anneals: ClassVar[bool] = True

    decay: float = Field(0.15, gt=0, lt=1, description="Share of the steps that decay.")
    shape: Literal["linear", "exponential", "sqrt"] = Field("linear", description="Form of the decay.")
    final: float = Field(0.1, ge=0, le=1, description="Multiplier at the end.")

    def trunk_steps(self, steps: int) -> int:
        """Steps of the stable part of a run of ``steps``."""
        return steps - max(1, round(self.decay * steps))

    def after_warmup(self, step: int, steps: int) -> float:
        start = self.trunk_steps(steps)
        if step < start:
            return 1.0
        done = (step + 1 - start) / (steps - start)
        if self.shape == "linear":
            return 1 - (1 - self.final) * done
        if self.shape == "sqrt":
            return 1 - (1 - self.final) * math.sqrt(done)
        return float(max(self.final, 1e-4) ** done)


class Cosine(Schedule):
    """Warm-up, then half a cosine (arXiv 1608.03983). A crossover under it depends on the horizon."""

    name: ClassVar[str] = "cosine"
    depends_on_end: ClassVar[bool] = True
    anneals: ClassVar[bool] = True

    final: float = Field(0.1, ge=0, le=1, description="Multiplier at the end.")

    def after_warmup(self, step: int, steps: int) -> float:
        done = (step + 1 - self.warmup) / max(1, steps - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


schedules: Registry[Schedule] = Registry("schedule")
for _schedule in (Constant, WSD, Cosine):
    schedules.register(_schedule)
