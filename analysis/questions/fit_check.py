"""How far a fit can be trusted: lack of fit, influential rows, and a back-test, in one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.fitting.result import Fit
from analysis.questions.criticism import LackOfFit, influence, lack_of_fit
from analysis.questions.holdout import BackTest, back_test
from analysis.tables.shown import Block, Grid, Shown

SHOWN = 5
"""Rows of ``influence`` that are printed."""


@dataclass(frozen=True, repr=False)
class FitCheck(Shown):
    """What speaks against a fit.

    Attributes:
        lack_of_fit: tests of the law's form.
        influence: one row a data row, most influential first: its shift of each parameter in standard errors.
        back_test: how far predictions of later budgets erred; None where there are too few budgets.
        refusal: why there is no back-test; empty if there is one.
    """

    lack_of_fit: LackOfFit
    influence: pd.DataFrame
    back_test: BackTest | None
    refusal: str = ""

    def blocks(self) -> Sequence[Block]:
        return [
            "lack of fit",
            *self.lack_of_fit.blocks(),
            "\nmost influential rows (shift of each parameter in standard errors)",
            Grid(self.influence.head(SHOWN), 3),
            f"\nback-test: {self.back_test or self.refusal}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """The field ``check`` of ``crossover fit --check --json``."""
        back = self.back_test
        return {
            "pure_error": self.lack_of_fit.pure_error,
            "trends": self.lack_of_fit.trends.to_dict("records"),
            "alarm": self.lack_of_fit.alarm,
            "influence": self.influence.head(SHOWN).to_dict("records"),
            "back_test": {"origins": 0, "calibrated": False, "assumption": self.refusal}
            if back is None
            else back.as_dict(),
        }


def check(result: Fit, **options: Any) -> FitCheck:
    """Ask what speaks against a fit; ``options`` of `fit`, such as ``starts``, go to the refits of the
    back-test.

    Raises:
        NotConverged: the fit has no numbers.
        FitError: it was read from JSON and holds no data.
    """
    lack, moved = lack_of_fit(result), influence(result)
    try:
        return FitCheck(lack, moved, back_test(result, **options))
    except ValueError as error:
        return FitCheck(lack, moved, None, str(error))
