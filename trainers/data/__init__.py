"""Text to sequences: corpora, tokenizers, qualities and orders, one file each, and the nested subsets cut
from them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset
    from trainers.data.preparation import prepare, subset_digest

__all__ = ["Dataset", "prepare", "subset_digest"]


def __getattr__(name: str) -> Any:
    # Lazy, for `trainers.config` imports the components of this package, and `prepare` reads configs.
    if name == "Dataset":
        from trainers.data.dataset import Dataset

        return Dataset
    if name in __all__:
        from trainers.data import preparation

        return getattr(preparation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
