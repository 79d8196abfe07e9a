"""The figures of a fitted law by name, and the one that suits it best."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from analysis.fitting.result import Fit
from analysis.plots.checks import profiles, residuals
from analysis.plots.drawing import Drawing
from analysis.plots.isoflop import allocation
from analysis.plots.law_curves import along, loss_against_compute, loss_against_tokens
from analysis.plots.surface import contours
from analysis.tables.frame import FitError

FIGURES: dict[str, tuple[Callable[[Fit], Drawing], str]] = {
    "law": (lambda fit: overview(fit), "the figure that suits the law"),
    "compute": (loss_against_compute, "loss against compute, with the envelope"),
    "tokens": (loss_against_tokens, "loss against tokens by size, with epochs where U is known"),
    "allocation": (allocation, "best N and D against compute, by law, isoFLOP and front"),
    "contours": (contours, "the surface L(N, D)"),
    "residuals": (residuals, "residuals against everything"),
    "profiles": (profiles, "profile likelihoods of the parameters"),
}
"""Name -> (figure of a fit, what it shows). Figures of other things than one fit are in
`analysis.plots.checks`
and `analysis.plots.isoflop`."""


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


def figure(name: str, fit: Fit) -> Drawing:
    """A figure of ``FIGURES`` by name; FitError names the ones there are, or what the law lacks for it."""
    if name not in FIGURES:
        near = difflib.get_close_matches(name, FIGURES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise FitError(f"no figure {name!r}{hint} There are {', '.join(FIGURES)}")
    return FIGURES[name][0](fit)
