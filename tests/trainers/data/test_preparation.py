"""Preparation: content-addressed, torch-free, safe to do twice at once, and equal in every process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import trainers.data.corpora.prose as prose_module
from tests.paths import ROOT
from trainers.config import DataConfig, RunConfig
from trainers.data import subset_digest
from trainers.data.documents import open_documents

SCRIPT = """
import hashlib, json, sys
from trainers.config import DataConfig
from trainers.data import prepare
data = prepare(DataConfig(**json.loads(sys.argv[1])), sys.argv[2])
positions, mask = data.positions(__import__("numpy").arange(100), 7)
tokens = data.tokens[positions]
assert "torch" not in sys.modules
print(hashlib.sha256(tokens.tobytes() + mask.tobytes()).hexdigest(), data.manifest["digest"])
"""


def start(config: dict, root: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-c", SCRIPT, json.dumps(config), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=ROOT)


def test_processes_that_prepare_at_once_agree_and_leave_nothing_behind(tmp_path):
    config = {
        "corpus": {"name": "markov", "documents_held": 4000},
        "tokenizer": {"name": "bpe", "vocab_size": 400},
    }
    config |= {"unique_tokens": 5000, "quality": "replace_words"}
    together = [start(config, tmp_path / "shared") for _ in range(2)]
    alone = start(config, tmp_path / "own")
    results = [p.communicate()[0] for p in (*together, alone)]
    assert [p.returncode for p in (*together, alone)] == [0, 0, 0]
    assert len(set(results)) == 1 and results[0].strip()
    names = [p.name for p in (tmp_path / "shared").rglob("*") if p.is_file()]
    assert not [n for n in names if n.startswith(".")]
    assert all(n.endswith((".npy", ".json")) for n in names)


def test_threads_that_prepare_at_once_agree(small):
    found, errors = [], []

    def work() -> None:
        try:
            found.append(small(unique_bytes=900).manifest)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and all(f == found[0] for f in found)


def test_the_second_time_reads_no_corpus(small, monkeypatch):
    first = small(unique_bytes=900)

    def fail(*_: object) -> None:
        raise AssertionError("documents were read again")

    monkeypatch.setattr("trainers.data.preparation.open_documents", fail)
    assert np.array_equal(small(unique_bytes=900).tokens, first.tokens)
    assert isinstance(first.tokens.base, np.memmap) or isinstance(first.tokens, np.memmap)


def test_an_interrupted_preparation_is_done_again(small, tmp_path):
    first = small(unique_bytes=900).tokens.copy()
    (manifest,) = (tmp_path / "root" / "subsets").glob("*/manifest.json")
    manifest.unlink()
    manifest.with_name("tokens.npy").write_bytes(b"half")
    assert np.array_equal(small(unique_bytes=900).tokens, first)


def test_context_and_order_share_a_subset(small):
    base = DataConfig()
    assert subset_digest(base) == subset_digest(
        DataConfig(context=64, order="fixed", repack=True, crop="random")
    )
    for other in (
        {"subset_seed": 1},
        {"unique_bytes": 5},
        {"quality": "typos"},
        {"corpus": {"name": "markov"}},
    ):
        assert subset_digest(base) != subset_digest(DataConfig(**other))


def test_committed_digests_are_those_of_the_packed_files():
    folder = Path(prose_module.__file__).parent / "prose_pack"
    declared = json.loads((folder / "sha256.json").read_text())
    assert declared == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.xz")}
    assert set(declared) == {f"{s}.txt.xz" for s in prose_module.SOURCES}


def test_prose_works_are_found_and_held_out_whole():
    titles = {
        s: [t for t, _ in prose_module.WORKS[s](prose_module._read(s))]
        for s in ("austen", "shakespeare", "mhcc", "kjv")
    }
    assert len(titles["austen"]) == 6 and len(titles["shakespeare"]) == 42
    assert len(titles["mhcc"]) == len(titles["kjv"]) == 66
    assert set(prose_module._HELD_OUT) <= {*titles["austen"], *titles["shakespeare"]}


def test_prose_is_unwrapped_and_free_of_headings(data_root):
    documents = open_documents(DataConfig().corpus, data_root)
    novels = [
        documents[i]
        for i in documents.of_split("train").tolist()
        if documents.sources[documents.source[i]] == "austen"
    ]
    assert not any("CHAPTER" in n or "By Jane Austen" in n for n in novels)
    # Lines left are paragraphs: they end as sentences do.
    lines = [line for n in novels for line in n.split("\n")[:-1]]
    assert np.mean([line[-1] in ".!?\"'_:;,-)" for line in lines]) > 0.98


def test_sources_are_a_choice_and_order_does_not_matter():
    one, two = (
        RunConfig(data={"corpus": {"name": "prose", "sources": s}})
        for s in (["kjv", "sotu"], ["sotu", "kjv"])
    )
    assert one.training_key == two.training_key != RunConfig().training_key
    with pytest.raises(ValueError, match="sources"):
        DataConfig(corpus={"name": "prose", "sources": ["bible"]})


def test_gpt2_says_what_to_install(small, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    from trainers.data.tokenizers.gpt2 import _loaded

    _loaded.cache_clear()
    with pytest.raises(ValueError, match=r"crossover\[gpt2\]"):
        small(tokenizer="gpt2")


def test_bpe_that_cannot_reach_its_vocabulary_says_so(small):
    with pytest.raises(ValueError, match="vocab_size: 100000 asked"):
        small(tokenizer={"name": "bpe", "vocab_size": 100_000})


def test_bpe_sees_training_text_alone(small, tmp_path):
    from tokenizers import Tokenizer

    small(tokenizer={"name": "bpe", "vocab_size": 320}, unique_bytes=500)
    corpus = DataConfig(
        corpus={"name": "text", "files": str(tmp_path / "small.txt"), "apart_bytes": None}
    ).corpus
    documents = open_documents(corpus, tmp_path / "root")
    text = " ".join(documents[i] for i in documents.of_split("train").tolist())
    (path,) = (tmp_path / "root" / "tokenizers").glob("*/tokenizer.json")
    learned = Tokenizer.from_file(str(path))
    pieces = [learned.decode([i]) for i in range(256, 320)]
    assert all(p in " " + text + "\n" for p in pieces)
