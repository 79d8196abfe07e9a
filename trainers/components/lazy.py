"""Torch, imported at first use.

Planning reads configs, parameter counts and FLOPs, which need no torch; importing it costs seconds. Component
files hold config and implementation together, so they write ``from trainers.components.lazy import torch``
and stay cheap to import.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _Deferred(ModuleType):
        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module(self.__name__), name)

    torch = _Deferred("torch")

__all__ = ["torch"]
