"""Figures as in papers, one style, each saved as PNG, SVG and the CSV behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.crossover.fronts.meeting import ComputeOptimal
from analysis.crossover.places.law import CrossingLaw
from analysis.crossover.same_n.location import Crossovers
from analysis.plots.style import Plot

__all__ = ["Plot", "draw"]


def draw(
    found: Crossovers,
    laws: dict[tuple[str, str], CrossingLaw | None],
    ratios: list[dict[str, Any]],
    folder: Path,
    optimal: ComputeOptimal | None = None,
) -> list[Plot]:
    """All figures of a study that its data allow, in the order of the report."""
    if not found.cells:
        return []
    from analysis.plots.curves import loss_curves
    from analysis.plots.data_value import efficiency, loss_against_unique
    from analysis.plots.pareto import fronts
    from analysis.plots.places import against_unique, crossover_map

    plots: list[Plot | None] = [
        *loss_curves(found, folder),
        against_unique(found, laws, folder),
        crossover_map(found, folder),
        loss_against_unique(found, folder),
        efficiency(found, ratios, folder),
        None if optimal is None else fronts(found, optimal, folder),
    ]
    return [p for p in plots if p is not None]
