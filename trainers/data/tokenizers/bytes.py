"""UTF-8 bytes as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from trainers.data.base import Tokenizer, tokenizers


@tokenizers.register
class Bytes(Tokenizer):
    """V = 256: nothing to learn, no text that it cannot hold, and nats per byte can be read off directly."""

    name: ClassVar[str] = "bytes"

    @property
    def vocab(self) -> int:
        return 256

    def encode(self, texts: Sequence[str], folder: Path) -> list[np.ndarray]:
        return [np.frombuffer(t.encode(), np.uint8) for t in texts]

    def decode(self, ids: Sequence[int], folder: Path) -> str:
        return bytes(ids).decode(errors="replace")
