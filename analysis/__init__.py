"""Laws, fits, crossovers, plots and reports: takes tables, imports neither torch nor Ray.

>>> import analysis
>>> fit = analysis.fit("runs.csv", "chinchilla", columns={"N": "params"})    # doctest: +SKIP
>>> fit.optimal(1e24), fit.profile("alpha"), fit.check()                      # doctest: +SKIP
>>> fit.plot("compute").write("compute.png")                                  # doctest: +SKIP
>>> analysis.locate(runs, curves)                                             # doctest: +SKIP

Importing this is light: each name brings what it needs when it is first used. ``analysis.laws`` is the room
of laws: ``analysis.laws.law_names()``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import laws
    from analysis.crossover import Crossovers, locate
    from analysis.fitting.fitting import fit
    from analysis.fitting.result import Fit
    from analysis.questions.criticism import compare
    from analysis.questions.design import suggest
    from analysis.questions.isoflop_curves import isoflop
    from analysis.questions.optimum import optimal
    from analysis.reporting import write as report

_HOMES = {
    "Crossovers": ("analysis.crossover", "Crossovers"),
    "Fit": ("analysis.fitting.result", "Fit"),
    "compare": ("analysis.questions.criticism", "compare"),
    "fit": ("analysis.fitting.fitting", "fit"),
    "isoflop": ("analysis.questions.isoflop_curves", "isoflop"),
    "laws": ("analysis.laws", ""),
    "locate": ("analysis.crossover", "locate"),
    "optimal": ("analysis.questions.optimum", "optimal"),
    "report": ("analysis.reporting", "write"),
    "suggest": ("analysis.questions.design", "suggest"),
}
__all__ = [
    "Crossovers",
    "Fit",
    "compare",
    "fit",
    "isoflop",
    "laws",
    "locate",
    "optimal",
    "report",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        from analysis.tables.keywords import nearest

        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest(name, __all__)}")
    module, attribute = _HOMES[name]
    home = importlib.import_module(module)
    value = getattr(home, attribute) if attribute else home
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
