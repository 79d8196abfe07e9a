"""The figures of a fitted law by name, and the one that suits it best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analysis.fitting.result import Fit
from analysis.plots.checks import held_out, profiles, residuals
from analysis.plots.drawing import Drawing
from analysis.plots.isoflop import allocation
from analysis.plots.kinds import OF_FITS
from analysis.plots.law_curves import along, loss_against_compute, loss_against_tokens
from analysis.plots.surface import contours
from analysis.questions.holdout import back_test
from analysis.tables.frame import FitError
from analysis.tables.keywords import unknown


def overview(fit: Fit) -> Drawing:
    """The main figure of a law: along its variable if it has one; against tokens if it knows U, else
    against compute."""
    variables = set(fit.law.variables)
    if len(variables) == 1:
        return along(fit)
    if {"N", "D", "U"} <= variables:
        return loss_against_tokens(fit)
    if {"N", "D"} <= variables:
        return loss_against_compute(fit)
    return residuals(fit)


def extrapolation(fit: Fit, **options: Any) -> Drawing:
    """Held-out runs with the law's own intervals, and with those that let it drift. ``options`` of `fit` go
    to the refits of the back-test that says how far these are calibrated."""
    try:
        return held_out(fit, back_test(fit, heldout=False, **options))
    except FitError:
        return held_out(fit)


FIGURES: dict[str, Callable[..., Drawing]] = {
    "law": overview,
    "compute": loss_against_compute,
    "tokens": loss_against_tokens,
    "allocation": allocation,
    "contours": contours,
    "residuals": residuals,
    "heldout": extrapolation,
    "profiles": profiles,
}
"""Name -> figure of a fit, in the order of `analysis.plots.kinds.OF_FITS`, which says what each shows."""


def figure(kind: str, fit: Fit, **options: Any) -> Drawing:
    """The figure of a fit of one ``kind``. ``options`` are the figure's own: ``allocation`` takes ``method``.

    Raises FitError if there is no such kind, or if the law lacks what the figure shows.
    """
    if kind not in FIGURES:
        raise FitError(unknown("kind of figure", kind, OF_FITS))
    return FIGURES[kind](fit.require(), **options)
