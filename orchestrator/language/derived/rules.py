"""Named rules for derived values: learning rate, batch size and horizon as functions of size and data, each
with its source.

Written ``{rule: width, base: 2e-3, at: 64}`` where a number would stand. Values are rounded to 6 significant
digits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError

from trainers.components.component import Component, Registry, problems
from trainers.components.numbers import number

Quantity = Literal["N", "N_non_embedding", "U", "U_bytes", "D", "width", "layers"]
Number = Annotated[float, BeforeValidator(number)]


class Rule(Component):
    """A function of a run's quantities."""

    @abstractmethod
    def value(self, known: Mapping[str, float], target: str) -> float:
        """The value for ``target`` (``lr``, ``batch_size`` or a horizon). KeyError names a quantity that is
        not known."""


class Power(Rule):
    """``base * (X / at) ** exponent``: any power law. For example batch ~ D^.82 (arXiv 2512.10858)."""

    name: ClassVar[str] = "power"

    base: Number = Field(gt=0, description="The value at `at`.")
    of: Quantity = Field(description="X.")
    at: Number = Field(gt=0, description="X at which the value is `base`.")
    exponent: float = Field(description="Power of X / at.")

    def value(self, known: Mapping[str, float], target: str) -> float:
        return self.base * (known[self.of] / self.at) ** self.exponent


class Width(Rule):
    """``base * at / width``: Adam's learning rate on hidden matrices under muP (arXiv 2203.03466, Table
    3)."""

    name: ClassVar[str] = "width"

    base: Number = Field(gt=0, description="The value at width `at`.")
    at: Number = Field(gt=0, description="Width at which the value is `base`.")

    def value(self, known: Mapping[str, float], target: str) -> float:
        return self.base * self.at / known["width"]


class StepLaw(Rule):
    """Step Law (arXiv 2503.04715): lr = 1.79 N^-.713 D^.307, batch = .58 D^.571 tokens; N without embeddings.
    AR, single epoch."""

    name: ClassVar[str] = "step-law"

    def value(self, known: Mapping[str, float], target: str) -> float:
        if target == "lr":
            return 1.79 * known["N_non_embedding"] ** -0.713 * known["D"] ** 0.307
        if target == "batch_size":
            return 0.58 * known["D"] ** 0.571 / known["context"]
        raise ValueError(f"step-law gives lr and batch_size, not {target}")


rules: Registry[Rule] = Registry("rule")
for _rule in (Power, Width, StepLaw):
    rules.register(_rule)


def rule(written: Mapping[str, Any]) -> Rule:
    """The rule that a mapping with ``rule: NAME`` and options writes. Raises ValueError with all that is
    wrong."""
    try:
        cls = rules[str(written["rule"])]
    except KeyError as error:
        raise ValueError(error.args[0]) from None
    try:
        return cls.model_validate({key: value for key, value in written.items() if key != "rule"})
    except ValidationError as error:
        raise ValueError("; ".join(map(str, problems(error, cls)))) from None
