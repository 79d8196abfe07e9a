"""The user's own text: identity by content, formats, remote files, held-out records."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest

from trainers.config import DataConfig, RunConfig
from trainers.data import prepare
from trainers.data.corpora.text import Text


def corpus(files, **options):
    return DataConfig(corpus={"name": "text", "files": files, **options}).corpus


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {
            "body": f"Record {hashlib.sha256(str(i).encode()).hexdigest()} number {i}, with a few words.",
            "n": i,
        }
        for i in range(300)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_a_moved_file_is_the_same_corpus_and_a_changed_one_is_not(jsonl):
    before = corpus(str(jsonl), field="body")
    key = RunConfig(data={"corpus": before}).training_key
    moved = jsonl.rename(jsonl.with_name("moved.jsonl"))
    after = corpus(str(moved), field="body")
    assert after.digest() == before.model_copy(update={"files": (str(moved),)}).digest()
    assert RunConfig(data={"corpus": after}).training_key == key
    moved.write_text(moved.read_text() + '{"body": "one more"}\n')
    assert RunConfig(data={"corpus": after}).training_key != key


def test_digest_reads_a_file_once(jsonl, monkeypatch):
    digest = corpus(str(jsonl), field="body").digest()
    monkeypatch.setattr("hashlib.file_digest", None)
    assert corpus([str(jsonl)], field="body").digest() == digest


def test_globs_lists_and_order_of_files_do_not_matter(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"Text {name}.\n\nAnd more.")
    listed = corpus([str(tmp_path / "b.txt"), str(tmp_path / "a.txt")])
    globbed = corpus(str(tmp_path / "*.txt"))
    assert listed.digest() == globbed.digest()
    assert [d.text for d in listed.documents()] == [d.text for d in globbed.documents()]


def test_formats_hold_the_same_documents(jsonl, tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [json.loads(line) for line in jsonl.read_text().splitlines()]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    one = list(corpus(str(jsonl), field="body").documents())
    two = list(corpus(str(tmp_path / "rows.parquet"), field="body").documents())
    assert [(d.text, d.split) for d in one] == [(d.text, d.split) for d in two]
    assert {d.split for d in one} == {"train", "a", "b"}


def test_equal_records_are_on_one_side(tmp_path):
    path = tmp_path / "twice.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"same {i % 50}"}) for i in range(200)))
    sides: dict[str, set[str]] = {}
    for d in corpus(str(path)).documents():
        sides.setdefault(d.text, set()).add(d.split)
    assert all(len(s) == 1 for s in sides.values())


def test_a_url_is_pending_until_prepared_and_then_equal_to_the_local_file(jsonl, tmp_path):
    import fsspec

    url = f"memory://{tmp_path.name}/rows.jsonl"
    with fsspec.open(url, "wb") as f:
        f.write(jsonl.read_bytes())
    remote, local = corpus(url, field="body"), corpus(str(jsonl), field="body")
    assert remote.digest().startswith("pending-") and remote.digest() == corpus(url, field="body").digest()
    data = prepare(DataConfig(corpus=remote, unique_bytes=500, context=16), tmp_path / "root")
    assert remote.digest() == local.digest()
    assert np.array_equal(
        data.tokens,
        prepare(DataConfig(corpus=local, unique_bytes=500, context=16), tmp_path / "other").tokens,
    )


def test_declared_sha256_needs_no_file_and_is_checked(jsonl):
    sha = hashlib.sha256(jsonl.read_bytes()).hexdigest()
    declared = corpus("https://nowhere.invalid/rows.jsonl", sha256=sha, field="body")
    assert declared.digest() == corpus(str(jsonl), field="body").digest()
    with pytest.raises(ValueError, match="not the declared"):
        next(iter(corpus(str(jsonl), sha256="0" * 64, field="body").documents()))
    with pytest.raises(ValueError, match="64 lower-case hex digits"):
        corpus(str(jsonl), sha256="abc")


def test_pinned_keeps_the_key_and_outlives_the_file(jsonl):
    pinned = corpus(str(jsonl.with_name("*.jsonl")), field="body").pinned()
    key = RunConfig(data={"corpus": corpus(str(jsonl), field="body")}).training_key
    jsonl.unlink()
    assert isinstance(pinned, Text)
    assert RunConfig(data={"corpus": pinned}).training_key == key


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("missing.txt", "no file matches"),
        ("*.nothing", "no file matches"),
        (__file__, "none of .txt, .jsonl, .parquet"),
    ],
)
def test_errors_name_the_field(files, message):
    with pytest.raises(ValueError, match=f"data.corpus.files.*{message}"):
        corpus(files).digest()


def test_a_missing_field_names_those_there_are(jsonl):
    with pytest.raises(ValueError, match="it has body, n"):
        list(corpus(str(jsonl)).documents())


def test_hub_datasets_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    data = DataConfig(corpus={"name": "huggingface", "dataset": "owner/name", "revision": "0" * 40})
    with pytest.raises(ValueError, match=r"crossover\[huggingface\]"):
        prepare(data, tmp_path)
    unpinned = DataConfig(corpus={"name": "huggingface", "dataset": "owner/name"}).corpus
    assert unpinned.digest().startswith("pending-")
