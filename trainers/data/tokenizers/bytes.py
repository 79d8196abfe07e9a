"""UTF-8 bytes as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from trainers.data.base import Tokenizer, tokenizers


@tokenizers.register
class Bytes(Tokenizer):
    """V = 256: nothing to learn, no text that it cannot hold, and nats per byte can be read off directly."""

    name: ClassVar[str] = "bytes"

    @property
    def vocab(self) -> int:
        return 256

    @property
    def bytes_per_token(self) -> float:
        return 1.0

    def encode(self, texts: Sequence[str], folder: Path) -> list[np.ndarray]:
        return [np.frombuffer(t.encode(), np.uint8) for t in texts]

    def decode(self, ids: Sequence[int], folder: Path) -> str:
        return bytes(ids).decode(errors="replace")

    def exchangeable(self, folder: Path) -> Any:
        """Byte-level BPE without merges, in which each byte's id is its value."""
        from tokenizers import Tokenizer as Exchanged
        from tokenizers import decoders, models, pre_tokenizers

        tokenizer = Exchanged(models.BPE(vocab={name: byte for byte, name in enumerate(_names())}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer


def _names() -> list[str]:
    """What byte-level BPE calls each byte (Radford et al. 2019): printable ones are themselves, the others
    U+0100 and on.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
