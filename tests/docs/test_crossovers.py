"""docs/crossovers.md: its list of situations is the code's."""

from __future__ import annotations

import re

from analysis.crossover.same_n.pairs import AGREEMENT_WORDS
from analysis.crossover.sentences import CLAUSES
from analysis.crossover.situations import Situation
from tests.paths import ROOT

TEXT = (ROOT / "docs/crossovers.md").read_text(encoding="utf-8")


def test_the_situations_are_those_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|$", TEXT, re.MULTILINE))
    assert rows == {s.name.lower(): s.value for s in Situation}
    assert set(CLAUSES) == set(Situation)


def test_every_kind_of_twins_is_on_the_page() -> None:
    assert all(f"`{kind}`" in TEXT for kind in AGREEMENT_WORDS)
