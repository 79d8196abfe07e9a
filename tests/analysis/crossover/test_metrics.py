"""Metrics other than the NLL: which values are better is declared, and items give paired errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.reporting import write
from analysis.tables.tables import TableError
from tests.analysis.synthetic import study

TASK = "continuation"
METRIC = f"{TASK}_accuracy"
ITEMS, FLIPS = 400, 0.01
NOISE = np.sqrt(2 * FLIPS * (1 - FLIPS) / ITEMS)
"""Standard deviation of the difference of two accuracies: of each, that of its own flips."""
SLOPE = (0.30 + 0.55 * 1.3 * np.log(2.5) ** 0.3) / 3 * (1 - 2 * FLIPS)
"""How fast the arms' accuracies part at their crossing, a log token: the losses' slopes (``synthetic``), over
the three nats that thresholds span."""


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Runs, curves and items. An item is right where the loss lies below a threshold of its own, which all
    runs share, so that accuracies cross where losses do; each answer is flipped with a small probability."""
    (runs, curves, _), _ = study(
        sizes=(190_000,), budgets=(10_000, 20_000), spread=0.03, jitter=0.0, sequences=48, keep_scores=False
    )
    rng = np.random.default_rng(0)
    parts = []
    for half in "ab":
        hard = rng.permutation(np.linspace(1.5, 4.5, ITEMS))
        for row in curves[["run", "step", f"nll_{half}"]].itertuples(index=False):
            right = (row[2] < hard) ^ (rng.random(ITEMS) < FLIPS)
            columns = {"run": row[0], "step": row[1], "half": half, "task": TASK, "item": np.arange(ITEMS)}
            parts.append(pd.DataFrame({**columns, "correct": right}))
    return runs, curves, pd.concat(parts, ignore_index=True)


def means(items: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Curves with the task's accuracy and its unpaired errors, as where no items are kept."""
    grouped = items.groupby(["run", "step", "half"])["correct"].agg(["mean", "sem"]).unstack("half")
    wide = pd.DataFrame(
        {f"{METRIC}{'_se' if kind == 'sem' else ''}_{half}": grouped[kind, half] for kind, half in grouped}
    )
    return curves.merge(wide.reset_index(), on=["run", "step"])


def test_items_give_the_curve_and_paired_errors(tables) -> None:
    runs, curves, items = tables
    paired = locate(runs, curves, items=items, metric=METRIC, better="higher")
    unpaired = locate(runs, means(items, curves), metric=METRIC, better="higher")
    loss = locate(runs, curves)
    for definition in ("raw", "best_so_far"):
        with_items, without, of_loss = (
            np.array([c.value for c in x.select(definition, "tokens")]) for x in (paired, unpaired, loss)
        )
        assert with_items == pytest.approx(without)
        # Both arms count whole items; a place is the mean over two replicates.
        error = 4 * NOISE / SLOPE / np.sqrt(2) + 2 / ITEMS / SLOPE if definition == "raw" else 0
        assert (np.abs(np.log(with_items / of_loss)) <= error).all()
    one, two = (x.cells[0].outcomes["raw"][0].curve for x in (paired, unpaired))
    assert one.paired and not two.paired and np.nanmedian(one.se) < 0.7 * np.nanmedian(two.se)
    assert (paired.losses["best"] > 0).all() and (paired.losses["best_se"] > 0).all()
    assert (paired.losses["best"] >= paired.losses["final"] - 4 * NOISE).all()


def test_a_declared_direction_is_taken_and_none_is_guessed(tables, tmp_path) -> None:
    runs, curves, items = tables
    curves = means(items, curves)
    with pytest.raises(TableError, match="which values are better"):
        locate(runs, curves, metric=METRIC)
    curves.attrs["better"] = {METRIC: "higher"}
    declared = locate(runs, curves, metric=METRIC)
    said = locate(runs, curves.assign(), metric=METRIC, better="higher")
    assert declared.better == "higher" and declared.records == said.records
    curves.to_parquet(tmp_path / "curves.parquet")
    assert locate(runs, tmp_path / "curves.parquet", metric=METRIC).records == said.records
    # The other way round the arms change places: the second is then ahead from the start.
    curves.attrs = {}
    assert locate(runs, curves, metric=METRIC, better="lower").records != said.records


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "continuation_acuracy"}, "did you mean 'continuation_accuracy'"),
        ({"metric": "nll", "better": "higher"}, "of 'nll' lower values are declared to be better"),
        ({"metric": METRIC, "better": "more"}, "better: no direction 'more'. There are lower, higher"),
        ({"pair": ("autoregresive", "masked_diffusion")}, "did you mean 'autoregressive'"),
        ({"pair_over": ["data.unique_byte"]}, "did you mean 'data.unique_bytes'"),
        ({"minima": "all"}, "minima: no rule 'all'. There are each, passed"),
        ({"confidence": 95}, "confidence: 95 does not lie between 0 and 1"),
    ],
)
def test_a_mistake_names_what_is_allowed_and_the_nearest(tables, options, message) -> None:
    runs, curves, items = tables
    with pytest.raises(TableError, match=message):
        locate(runs, curves, items=items, **options)


def test_items_are_checked(tables) -> None:
    runs, curves, items = tables
    with pytest.raises(TableError, match="table 'items' has no column 'step'"):
        locate(runs, curves, items=items.drop(columns="step"))
    with pytest.raises(TableError, match="has item 0 twice at step"):
        locate(runs, curves, items=pd.concat([items, items.head(1)]))
    # The rows of an item's further choices are rows of the same item.
    choices = pd.concat([items.assign(choice=0), items.assign(choice=1)])
    both = [
        locate(runs, curves, items=t, metric=METRIC, better="higher", chance=0.0).records
        for t in (items, choices)
    ]
    assert both[0] == both[1]


def test_output_says_that_no_plateau_is_known_and_speaks_of_no_nats(tables, tmp_path) -> None:
    runs, curves, items = tables
    found = locate(runs, curves, items=items, metric=METRIC, better="higher")
    text = str(found)
    assert "no start-up plateau is known" in text and "nats apart" not in text
    report = write(tmp_path, found)
    page = report.html.read_text()
    assert "in continuation accuracy (higher is better)" in page and "Continuation accuracy and data" in page
    assert "Nats per token" not in page and report.data["better"] == "higher"
    drawn = pd.read_csv(tmp_path / "figures" / "loss_curves.csv")
    assert drawn["mean"].between(0, 1).all()
    # Flips on half a may hide that an evaluation is the best so far; those on half b may raise it.
    assert (drawn["best_so_far"] >= drawn["mean"] - 2 * 4 * NOISE).all()
