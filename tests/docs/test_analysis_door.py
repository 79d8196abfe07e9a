"""docs/python-analysis.md and its notebook run, print what they show, and list what the door has."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

import analysis
from tests.docs import cells
from tests.docs.test_fitting import printed
from tests.paths import ROOT

PAGE = ROOT / "docs/python-analysis.md"
NOTEBOOK = ROOT / "docs/notebooks/analysis.ipynb"


def test_the_page_runs_and_prints_what_it_shows() -> None:
    blocks = cells.of_page(PAGE)
    assert len(blocks) >= 12
    for block, outcome in zip(blocks, cells.run(blocks, ROOT), strict=True):
        for text in block.shown:
            assert printed(text, outcome.text), f"{text!r} is not in:\n{outcome.text}"


def test_the_notebook_runs_and_its_outputs_are_those_it_was_kept_with() -> None:
    kept = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    outcomes = list(cells.run(cells.of_notebook(NOTEBOOK), NOTEBOOK.parent))
    assert len(kept) == len(outcomes) >= 6
    for cell, outcome in zip(kept, outcomes, strict=True):
        texts = [o.get("text") or o["data"]["text/plain"] for o in cell["outputs"]]
        for line in [line.strip() for text in texts for line in text if line.strip()]:
            assert printed(line, outcome.text), f"{line!r} is not in:\n{outcome.text}"


def test_the_page_lists_the_names_of_the_door() -> None:
    table = re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(), re.MULTILINE)
    names = {name for row in table for name in re.findall(r"`(\w+)", row)}
    assert names == set(dir(analysis)) == set(analysis.__all__)


@pytest.mark.parametrize("name", analysis.__all__)
def test_every_name_of_the_door_opens(name: str) -> None:
    assert getattr(analysis, name) is not None


def test_importing_the_door_loads_nothing_heavy_and_names_the_nearest_for_a_typing_error() -> None:
    heavy = {"numpy", "pandas", "scipy"}
    probe = f"import analysis, sys; dir(analysis); print(sorted({heavy!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="did you mean 'compare'"):
        _ = analysis.compar  # type: ignore[attr-defined]
