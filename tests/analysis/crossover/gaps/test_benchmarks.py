"""Scores: pass@k against its definition, chance as a plateau, and what many benchmarks allow."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.crossover.gaps.benchmark_scores import crossing_p, holm
from analysis.crossover.same_n.metrics import pass_at_k
from analysis.crossover.same_n.paired_difference import Difference
from analysis.reporting import write
from analysis.tables.tables import TableError

STEPS = np.arange(1, 17)
ITEMS = 100


def rises(low, high, at):
    return np.where(at > STEPS, low, high)


def study(tasks, choices=4, replicates=2):
    """``tasks``: name -> (scores of the first arm, of the second) [16]. An item is right where its rank is
    below the score, so that twins differ in as few items as they can."""
    runs, curves, items = [], [], []
    for seed, k in itertools.product(range(replicates), range(2)):
        objective = ("autoregressive", "masked_diffusion")[k]
        run = f"{k}-{seed}"
        runs.append({"run": run, "objective": objective, "seed": seed, "N": 1e5, "U": 1e6, "state": "done"})
        tokens = 1e5 * 1.2**STEPS
        loss = 3.0 - (0.10 if k else 0.02) * STEPS + (0.4 if k else 0.0)
        curves.append(
            pd.DataFrame({"run": run, "step": STEPS, "tokens": tokens, "nll_a": loss, "nll_b": loss})
        )
        for (name, scores), half in itertools.product(tasks.items(), "ab"):
            rank = np.tile(np.arange(ITEMS), len(STEPS))
            table = pd.DataFrame(
                {
                    "run": run,
                    "step": np.repeat(STEPS, ITEMS),
                    "task": name,
                    "half": half,
                    "item": rank,
                    "correct": rank < np.repeat(np.asarray(scores[k]) * ITEMS, ITEMS),
                    "samples": 4,
                }
            )
            table["passed"] = np.where(table["correct"], 2, 0)
            items += [table.assign(choice=c) for c in range(choices)]
    curves = pd.concat(curves, ignore_index=True)
    curves.attrs["better"] = {f"{t}_accuracy": "higher" for t in tasks}
    return {"runs": pd.DataFrame(runs), "curves": curves, "items": pd.concat(items, ignore_index=True)}


def test_pass_at_k_is_the_chance_that_one_of_k_draws_without_replacement_passed():
    assert pass_at_k([5, 5, 5, 5], [2, 0, 5, 3], 3) == pytest.approx([0.9, 0.0, 1.0, 1.0])
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    for n, c, k in itertools.product((4, 7), (0, 1, 3), (1, 2, 4)):
        drawn = list(itertools.combinations(range(n), k))
        assert pass_at_k(n, c, k) == pytest.approx(np.mean([min(d) < c for d in drawn]))
    for bad in ((3, 1, 4), (3, 4, 1), (3, -1, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match=r"needs 1 <= k <= samples"):
            pass_at_k(*bad)


def test_pass_at_k_is_unbiased_and_its_scatter_over_items_is_that_of_its_mean():
    rate, n, k = 0.3, 8, 3
    c = np.arange(n + 1)
    mass = np.array([math.comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in c])
    assert mass @ pass_at_k(n, c, k) == pytest.approx(1 - (1 - rate) ** k)
    rng = np.random.default_rng(0)
    rates = rng.beta(1, 2, (2000, 50))  # items differ
    values = pass_at_k(n, rng.binomial(n, rates), k)
    means, errors = values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(50)
    assert np.mean(errors**2) == pytest.approx(means.var(), rel=0.12)


def test_a_crossing_does_not_count_before_both_arms_are_above_chance():
    guessing = {"quiz": (rises(0.20, 0.22, 8), rises(0.02, 0.60, 8))}
    tables = study(guessing)
    located = locate(**tables, metric="quiz_accuracy")
    assert all(c.censored for c in located.select("raw", "tokens"))  # the first arm never leaves chance
    assert any("better than chance (0.25) by three standard errors" in n for n in located.notes)
    assert locate(**tables, metric="quiz_accuracy", chance=0.0).select("raw", "tokens")[0].confirmed
    learnt = study({"quiz": (rises(0.50, 0.52, 8), rises(0.02, 0.80, 8))})
    assert locate(**learnt, metric="quiz_accuracy").select("raw", "tokens")[0].confirmed
    # One that comes before the second arm is above chance is not counted although both are later.
    early = study({"quiz": (rises(0.50, 0.05, 4), np.where(STEPS < 10, 0.26, 0.9))})
    assert locate(**early, metric="quiz_accuracy").select("raw", "tokens")[0].censored
    with pytest.raises(TableError, match=r"chance: 0\.5, but nll is no score"):
        locate(**tables, chance=0.5)


def test_items_that_were_sampled_give_pass_at_k():
    tables = study({"code": (np.linspace(0.4, 0.5, 16), np.linspace(0.1, 0.8, 16))}, choices=1)
    located = locate(**tables, metric="code_pass@2", better="higher")
    (cell,) = located.select("raw", "tokens")
    assert cell.confirmed and any("better than chance (0)" in n for n in located.notes)
    # Two of four samples pass: pass@2 is 5/6 of the items that are ever right.
    assert -located.cells[0].arms[0][0].b.value[-1] == pytest.approx(0.5 * 5 / 6)
    with pytest.raises(TableError, match="have 4 samples"):
        locate(**tables, metric="code_pass@8", better="higher")


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_the_p_value_of_a_crossing_holds_where_there_is_none():
    rng = np.random.default_rng(0)
    fields = {f.name: None for f in dataclasses.fields(Difference)}

    def p(value):
        ones = np.ones(len(value))
        return crossing_p(Difference(**{**fields, "value": value, "se": ones, "counted": ones > 0}))

    common = rng.normal(0, 1, (400, 1))
    noise = rng.normal(0, 1, (400, 24)) * 0.8 + 0.6 * common
    assert np.mean([p(v) < 0.05 for v in noise]) <= 0.05
    assert p(np.r_[np.full(6, 5.0), np.full(6, -5.0)]) < 1e-4
    assert p(np.r_[np.full(6, 5.0), np.full(6, 1.0)]) > 0.5 and p(np.full(4, 9.0)) == 1.0


def test_benchmarks_stand_side_by_side_adjusted_for_their_number(tmp_path):
    tasks = {
        "easy": (rises(0.60, 0.65, 9), rises(0.42, 0.95, 9)),
        "hard": (rises(0.60, 0.65, 9), rises(0.42, 0.50, 9)),
    }
    located = locate(**study(tasks))
    rows = {b.benchmark: b for b in located.benchmarks.crossings}
    easy, hard = rows["easy_accuracy"], rows["hard_accuracy"]
    assert easy.passes and easy.adjusted == pytest.approx(2 * easy.p) and easy.chance == 0.25
    assert not hard.passes and hard.censored == "right" and hard.adjusted == 1.0
    loss = located.select("raw", "tokens")[0].value
    assert easy.over_loss.value == pytest.approx(easy.value / loss) and hard.over_loss.bound == "lower"
    assert located.benchmarks.sentence.startswith(
        "masked diffusion passes autoregressive in 1 of 2 comparisons (2 benchmarks, 1 cells), adjusted for "
        "their number (Holm, 5% for all together); 1 would pass one by one"
    )
    page = write(tmp_path, located).html.read_text()
    assert "<h2>Benchmarks</h2>" in page and located.benchmarks.sentence in str(located)
