from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainers.config import DataConfig
from trainers.data import Dataset, hashing, prepare

WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "it",
    "was",
    "his",
    "with",
    "as",
    "for",
    "had",
    "you",
    "not",
    "be",
]


def write_text(path: Path, records: int = 120, seed: int = 0) -> Path:
    """A small .txt file of varied sentences, in records of several paragraphs."""
    paragraphs = []
    for number in range(records * 8):
        drawn = hashing.integers(hashing.key(seed, "text", number), np.arange(40), len(WORDS) * 37)
        words = [
            f"{WORDS[d % len(WORDS)]}{d // len(WORDS)}" if d % 3 else WORDS[d % len(WORDS)]
            for d in drawn.tolist()
        ]
        paragraphs.append(" ".join(words[:20]) + ". " + " ".join(words[20:]) + ".")
    path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """File digests and downloads are cached in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def prose(data_root):
    """Prepare a subset of the prose pack."""

    def prepared(**fields: object) -> Dataset:
        return prepare(DataConfig(**fields), data_root)

    return prepared


@pytest.fixture
def small(tmp_path):
    """Prepare a config on a small text file."""
    path = write_text(tmp_path / "small.txt")

    def prepared(root: str = "root", **fields: object) -> Dataset:
        corpus = {"name": "text", "files": str(path), "apart_bytes": None}
        return prepare(DataConfig(**{"corpus": corpus, "context": 32, **fields}), tmp_path / root)

    return prepared
