"""What a study says of itself in each situation that it can be in, and what it must not say."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.crossover import Crossovers, locate
from analysis.crossover.situations import Situation, cell_situations
from tests.analysis.crossover.verdict.shapes import (
    AHEAD,
    BEHIND,
    FALLS,
    FLAT,
    OVERFITS,
    SLOW,
    TOKENS,
    Curves,
    K,
    lead,
    study,
    twins,
)

OVER = (OVERFITS, SLOW)
"""MDM passes AR after AR's minimum, and its own best is short of AR's."""
IMPROVING = twins(FALLS, lead((12, BEHIND), (1, AHEAD)))
NEVER = twins(FALLS, lead((1, BEHIND)))
NEVER_OVER = twins(OVERFITS, lead((1, BEHIND)))
SPIKE = twins(FALLS, lead((12, 0.05), (2, -0.03), (1, 0.0)))
STOPPED = (OVERFITS, np.maximum(3.3 - 0.07 * np.arange(K), 2.18 + 0.05 * (np.arange(K) - 16)))
TURNS = 0.05 * np.cos(2 * np.pi * (np.arange(K) + 0.5) / 16)
"""AR leads, MDM, AR, MDM; on best values too, for it changes no faster than ``FALLS`` falls."""
REVERSE = (
    np.maximum(2.409, 3.0 - 0.05 * np.arange(K)),
    2.158 + np.abs(np.arange(K) - 8) * 0.05,
)
"""MDM leads, is best at 2.158 and over-fits; AR passes it, and never reaches 2.158."""
REVERSE_CROSSES = TOKENS[13] * 0.9, TOKENS[14] * 1.1

WITHIN = " within this budget"


def raw_and_best(c: Crossovers) -> tuple[list[Situation], list[Situation]]:
    raw, best = ([s.situation for s in cell_situations(c, d)] for d in ("raw", "best_so_far"))  # type: ignore[arg-type]
    return raw, best


CASES: dict[str, tuple[list[list[Curves]], str, tuple[str, ...], str]] = {
    # cells; headline; words that neither headline nor table may hold; the table's entry of raw curves
    "over-fitted": (
        [[OVER, OVER]],
        "MDM passes an over-fitted AR; it has not passed an early-stopped AR within this budget",
        ("any", "in 1 of"),
        "crosses at",
    ),
    "still improving": (
        [[IMPROVING, IMPROVING]],
        "MDM passes AR while AR still improves; it leads on best values, which is not settled: a "
        "minimum is not "
        "bracketed within this budget",
        ("over-fit", "even an early-stopped"),
        "crosses at",
    ),
    "at its best": (
        [[twins(FLAT, lead((12, BEHIND), (1, AHEAD)))]],
        "MDM passes AR about where AR is at its best; it leads on best values, which is not settled: "
        "a minimum is "
        "not bracketed within this budget",
        ("over-fit", "improves"),
        "crosses at",
    ),
    "one cell over-fitted, one not": (
        [[OVER, OVER], [IMPROVING, IMPROVING]],
        "MDM passes AR in 1 of 2 cells while AR still improves, and it passes an over-fitted AR in 1; it "
        "leads on best values in 1 of 2 cells, which is not settled: a minimum is not bracketed, and it has "
        "not passed an early-stopped AR in 1 within this budget",
        ("before AR over-fits", "any"),
        "crosses at",
    ),
    "one cell crosses, one does not": (
        [[OVER, OVER], [NEVER_OVER, NEVER_OVER]],
        "MDM passes an over-fitted AR in 1 of 2 cells, and it has not passed AR in 1; it has not passed an "
        "early-stopped AR within this budget",
        ("any", "all "),
        "in 1 of 2 cells; has not crossed by",
    ),
    "replicates over-fitted and not": (
        [[OVER, IMPROVING]],
        "MDM passes AR, over-fitted in some replicates and not in others; the replicates disagree on "
        "best values",
        ("an over-fitted AR", "still improves"),
        "crosses at",
    ),
    "early-stopped": (
        [[STOPPED, STOPPED]],
        "MDM passes even an early-stopped AR within this budget",
        ("has not",),
        "crosses at",
    ),
    "AR passes MDM": (
        [[REVERSE, REVERSE]],
        "AR passes an over-fitted MDM; MDM leads throughout on best values, which is not settled: a "
        "minimum is "
        "not bracketed within this budget",
        ("has not passed", "over-fitted AR", "had crossed"),
        "AR passes MDM at",
    ),
    "several crossings, AR last": (
        [[twins(FALLS, lead((6, 0.05), (6, -0.05), (1, 0.05)))]],
        "MDM and AR pass each other in turn, AR last; MDM and AR pass each other in turn on best "
        "values, AR last",
        ("MDM passes AR", "has not passed"),
        "cross in both directions, AR ahead last: MDM first passes at",
    ),
    "several crossings, MDM last": (
        [[twins(FALLS, TURNS)]],
        "MDM and AR pass each other in turn, MDM last; MDM and AR pass each other in turn on best "
        "values, MDM "
        "last",
        ("MDM passes AR", "has not passed"),
        "cross in both directions, MDM ahead last",
    ),
    "ahead throughout": (
        [[twins(OVERFITS, lead((1, AHEAD)))] * 2] * 2,
        "MDM is ahead of AR from the first counted evaluation on, on raw curves and on best values, "
        "in every cell",
        ("passes", "has not passed"),
        "MDM ahead throughout, by",
    ),
    "disagreeing replicates": (
        [[OVER, NEVER_OVER]],
        "MDM passes AR in some replicates only; it has not passed an early-stopped AR within this budget",
        ("over-fitted", "has not crossed by", "any of"),
        "crosses in 1 of 2 replicates, there at",
    ),
    "replicates on opposite sides": (
        [[twins(OVERFITS, lead((1, AHEAD))), NEVER_OVER]],
        "the replicates disagree; the replicates disagree on best values",
        ("passes", "has not"),
        "the replicates disagree",
    ),
    "meets": (
        [[SPIKE, SPIKE]],
        "MDM's curve meets AR's, but no crossing is robust in every replicate; MDM's best values "
        "meet AR's, but no "
        "crossing is robust in every replicate",
        ("passes", "has not passed"),
        "meets at",
    ),
    "one replicate": (
        [[OVER]],
        "MDM passes an over-fitted AR; it has not passed an early-stopped AR within this budget",
        ("replicates",),
        "crosses at",
    ),
    "nothing crosses": (
        [[NEVER, NEVER], [NEVER, NEVER]],
        "MDM has not passed AR within this budget, on raw curves or on best values",
        ("over-fitted", "early-stopped", "any"),
        "has not crossed by",
    ),
    "never apart": (
        [[twins(FALLS, lead((1, 0.001))), twins(FALLS, lead((1, -0.001)))]],
        "neither MDM nor AR leads beyond error at the end; neither MDM nor AR leads beyond error on "
        "best values at "
        "the end",
        ("passes", "has not passed"),
        "no lead beyond error after",
    ),
}


@pytest.fixture(scope="module")
def studies() -> dict[str, Crossovers]:
    return {name: locate(*study(*cells)) for name, (cells, *_) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_each_situation_has_its_sentence(studies: dict[str, Crossovers], name: str) -> None:
    _, headline, never, entry = CASES[name]
    verdict = studies[name].verdict
    assert verdict.headline == headline
    status = verdict.table[0].status
    assert status.startswith(entry) or entry in status
    for words in never:
        assert words not in verdict.headline and words not in status


def test_a_crossing_on_the_start_up_plateau_is_called_one() -> None:
    c = locate(*study([twins(FALLS, lead((4, BEHIND), (1, AHEAD)))], entropy=3.0))
    assert raw_and_best(c)[0] == [Situation.PLATEAU]
    assert c.verdict.headline.startswith(
        "MDM's and AR's curves cross only on the start-up plateau, which does not count; "
    )
    assert "crossed on the start-up plateau, before" in c.verdict.table[0].status


def test_an_arm_that_stays_on_its_plateau_is_counted_in_the_scope() -> None:
    c = locate(*study([NEVER, NEVER], entropy=1.0))
    assert raw_and_best(c)[0] == [Situation.BEHIND]
    assert "in 2 of 2 pairs of runs an arm does not leave its start-up plateau" in c.verdict.scope


def test_where_the_first_arm_passes_the_place_is_that_of_its_passing(studies: dict[str, Crossovers]) -> None:
    (cell,) = cell_situations(studies["AR passes MDM"], "raw")
    assert cell.place is not None and REVERSE_CROSSES[0] < cell.place < REVERSE_CROSSES[1]


def test_of_disagreeing_replicates_the_place_is_of_those_that_crossed(studies: dict[str, Crossovers]) -> None:
    (cell,) = cell_situations(studies["disagreeing replicates"], "raw")
    assert cell.place == pytest.approx(cell.crossing.outcomes[0].x["tokens"])


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"N": (1.9e5, 4.3e4)}, "different N"),
        ({"U": (1e4, 2e4)}, "different unique data"),
        ({"vocab": (256, 512)}, "different vocabularies"),
        ({"model.size": ("d64", "d32")}, "model.size"),
        ({"optimizer.lr": (1e-3, 2e-3)}, "pair_over: [optimizer.lr]"),
    ],
)
def test_twins_that_do_not_compare_are_none_and_the_reason_is_told(facts, reason) -> None:
    c = locate(*study([OVER, OVER], axes=[{}], facts=facts))
    assert c.verdict.headline == "No pair of AR and MDM runs could be compared"
    assert reason in c.verdict.scope
    assert c.not_shown == ["Anything of AR against MDM: no pair of their runs could be compared."]


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([[OVER]], "each cell has one: an interval is of evaluation error alone."),
        ([[OVER, OVER]] * 2, "2 intervals rest on the variances of 2 cells together"),
        ([[OVER, OVER]], None),
        ([[NEVER]], "How replicates scatter: each cell has one."),
        ([[NEVER, NEVER]] * 2, None),
    ],
)
def test_one_variance_is_said_where_an_interval_rests_on_one(cells, sentence) -> None:
    scatter = [s for s in locate(*study(*cells)).not_shown if s.startswith("How replicates scatter")]
    assert (sentence in scatter[0]) if sentence else not scatter


@pytest.mark.parametrize(
    ("facts", "kind"),
    [
        ({"N": (1e5, 1.019e5)}, "same_n"),
        ({"N": (1e5, 1e5), "N_extra": (64, 128)}, "same_n"),
        ({"N": (1e5, 4e5), "N_active": (1e5, 1.01e5)}, "same_active_n"),
        ({"N": (1e5, 1.3e5), "N_active": (1e5, 1.3e5), "N_objective": (0, 3e4)}, "same_backbone_n"),
    ],
)
def test_twins_are_named_by_the_count_in_which_they_are_the_same(facts, kind) -> None:
    c = locate(*study([OVER, OVER], axes=[{}], facts=facts))
    assert {r["kind"] for r in c.records} == {kind}
    assert any(f"their kind is {kind}" in note for note in c.notes) == (kind != "same_n")


def test_twins_of_equal_flops_are_named_so() -> None:
    runs, curves = study([OVER, OVER], axes=[{}], facts={"N": (1e5, 2e5)})
    c = locate(runs, curves.assign(flops=6e5 * curves["tokens"]))
    assert {r["kind"] for r in c.records} == {"same_flops"}
    assert "twins have the same FLOPs a token" in " ".join(c.not_shown)


@pytest.mark.parametrize("facts", [{"N": (1e5, 1.021e5)}, {"N": (1.9e5, 4.3e4), "N_active": (1.9e5, 4.3e4)}])
def test_sizes_that_pair_over_leaves_are_refused(facts) -> None:
    sizes = {"model.size": ("d64", "d32")}
    c = locate(*study([OVER, OVER], axes=[{}], facts=facts | sizes), pair_over=["model.size"])
    assert c.records == [] and "different N" in c.verdict.scope


def test_a_table_without_n_is_taken_on_trust_and_says_so() -> None:
    runs, curves = study([OVER, OVER])
    c = locate(runs.drop(columns="N"), curves)
    assert c.records[0]["kind"] == "same_n" and "taken on trust" in " ".join(c.notes)


def test_the_range_of_a_study_is_told_as_one_value_where_it_is_one() -> None:
    assert "Anything beyond its range: N = 100k, U = 10k to 20k tokens of the data of these runs." in (
        locate(*study([OVER], [OVER])).not_shown
    )
