"""Byte-level byte-pair encoding, trained on the corpus's training split."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from trainers.components.errors import UserError
from trainers.components.files import replacing
from trainers.data.base import Tokenizer, tokenizers


@tokenizers.register
class BPE(Tokenizer):
    """V = ``vocab_size``: 256 bytes and the merges learned from the training split alone, never from
    validation.

    All subsets of a corpus share one vocabulary, so that runs on different budgets are scored alike. Small
    models want a small V: the embedding counts.
    """

    name: ClassVar[str] = "bpe"

    vocab_size: int = Field(4096, ge=257, le=1 << 20, description="V.")
    train_bytes: int = Field(
        10_000_000,
        ge=1,
        description="Training text that merges are learned from, a stratified prefix of the split.",
    )

    @property
    def vocab(self) -> int:
        return self.vocab_size

    def fit(self, documents: Iterator[str], folder: Path) -> None:
        from tokenizers import Tokenizer as Trained
        from tokenizers import decoders, models, pre_tokenizers, trainers

        tokenizer = Trained(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            min_frequency=1,
            show_progress=False,
        )
        tokenizer.train_from_iterator(_first(documents, self.train_bytes), trainer)
        if tokenizer.get_vocab_size() != self.vocab_size:
            raise UserError(
                f"data.tokenizer.vocab_size: {self.vocab_size} asked, but the training text yields only "
                f"{tokenizer.get_vocab_size()} tokens; ask for no more than that"
            )
        with replacing(folder / "tokenizer.json") as temporary:
            temporary.write_text(tokenizer.to_str(), encoding="utf-8")

    def encode(self, texts: Sequence[str], folder: Path) -> list[np.ndarray]:
        encoded = _trained(folder / "tokenizer.json").encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(e.ids, np.uint32) for e in encoded]

    def decode(self, ids: Sequence[int], folder: Path) -> str:
        return str(_trained(folder / "tokenizer.json").decode(list(ids), skip_special_tokens=False))

    def exchangeable(self, folder: Path) -> Any:
        from tokenizers import Tokenizer as Exchanged

        return Exchanged.from_file(str(folder / "tokenizer.json"))


def _first(documents: Iterator[str], size: int) -> Iterator[str]:
    for text in documents:
        yield text + "\n"
        size -= len(text.encode()) + 1
        if size <= 0:
            return


@lru_cache(maxsize=8)
def _trained(path: Path) -> Any:
    return importlib.import_module("tokenizers").Tokenizer.from_file(str(path))
