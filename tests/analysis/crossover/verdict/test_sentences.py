"""Studies drawn at random: what headline and table say is what the places say, cell by cell counted.

The oracle below reads replicates' rows and the curves that were drawn; it knows nothing of situations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from analysis.crossover import Crossovers, locate
from analysis.crossover.verdict import Verdict
from tests.analysis.crossover.verdict.shapes import (
    FALLS,
    FLAT,
    OVERFITS,
    SE,
    SLOW,
    Curves,
    lead,
    study,
    twins,
)

Row = Mapping[str, Any]
Claim = Callable[[list[Row]], bool]

COUNT = r"(?>(?: in (\d+)(?: of (\d+) cells)?)?)"


def drawn(rng: np.random.Generator) -> Curves:
    """A replicate: curves that may cross in both directions, late, early, once, often or never."""
    ar = (FALLS, OVERFITS, FLAT)[rng.integers(3)]
    if rng.random() < 0.3:
        return ar, SLOW + rng.normal(0, 0.1)
    size = rng.choice([0.03, 0.1, 0.3])
    parts = [
        (int(rng.integers(1, 12)), float(size * rng.choice([-1, 1, 0.02]))) for _ in range(rng.integers(1, 5))
    ]
    ar, mdm = twins(ar, lead(*parts))
    return ar, mdm + rng.normal(0, SE / 4, len(ar))


def directions(row: Row) -> list[str]:
    """Of the robust crossings, in order of tokens."""
    every = [(o["tokens"], o["direction"]) for o in row["others"] if o["robust"]]
    if row["up"] is not None and row["up_robust"]:
        every.append((row["up"], "up"))
    return [d for _, d in sorted(every)]


def rises(losses: np.ndarray) -> bool:
    """Whether the last three evaluations lie above the least by three errors of a difference."""
    best = int(losses.argmin())
    return bool(best + 3 < len(losses) and (losses[-3:] - losses[best] > 3 * np.sqrt(2) * SE).all())


def once(direction: str, row: Row) -> bool:
    return set(directions(row)) == {direction} and not row["open"]


def over(row: Row) -> str:
    """How the passed arm stands where it is passed, on raw curves."""
    if not row["past"]:
        return "improves"
    return "rises" if row["rises"] else "best"


def behind(cell: list[Row]) -> bool:
    return all(map(nothing, cell)) and any(r["behind"] for r in cell)


def meets(row: Row) -> bool:
    return not directions(row) and (row["up"] is not None or bool(row["others"]))


def nothing(row: Row) -> bool:
    return row["up"] is None and not row["others"] and row["side"] == "right"


RAW: dict[str, Claim] = {
    rf"(?:MDM|it) passes an over-fitted AR{COUNT}": lambda c: all(
        once("up", r) and over(r) == "rises" for r in c
    ),
    rf"(?:MDM|it) passes AR{COUNT} while AR still": lambda c: all(
        once("up", r) and over(r) == "improves" for r in c
    ),
    rf"(?:MDM|it) passes AR{COUNT} about where": lambda c: all(
        once("up", r) and over(r) == "best" for r in c
    ),
    rf"(?:MDM|it) passes AR{COUNT}, over-fitted in some": lambda c: (
        all(once("up", r) for r in c) and len({over(r) for r in c}) > 1
    ),
    rf"(?:MDM|it) passes AR in some replicates only{COUNT}": lambda c: (
        any(once("up", r) for r in c) and not all(once("up", r) or meets(r) for r in c)
    ),
    rf"pass each other in turn{COUNT}, MDM last": lambda c: all(
        len(set(directions(r))) == 2 and directions(r)[-1] == "up" for r in c
    ),
    rf"pass each other in turn{COUNT}, AR last": lambda c: all(
        len(set(directions(r))) == 2 and directions(r)[-1] == "down" for r in c
    ),
    rf"AR passes MDM{COUNT} while MDM": lambda c: all(once("down", r) and not r["second_past"] for r in c),
    rf"AR passes MDM{COUNT} about where": lambda c: all(
        once("down", r) and r["second_past"] and not r["second_rises"] for r in c
    ),
    rf"AR passes an over-fitted MDM{COUNT}": lambda c: all(
        once("down", r) and r["second_past"] and r["second_rises"] for r in c
    ),
    rf"from the first counted evaluation on{COUNT}": lambda c: all(r["side"] == "left" for r in c),
    rf"curve meets AR's{COUNT}": lambda c: (
        all(meets(r) or once("up", r) for r in c) and any(meets(r) for r in c)
    ),
    rf"(?:MDM|it) has not passed AR{COUNT}(?! and)": behind,
    rf"neither MDM nor AR leads beyond error at the end{COUNT}": lambda c: all(
        nothing(r) and not r["behind"] for r in c
    ),
    rf"the replicates disagree{COUNT}": lambda c: True,
}
BEST: dict[str, Claim] = {
    rf"(?:MDM|it) passes even an early-stopped AR{COUNT}": lambda c: all(once("up", r) for r in c),
    rf"(?:MDM|it) passes an early-stopped AR in some replicates only{COUNT}": lambda c: (
        any(once("up", r) for r in c) and not all(once("up", r) or meets(r) for r in c)
    ),
    rf"on best values{COUNT}, MDM last": RAW[rf"pass each other in turn{COUNT}, MDM last"],
    rf"on best values{COUNT}, AR last": RAW[rf"pass each other in turn{COUNT}, AR last"],
    rf"(?:MDM|it) leads on best values{COUNT}": lambda c: all(
        r["open"] and set(directions(r)) == {"up"} for r in c
    ),
    rf"leads throughout on best values{COUNT}(?!, which)": lambda c: all(
        r["side"] == "left" and r["settled"] for r in c
    ),
    rf"leads throughout on best values{COUNT}, which": lambda c: all(
        r["side"] == "left" and not r["settled"] for r in c
    ),
    rf"AR passes even an early-stopped MDM{COUNT}": lambda c: all(
        once("down", r) and r["settled"] for r in c
    ),
    rf"AR takes the lead on best values{COUNT}": lambda c: all(
        set(directions(r)) == {"down"} and not r["settled"] for r in c
    ),
    rf"best values meet AR's{COUNT}": RAW[rf"curve meets AR's{COUNT}"],
    rf"(?:MDM|it) has not passed an early-stopped AR{COUNT}": RAW[
        rf"(?:MDM|it) has not passed AR{COUNT}(?! and)"
    ],
    rf"leads beyond error on best values at the end{COUNT}": lambda c: all(
        nothing(r) and not r["behind"] for r in c
    ),
    rf"the replicates disagree on best values{COUNT}": lambda c: True,
}


def rows(c: Crossovers, definition: str) -> list[list[Row]]:
    """What the oracle knows of each cell's replicates."""
    out = []
    for cell in c.cells:
        replicates = []
        for outcome, (first, second) in zip(cell.outcomes[definition], cell.arms, strict=True):
            crossing = outcome.crossing
            value, error = outcome.curve.value, 3 * outcome.curve.se
            spoken = np.flatnonzero(np.abs(value) > error)
            down = next((o.x["tokens"] for o in outcome.others if o.robust and o.direction == "down"), None)
            replicates.append(
                {
                    **outcome.record(),
                    "up": None if crossing is None else crossing.x["tokens"],
                    "up_robust": crossing is not None and crossing.robust,
                    "side": outcome.censored,
                    "open": outcome.censored is not None and crossing is not None and crossing.robust,
                    "past": outcome.past_minimum,
                    "rises": rises(first.b.value),
                    "second_past": down is not None and down > second.x["tokens"][second.b.value.argmin()],
                    "second_rises": rises(second.b.value),
                    "behind": bool(len(spoken) and value[spoken[-1]] > 0 and (value[spoken[-1] :] > 0).all()),
                }
            )
        out.append(replicates)
    return out


