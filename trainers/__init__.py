"""What one run is, and how it trains. Importing this needs no torch; ``train`` brings it.

>>> from trainers import RunConfig, train
>>> config = RunConfig(objective="masked_diffusion", data={"unique_bytes": 10_000}, steps=200)
>>> result = train(config, "runs/first")                       # doctest: +SKIP
>>> result.final["b"]["nll"]                                   # doctest: +SKIP
>>> run = Trained.load("runs/first")                           # doctest: +SKIP
>>> run.sample("The ", 40), export(run, "exported")            # doctest: +SKIP

``registries`` has what a config can name: ``registries["objective"].names()``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.catalogue import registries
    from trainers.config import RunConfig
    from trainers.evaluation.scoring import evaluate
    from trainers.run.exporting import export
    from trainers.run.loop import train
    from trainers.run.rescoring import rescore
    from trainers.run.result import Result
    from trainers.run.trained import Trained
    from trainers.state.folder import RunFolder

_HOMES = {
    "Result": "trainers.run.result",
    "RunConfig": "trainers.config",
    "RunFolder": "trainers.state.folder",
    "Trained": "trainers.run.trained",
    "evaluate": "trainers.evaluation.scoring",
    "export": "trainers.run.exporting",
    "registries": "trainers.catalogue",
    "rescore": "trainers.run.rescoring",
    "train": "trainers.run.loop",
}
__all__ = [
    "Result",
    "RunConfig",
    "RunFolder",
    "Trained",
    "evaluate",
    "export",
    "registries",
    "rescore",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
