"""Each axis of a study has its line: by contrast with interval, by cells, or why it cannot be said."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from analysis.crossover import Crossovers, locate
from analysis.crossover.verdict import Quadrant
from analysis.reporting import write
from tests.analysis.crossover.verdict.shapes import OVERFITS, Curves, K, study

QUALITY = "quality noisy against clean"
X = np.arange(K)


def passing(at: float) -> Curves:
    """MDM passes an over-fitted AR at this evaluation (10 or later); beyond the last: not at all."""
    return OVERFITS, np.interp(at, X, OVERFITS) + max(at - K, 0) * 0.05 - 0.025 * (X - at)


def cell(at: float, scatter: float = 0.1, replicates: int = 3) -> list[Curves]:
    return [passing(at + scatter * s) for s in (-1.0, 0.3, 0.7)[:replicates]]


def of(
    *places: float, axis: str = "data.quality", levels: tuple[object, ...] = ("clean", "noisy"), **options
) -> Crossovers:
    """Two budgets at each level of an axis; ``places`` of the first budget, the second is two later."""
    axes = [{"data.unique_bytes": u, axis: v} for u in (10_000, 20_000) for v in levels]
    cells = [cell(p + shift, **options) for shift in (0, 2) for p in places]
    return locate(*study(*cells, axes=axes))


def raw(c: Crossovers) -> Quadrant:
    return c.verdict.table[0]


def moved(c: Crossovers, change: str) -> tuple[str, str]:
    """Direction and evidence of one change."""
    (move,) = [m for m in raw(c).moves if m.change == change]
    return move.direction, move.evidence


@pytest.mark.parametrize(("noisy", "direction"), [(15, "later"), (10.5, "earlier")])
def test_a_level_that_moves_the_place_has_its_contrast_with_interval(noisy: float, direction: str) -> None:
    c = of(12, noisy)
    said, evidence = moved(c, QUALITY)
    assert said == direction
    ratio, low, high = map(float, re.findall(r"[\d.]+", evidence))
    assert low < 1.15 ** (noisy - 12) < high and (low > 1 or high < 1)
    assert ratio == pytest.approx(1.15 ** (noisy - 12), rel=0.1)
    law = c.law("raw", "tokens")
    assert law is not None
    assert math.exp(law.contrast("data.quality", "clean", "noisy").value) == pytest.approx(
        1 / ratio, rel=0.01
    )  # type: ignore[union-attr]


def test_a_level_that_moves_it_less_than_replicates_scatter_is_not_decided() -> None:
    direction, evidence = moved(of(14, 14.2, scatter=1.5), QUALITY)
    assert direction == "not decided" and evidence.startswith("leaning later, × 1.0")


def test_a_level_that_never_crosses_is_later_where_its_bound_lies_beyond_the_other() -> None:
    assert moved(of(12, 60), QUALITY) == (
        "later",
        "in 2 of 2 comparisons of two cells, by their intervals and bounds",
    )


def test_a_level_whose_runs_end_before_the_other_crosses_is_not_decided() -> None:
    axes = [{"data.unique_bytes": u, "data.quality": v} for u in (1e4, 2e4) for v in ("clean", "noisy")]
    short = [(a[:9], b[:9]) for a, b in cell(60)]
    c = locate(*study(cell(12), short, cell(14), short, axes=axes))
    assert moved(c, QUALITY)[0] == "not decided"


def test_places_whose_intervals_overlap_are_in_no_order() -> None:
    """One replicate a cell: too few places for a law, and intervals of evaluation error alone."""
    axes = [{"data.quality": v} for v in ("clean", "noisy")]
    near, far = (locate(*study([passing(12)], [passing(place)], axes=axes)) for place in (12.02, 13.0))
    assert moved(near, QUALITY) == (
        "not decided",
        "bounds and intervals of evaluation error alone overlap in 1 comparison of two cells",
    )
    assert moved(far, QUALITY)[0] == "later"


def test_where_no_level_crosses_it_cannot_be_said() -> None:
    assert moved(of(60, 60), QUALITY) == ("cannot be said", "no crossing among the cells compared")


def test_a_level_without_a_comparable_cell_cannot_be_said() -> None:
    levels = ((1e4, "clean"), (2e4, "noisy"), (3e4, "clean"))
    axes = [{"data.unique_bytes": u, "data.quality": v} for u, v in levels]
    c = locate(*study(cell(12), cell(60), cell(60), axes=axes))
    assert moved(c, QUALITY) == ("cannot be said", "no two cells differ in this alone")


def test_an_axis_that_varies_with_data_is_not_told_from_it() -> None:
    axes = [{"data.unique_bytes": u, "data.quality": v} for u, v in ((1e4, "clean"), (2e4, "noisy"))]
    c = locate(*study(cell(12), cell(14), axes=axes))
    assert moved(c, "quality") == ("cannot be said", "it varies together with data.unique_bytes")


def test_the_first_level_of_the_table_is_what_the_others_are_held_against() -> None:
    c = of(12, 15, 10.5, axis="model.architecture", levels=("standard", "deep", "wide"))
    assert moved(c, "architecture deep against standard")[0] == "later"
    assert moved(c, "architecture wide against standard")[0] == "earlier"


def test_cells_of_which_replicates_disagree_decide_no_order() -> None:
    axes = [{"data.quality": v} for v in ("clean", "noisy")]
    c = locate(*study(cell(12, replicates=1), [passing(20), passing(60)], axes=axes))
    assert moved(c, QUALITY)[0] == "not decided"


@pytest.mark.parametrize(("small", "big"), [(12, 15), (15, 12)])
@pytest.mark.parametrize(
    ("change", "axes"),
    [
        ("less data", [{"data.unique_bytes": 1e4}, {"data.unique_bytes": 2e4}]),
        ("larger model", [{"model.size": "d32", "N": 5e4}, {"model.size": "d64", "N": 2e5}]),
    ],
)
def test_too_few_places_for_a_law_are_put_in_order(
    change: str, axes: list[dict[str, object]], small, big
) -> None:
    c = locate(*study([passing(small)], [passing(big)], axes=axes))
    later = (big > small) == (change == "larger model")
    assert c.law("raw", "tokens") is None
    assert moved(c, change) == (
        "later" if later else "earlier",
        "in 1 of 1 comparison of two cells, by their bounds and intervals of evaluation error alone",
    )


def test_comparisons_that_contradict_each_other_decide_nothing() -> None:
    axes = [{"data.unique_bytes": u, "data.quality": v} for u in (1e4, 2e4) for v in ("clean", "noisy")]
    c = locate(*study([passing(12)], [passing(60)], [passing(60)], [passing(12)], axes=axes))
    assert moved(c, QUALITY) == ("not decided", "1 earlier and 1 later of 2 comparisons of two cells")


def test_an_axis_has_one_line_a_level_but_the_first_up_to_six() -> None:
    def changes(levels: int) -> list[str]:
        axes = [{"quality": f"q{k}"} for k in range(levels)]
        c = locate(*study(*([passing(12 + k / 9)] for k in range(levels)), axes=axes))
        return [m.change for m in raw(c).moves][2:]

    assert changes(6) == [f"quality q{k} against q0" for k in range(1, 6)]
    assert changes(7) == ["quality"]


def test_less_data_and_larger_model_stand_beside_the_other_axes_on_the_page(tmp_path) -> None:
    c = of(12, 15)
    assert moved(c, "less data")[0] == "earlier" and moved(c, "larger model") == ("not varied", "")
    page = write(tmp_path, c).html.read_text()
    head = page[: page.index("</header>")]
    for move in raw(c).moves:
        assert f"{move.change}: {move.words}" in head
    assert head.count(QUALITY) == 4


def test_an_axis_that_renames_size_or_data_has_one_line() -> None:
    c = of(12, 15)
    assert {m.axis for m in raw(c).moves} == {"U", "N", "data.quality"}
