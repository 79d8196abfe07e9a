"""What the README and the report's defaults say of the demo is what the demo's record says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from analysis.tables.wording import human
from tests.paths import ROOT

TEXT = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
DEMO: dict[str, Any] = json.loads((ROOT / "docs/quickstart.json").read_text(encoding="utf-8"))


def places(unit: str) -> list[dict[str, Any]]:
    """Raw crossings that were seen, in order of unique bytes."""
    return [c for c in DEMO["crossovers"] if c["unit"] == unit and c["censored"] is None]


def test_the_places_are_those_of_the_record() -> None:
    *most, last = (f"{human(c['value'])} [{human(c['low'])}, {human(c['high'])}]" for c in places("tokens"))
    assert f"passes AR's at {', '.join(most)} and {last} tokens on 18, 21 and 24 kB" in TEXT
    *most, last = (f"{c['value']:.0f}" for c in places("epochs"))
    assert f"after {', '.join(most)} and {last} epochs" in TEXT
    assert [re.findall(r"[\d]+", c["cell"])[0] for c in places("tokens")] == ["18000", "21000", "24000"]


def test_the_headline_is_that_of_the_record_and_none_of_its_claims_is_wider() -> None:
    assert DEMO["headline"] == (
        "MDM passes an over-fitted AR in 3 of 6 cells, and it has not passed AR in 3; it has not passed an "
        "early-stopped AR within this budget"
    )
    assert all(c["robust"] and "d64" in c["cell"] for c in places("tokens"))
    bounds = [c for c in DEMO["crossovers"] if c["unit"] == "tokens" and c["censored"]]
    assert {c["censored"] for c in bounds} == {"right"} and all("d32" in c["cell"] for c in bounds)
    d64 = [r for r in DEMO["runs"] if "d64" in r["cell"] and r["objective"] == "autoregressive"]
    assert len(d64) == 6 and all(r["bracketed"] for r in d64), "AR has over-fitted in each"
    assert (
        "There it passes an over-fitted AR; it has not passed an early-stopped AR within this budget" in TEXT
    )


@pytest.mark.parametrize(
    ("unit", "words", "sentence"),
    [
        ("tokens", "earlier", "In the demo it is earlier in tokens"),
        ("epochs", "not decided", "in epochs that is not decided"),
    ],
)
def test_how_less_data_moves_the_crossing_is_what_the_record_says(
    unit: str, words: str, sentence: str
) -> None:
    entry = next(q for q in DEMO["table"] if q["definition"] == "raw" and q["unit"] == unit)
    assert entry["less_data"].startswith(words) and sentence in TEXT
