"""What one run is, and how it trains. Importing this needs no torch; ``train`` brings it.

>>> from trainers import RunConfig, train
>>> config = RunConfig(objective="masked_diffusion", data={"unique_bytes": 10_000}, steps=200)
>>> result = train(config, "runs/first")                       # doctest: +SKIP
>>> result.final["b"]["nll"]                                   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import RunConfig
    from trainers.folder import RunFolder
    from trainers.loop import Result, train
    from trainers.rescore import rescore

_HOMES = {
    "Result": "trainers.loop",
    "RunConfig": "trainers.config",
    "RunFolder": "trainers.folder",
    "rescore": "trainers.rescore",
    "train": "trainers.loop",
}
__all__ = ["Result", "RunConfig", "RunFolder", "rescore", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
