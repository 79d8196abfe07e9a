"""Figures as in papers, in one style; each, a Drawing, is written as PNG, SVG and the CSV behind it.

Importing this is light, so that commands can list the kinds of figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.crossover.study import Crossovers
    from analysis.plots.drawing import Drawing

__all__ = ["draw"]


def draw(crossovers: Crossovers) -> dict[str, Drawing]:
    """Name -> figure, of all figures that a study's data allow, in the order of the report."""
    if not crossovers.cells:
        return {}
    from analysis.plots.curves import loss_curves
    from analysis.plots.data_value import efficiency, loss_against_unique
    from analysis.plots.pareto import fronts
    from analysis.plots.places import against_unique, crossover_map

    drawings: dict[str, Drawing | None] = {
        **loss_curves(crossovers),
        "crossover_against_unique": against_unique(crossovers, crossovers.laws),
        "crossover_map": crossover_map(crossovers),
        "loss_against_unique": loss_against_unique(crossovers),
        "data_efficiency": efficiency(crossovers, crossovers.ratios),
        "compute_fronts": fronts(crossovers, crossovers.fronts),
    }
    return {name: drawing for name, drawing in drawings.items() if drawing is not None}
