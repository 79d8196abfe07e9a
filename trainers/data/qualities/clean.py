"""Documents as they are."""

from __future__ import annotations

from typing import ClassVar

from trainers.data.base import Quality, qualities


@qualities.register
class Clean(Quality):
    """No filter, no corruption."""

    name: ClassVar[str] = "clean"
    alters: ClassVar[bool] = False
