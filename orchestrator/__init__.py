"""Sweeps of runs: the sweep language, plans, scheduling and the command line.

>>> from orchestrator import Sweep
>>> sweep = Sweep.from_file("sweeps/quickstart.yaml", set=["seeds=1"])         # doctest: +SKIP
>>> sweep.plan("store")                                                         # doctest: +SKIP
>>> study = sweep.run("store")                                                  # doctest: +SKIP
>>> study.crossovers(), study.tables().runs, study.report()                     # doctest: +SKIP

Importing this is light: each name brings what it needs when it is first used, Ray and torch when
a run starts.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.planning.plans import Plan
    from orchestrator.store.store import Store
    from orchestrator.study.studies import Study
    from orchestrator.study.sweeps import Sweep

_HOMES = {
    "Plan": "orchestrator.planning.plans",
    "Store": "orchestrator.store.store",
    "Study": "orchestrator.study.studies",
    "Sweep": "orchestrator.study.sweeps",
}
__all__ = ["Plan", "Store", "Study", "Sweep"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
