"""Crossovers: where one paradigm's curve passes below another's, with what that does and does not show.

``locate(runs, curves, scores)`` gives every crossover of a study; ``wanted_precision`` the evaluations that
its verdicts rest on and that want more Monte-Carlo draws.
"""

from __future__ import annotations

from analysis.crossover.same_n.cell_places import allows
from analysis.crossover.same_n.precision import wanted_precision
from analysis.crossover.study import Crossovers, locate

__all__ = ["Crossovers", "allows", "locate", "wanted_precision"]