def counted(text: str, claims: Mapping[str, Claim], cells: list[list[Row]]) -> int:
    """How many cells a text's claims are about, each claim held to the cells that it is true of."""
    total = 0
    for pattern, claim in claims.items():
        for match in re.finditer(pattern, text):
            n = int(match[1]) if match[1] else len(cells)
            assert match[2] is None or int(match[2]) == len(cells)
            true = sum(claim(cell) for cell in cells)
            assert n <= true if "disagree" in pattern else n == true, (pattern, text, cells)
            total += n
    return total


@pytest.mark.parametrize("seed", range(120))
def test_headline_and_table_say_what_the_places_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, replicates = rng.integers(1, 4), rng.integers(1, 4)
    same = rng.random() < 0.5
    cells = []
    for _ in range(n):
        one = drawn(rng)
        cells.append([one if same else drawn(rng) for _ in range(replicates)])
    c = locate(*study(*cells))
    verdict = Verdict.of(c, {}, [])
    raw, best = rows(c, "raw"), rows(c, "best_so_far")
    text = verdict.headline
    if "on raw curves or on best values" in text:
        assert all(nothing(r) for cell in (*raw, *best) for r in cell)
    elif "on raw curves and on best values" in text:
        assert all(r["side"] == "left" for cell in (*raw, *best) for r in cell)
    elif ";" not in text:
        assert text == "MDM passes even an early-stopped AR within this budget"
        assert all(once("up", r) for cell in (*raw, *best) for r in cell)
    else:
        one, two = text.split("; ")
        assert counted(one, RAW, raw) == counted(two, BEST, best) == n, text
    for quadrant in verdict.table:
        parts = quadrant.status.split("; ")
        counts = [int(m[1]) for p in parts if (m := re.search(r" in (\d+)(?: of \d+ cells)?$", p))]
        assert sum(counts) == n if len(parts) > 1 else len(counts) <= 1
        known = raw if quadrant.definition == "raw" else best
        assert quadrant.crossed == sum(all(once("up", r) for r in cell) for cell in known)
        if "has not crossed" in quadrant.status:
            bound = min(min(r["x"][quadrant.unit] for r in cell) for cell in known if behind(cell))
            said = re.search(r"has not crossed by ([\d.]+)(k|M|)", quadrant.status)
            assert said is not None
            assert float(said[1]) * {"k": 1e3, "M": 1e6, "": 1}[said[2]] == pytest.approx(bound, rel=0.006)
        assert not re.search(r"\bany\b|\ball\b", f"{quadrant.status} {text}")
