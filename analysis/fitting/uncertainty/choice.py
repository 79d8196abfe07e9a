"""Which interval a fit gets: a table of rules, each with the measurement behind it.

Coverages are those of docs/fitting.md, "Which interval".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.fitting.problem import FitProblem
from analysis.fitting.uncertainty.resampling import MIN_UNITS, PERCENTILE_UNITS, unequal_noise
from analysis.laws.base import Array

#: ratio of robust to pooled standard errors above which a profile is not trusted
UNEQUAL = 1.5
RESAMPLING = ("bootstrap", "cluster", "wild")


@dataclass(frozen=True)
class Case:
    """What the choice depends on.

    Attributes:
        requested: the method asked for; "auto" leaves the choice to the rules.
        draws: bootstrap draws asked for; 0 if none.
        problem, phi: the problem and its optimum (F,).
        clusters: (n,) codes of rows that belong together, or None.
        closed: whether the design identifies every direction.
    """

    requested: str
    draws: int
    problem: FitProblem
    phi: Array
    clusters: Array | None
    closed: bool

    @property
    def units(self) -> int:
        """Independent units: clusters where there are any, else rows."""
        return len(self.problem.y) if self.clusters is None else len(np.unique(self.clusters))

    @property
    def auto(self) -> bool:
        """Whether the choice is left to the rules."""
        return self.requested == "auto"

    @property
    def few(self) -> bool:
        """Whether there are too few units for percentiles of a bootstrap."""
        return self.units < PERCENTILE_UNITS

    @property
    def squares(self) -> bool:
        """Whether the fit is one of least squares."""
        return self.problem.estimand.squares

    @cached_property
    def noise_ratio(self) -> float:
        """Greatest ratio of a robust standard error to a pooled one."""
        return unequal_noise(self.problem, self.phi)

    @property
    def start(self) -> str:
        """The method before any rule: the one asked for, else a bootstrap if draws are, else the law's
        own."""
        if not self.auto:
            return self.requested
        return "bootstrap" if self.draws else str(self.problem.law.interval)


@dataclass(frozen=True)
class IntervalRule:
    """Where the method so far is one of ``of`` and ``when`` holds, it becomes ``to``, and ``says`` warns.
    ``drops_draws``: the new method uses no bootstrap draws, even if some were asked for."""

    of: tuple[str, ...]
    when: Callable[[Case], bool]
    to: str
    says: str = ""
    drops_draws: bool = False


#: The rules in the order in which they apply.
RULES = (
    # a law that recommends a bootstrap gets Student's t where units are few
    IntervalRule(("bootstrap",), lambda c: c.auto and not c.draws and c.few, "t"),
    # rows of a cluster are not independent
    IntervalRule(("bootstrap",), lambda c: c.clusters is not None, "cluster"),
    IntervalRule(("profile",), lambda c: c.clusters is not None and c.auto, "t"),
    # where the design leaves a direction open, robust errors are of nothing, and draws stay in the basins
    # that they start in: the profile alone says "unbounded"
    IntervalRule(
        ("profile",),
        lambda c: c.auto and not c.few and c.closed and c.noise_ratio > UNEQUAL,
        "bootstrap",
        "noise is unequal over the design (robust standard errors up to {noise_ratio:.1f} times pooled "
        "ones): bootstrap in place of the profile, which assumes errors of one size",
    ),
    IntervalRule(
        ("bootstrap", "cluster", "wild", "t"),
        lambda c: c.units < MIN_UNITS,
        "none",
        f"no interval: {{units}} independent units, and at least {MIN_UNITS} are needed",
    ),
    # measured at 12 rows: t on case draws is 3 times too wide; on wild ones it is right for squares, and
    # covers 72 to 79 % for robust fits, which pass through some of the points
    IntervalRule(("bootstrap",), lambda c: c.few and c.squares, "wild"),
    IntervalRule(
        ("bootstrap",),
        lambda c: c.few,
        "t",
        f"{{units}} units are too few to bootstrap a robust fit (at least {PERCENTILE_UNITS} are "
        "needed): t with sandwich standard errors in its place",
        drops_draws=True,
    ),
    IntervalRule(
        ("wild",),
        lambda c: not c.squares,
        "wild",
        "wild bootstraps of robust fits cover too little (72 to 79 % with 12 rows, 80 to 82 % with 40 "
        "for 95 %): take t or profile",
    ),
)


@dataclass(frozen=True)
class IntervalChoice:
    """A method, whether it resamples, what to warn of, and the ratio of noise if that was looked at."""

    method: str
    resamples: bool
    warnings: list[str]
    unequal_noise: float | None

    @property
    def resampling(self) -> str:
        """How draws are made: by rows (case), by clusters, or by wild signs."""
        return self.method if self.method in ("cluster", "wild") else "case"


def choose(case: Case) -> IntervalChoice:
    """Apply the rules in their order."""
    method, draws, warnings = case.start, case.draws > 0, []
    for rule in RULES:
        if method in rule.of and rule.when(case):
            method = rule.to
            draws = draws and not rule.drops_draws
            if rule.says:
                warnings.append(
                    rule.says.format(units=case.units, noise_ratio=vars(case).get("noise_ratio", 0.0))
                )
    return IntervalChoice(method, draws or method in RESAMPLING, warnings, vars(case).get("noise_ratio"))
