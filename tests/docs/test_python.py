"""The Python of the pages, of the README and of the notebooks runs as it stands."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.paths import ROOT

COMPARED = ("python-analysis", "analysis")
"""The page and the notebook that `test_analysis_door` runs, and compares with what they show."""

PAGES = [
    p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("python-*.md"))) if p.stem not in COMPARED
]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def code_of_page(path: Path) -> str:
    """Its Python blocks, one after the other, as a reader would enter them at one prompt."""
    return "\n".join(textwrap.dedent(code) for _, code in BLOCK.findall(path.read_text(encoding="utf-8")))


def cells(path: Path) -> list[dict[str, object]]:
    """The code cells of a notebook."""
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


@pytest.fixture
def run(tmp_path: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs code in a folder of its own, in which data is prepared already."""
    (tmp_path / "store").mkdir()
    for data in (tmp_path / "data", tmp_path / "store" / "data"):
        data.symlink_to(data_root, target_is_directory=True)
    monkeypatch.chdir(tmp_path)

    def execute(code: str) -> None:
        assert code.strip()
        exec(compile(code, "code.py", "exec"), {"__name__": "__main__"})

    return execute


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_python_of_a_page_runs(page: Path, run: Callable[[str], None]) -> None:
    run(code_of_page(page))


@pytest.mark.parametrize("notebook", [n for n in NOTEBOOKS if n.stem not in COMPARED], ids=lambda p: p.stem)
def test_a_notebook_runs(notebook: Path, run: Callable[[str], None]) -> None:
    run("\n".join("".join(c["source"]) for c in cells(notebook)))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_committed_as_it_ran_from_top_to_bottom(notebook: Path) -> None:
    counts = [c["execution_count"] for c in cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "make notebooks"
    assert any(c["outputs"] for c in cells(notebook))


@pytest.mark.parametrize("door", ["trainers", "orchestrator"])
def test_the_reference_lists_the_names_of_a_door(door: str) -> None:
    text = (ROOT / "docs" / "api" / f"{door}.md").read_text(encoding="utf-8")
    names = re.findall(rf"^(?:::: {door}\.|## )(\w+)$", text, re.MULTILINE)
    assert sorted(names) == sorted(dir(importlib.import_module(door)))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", tmp_path / "site"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "trainers" / "index.html").read_text(encoding="utf-8")
    assert 'id="trainers.train"' in page and "Raises" in page
