"""What a run asks of its corpus and of this machine is checked before anything is trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.language.derived.supply import lacking, shortage
from orchestrator.language.expansion import expand
from orchestrator.language.loading import load
from orchestrator.planning.drafting import make_plan
from trainers.components.source import SpecError
from trainers.config import DataConfig, RunConfig
from trainers.data.corpora.huggingface import HuggingFace
from trainers.data.corpora.prose import TRAINING_BYTES

PROSE = sum(TRAINING_BYTES.values()) - TRAINING_BYTES["kjv"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def own(folder: Path, name: str = "own.txt", paragraphs: int = 400) -> Path:
    path = folder / name
    path.write_text(
        "\n\n".join(f"The {i}th paragraph says that {i * i} is a square." for i in range(paragraphs))
    )
    return path


def data(**options: Any) -> DataConfig:
    return DataConfig.model_validate(options)


def test_more_unique_data_than_the_corpus_has_is_refused_at_its_place(tmp_path: Path) -> None:
    path = own(tmp_path)
    sweep = tmp_path / "s.yaml"
    sweep.write_text(
        f"base:\n  data.corpus: {{name: text, files: {path.name}}}\n  budget.epochs: 10\n"
        "axes:\n  data.unique_tokens:\n  - 5k\n  - 10M\n"
    )
    with pytest.raises(SpecError) as caught:
        for spec in load([sweep]):
            expand(spec)
    (issue,) = caught.value.issues
    assert (issue.line, issue.key) == (7, "axes.data.unique_tokens[1]")
    held = int(issue.message.split(" has ")[1].split(" bytes")[0].replace(",", ""))
    assert 0.8 * path.stat().st_size < held < path.stat().st_size and "found '10M'" in issue.message
    exact = data(corpus={"name": "text", "files": str(path)}, unique_bytes=held)
    assert shortage(exact) is None
    over = shortage(exact.model_copy(update={"unique_bytes": held + 1}))
    assert over is not None and over.certain


def test_what_is_refused_is_what_preparation_would_cut_short(tmp_path: Path) -> None:
    from trainers.data import prepare

    corpus = {"name": "text", "files": str(own(tmp_path, paragraphs=1500)), "apart_bytes": None}
    held = data(corpus=corpus).corpus.amount()
    assert held is not None and held.least == held.most
    whole = prepare(data(corpus=corpus, context=16), tmp_path / "data")
    assert whole.unique_tokens == whole.unique_bytes == held.most


def test_a_repeated_plan_counts_nothing_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = data(corpus={"name": "text", "files": str(own(tmp_path))}).corpus
    first = corpus.amount()
    monkeypatch.setattr(type(corpus), "documents", lambda self: pytest.fail("read again"))
    assert corpus.amount() == first and len(list((cache / "crossover/amounts").iterdir())) == 1


def test_large_files_are_told_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.data.corpora.text._COUNTED_BYTES", 1000)
    path = own(tmp_path)
    size = path.stat().st_size
    corpus = {"name": "text", "files": str(path)}
    found = {
        asked: shortage(data(corpus=corpus, unique_bytes=asked))
        for asked in (size // 2, size - 10, size + 10)
    }
    assert [None if s is None else s.certain for s in found.values()] == [None, False, True]


@pytest.mark.parametrize(
    ("options", "certain"),
    [
        ({"unique_bytes": PROSE - 10}, None),
        ({"unique_bytes": PROSE + 1}, True),
        ({"unique_tokens": 4_000_000, "tokenizer": "gpt2"}, None),
        ({"unique_tokens": 9_000_000, "tokenizer": "gpt2"}, False),
        ({"unique_tokens": PROSE + 1, "tokenizer": "gpt2"}, True),
        ({"unique_bytes": 30_000_000, "quality": "gopher"}, False),
        ({"unique_bytes": 10_000_000, "quality": "gopher"}, None),
        ({"unique_bytes": 30_000_000, "quality": "typos"}, None),
        ({}, None),
        ({"unique_bytes": 1_000_000, "corpus": "markov"}, None),
        ({"unique_bytes": 2_000_000, "corpus": "markov"}, True),
        ({"unique_tokens": 10**9, "corpus": {"name": "huggingface", "dataset": "a/b"}}, False),
        ({"unique_tokens": 10**9, "corpus": {"name": "text", "files": "https://a.b/c.txt"}}, False),
        (
            {
                "unique_tokens": 10**9,
                "corpus": {"name": "text", "files": "nowhere.txt", "sha256": "0" * 64},
            },
            False,
        ),
    ],
)
def test_shortages(options: dict[str, Any], certain: bool | None) -> None:
    found = shortage(data(**options))
    assert (None if found is None else found.certain) is certain


def test_what_may_fall_short_is_a_warning_of_the_plan(tmp_path: Path) -> None:
    sweep = tmp_path / "s.yaml"
    sweep.write_text(
        "base: {data: {corpus: {name: text, files: 'https://a.b/c.txt'}, unique_bytes: 1M}, steps: 5}"
    )
    assert any("data.unique_bytes: how much text" in w for w in make_plan(load([sweep])).warnings)


def test_a_run_says_where_less_was_there_than_planned(
    tmp_path: Path, crossover: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.data.corpora.text.Text.amount", lambda self: None)
    sweep, path = tmp_path / "s.yaml", own(tmp_path, paragraphs=3000)
    sweep.write_text(
        f"base:\n  data: {{corpus: {{name: text, files: {path}, apart_bytes: null}}}}\n"
        "  data.context: 16\n  data.unique_bytes: 1M\n  steps: 2\n  batch_size: 2\n"
        "  model: {width: 16, layers: 1}\n  evaluation: {sequences: 2, first: 2}\n"
    )
    done = crossover("run", sweep, "--local", "--no-mlflow", "--store", tmp_path / "store")
    assert done.exit_code == 0, done.output
    assert re.search(
        "data text .*: the corpus has no more than .* of the 1,000,000 unique bytes", done.stderr
    )


def test_packages_that_are_not_installed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HuggingFace, "needs", {"no_such_package": "huggingface"})
    hub = {"data": {"corpus": {"name": "huggingface", "dataset": "a/b"}}}
    ((path, message),) = lacking(RunConfig.model_validate(hub))
    assert path == ("data", "corpus")
    assert message == "'huggingface' needs the package no_such_package: pip install 'crossover[huggingface]'"
    assert not list(lacking(RunConfig()))


def test_a_plan_warns_of_packages_and_a_run_is_refused(
    tmp_path: Path, crossover: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HuggingFace, "needs", {"no_such_package": "huggingface"})
    sweep = tmp_path / "s.yaml"
    sweep.write_text("base:\n  data:\n    corpus: {name: huggingface, dataset: a/b}\n  steps: 5\n")
    store = tmp_path / "store"
    planned = crossover("plan", sweep, "--store", store)
    assert planned.exit_code == 0 and "pip install 'crossover[huggingface]'" in planned.stderr
    refused = crossover("run", sweep, "--local", "--store", store)
    assert refused.exit_code == 2 and "s.yaml:3: base.data.corpus: 'huggingface' needs" in refused.stderr
    assert not store.exists(), "nothing is made for a sweep that cannot run"


@pytest.mark.slow
def test_the_prose_packs_amounts_are_right() -> None:
    from trainers.data.corpora.prose import IN_TWO_SOURCES, SOURCES, Prose
    from trainers.data.documents import training_bytes

    assert {s: training_bytes(Prose(sources=(s,))) for s in SOURCES} == TRAINING_BYTES
    assert training_bytes(Prose()) >= PROSE - IN_TWO_SOURCES
