"""Figures as in papers, one style, each saved as PNG, SVG and the CSV behind it."""

from __future__ import annotations

from pathlib import Path

from analysis.crossover.fronts.meeting import ComputeOptimal
from analysis.crossover.places.censored_law import CensoredLaw
from analysis.crossover.same_n.efficiency import EfficiencyRatio
from analysis.crossover.same_n.location import Crossovers
from analysis.plots.style import Plot

__all__ = ["Plot", "draw"]


def draw(
    crossovers: Crossovers,
    laws: dict[tuple[str, str], CensoredLaw | None],
    ratios: list[EfficiencyRatio],
    folder: Path,
    optimal: ComputeOptimal | None = None,
) -> list[Plot]:
    """All figures of a study that its data allow, in the order of the report."""
    if not crossovers.cells:
        return []
    from analysis.plots.curves import loss_curves
    from analysis.plots.data_value import efficiency, loss_against_unique
    from analysis.plots.pareto import fronts
    from analysis.plots.places import against_unique, crossover_map

    plots: list[Plot | None] = [
        *loss_curves(crossovers, folder),
        against_unique(crossovers, laws, folder),
        crossover_map(crossovers, folder),
        loss_against_unique(crossovers, folder),
        efficiency(crossovers, ratios, folder),
        None if optimal is None else fronts(crossovers, optimal, folder),
    ]
    return [p for p in plots if p is not None]
