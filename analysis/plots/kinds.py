"""The kinds of figures of laws, listed once. Imports nothing heavy, so that commands can offer them."""

from __future__ import annotations

OF_FITS = {
    "law": "the figure that suits the law (default)",
    "compute": "loss against compute, with the envelope",
    "tokens": "loss against tokens by size, with epochs where U is known",
    "allocation": "best N and D against compute, by law, isoFLOP and front",
    "contours": "the surface L(N, D)",
    "residuals": "residuals against everything",
    "heldout": "predicted against held-out runs (--holdout)",
    "profiles": "profile likelihoods",
}
"""Figures of one fit: ``fit.plot(kind)``."""

OF_TABLES = {
    "isoflop": "isoFLOP curves with their minima",
    "estimands": "the parameters under every estimand",
    "routes": "the three classic routes side by side (--at)",
}
"""Figures of other results: ``.plot()`` of what `isoflop`, `fit_estimands` and `approaches` return."""

KINDS = {**OF_FITS, **OF_TABLES}
