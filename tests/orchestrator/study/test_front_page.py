"""A front page answers what its sweep asks: ``four_axes``, with curves drawn in place of trained ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import Crossovers, locate
from analysis.reporting import write
from orchestrator.language.loading import load
from orchestrator.planning.drafting import make_plan
from orchestrator.results.tables import of_sweep
from orchestrator.store.store import Store
from tests.analysis.crossover.verdict.shapes import OVERFITS, SE, TOKENS
from tests.paths import ROOT

X = np.arange(len(TOKENS))


def place(row: pd.Series) -> float:
    """The evaluation at which a cell's curves cross: less data earlier, noise later, depth no matter."""
    if row["model.size"] == "d32":
        return 40.0
    at = 13.0 + 2 * (row["data.unique_bytes"] > 20_000) + 3 * ("replace_words" in str(row["data.quality"]))
    return at + 0.02 * (row["model.architecture"] == "deep")


def curve(row: pd.Series) -> pd.DataFrame:
    """AR over-fits; MDM crosses it at its place, or lies above it to the end."""
    at = place(row)
    mdm = np.interp(at, X, OVERFITS) + max(at - len(X), 0) * 0.05 - 0.025 * (X - at)
    losses = OVERFITS if row["objective"] == "autoregressive" else mdm
    return pd.DataFrame({"run": row["run"], "step": X + 1, "tokens": TOKENS}).assign(
        nll_a=losses, nll_b=losses, se_a=SE, se_b=SE, mc_se_a=0.0, mc_se_b=0.0
    )


@pytest.fixture(scope="module")
def crossovers(tmp_path_factory: pytest.TempPathFactory) -> Crossovers:
    store = Store(tmp_path_factory.mktemp("store"))
    plan = make_plan(load([ROOT / "sweeps/four_axes.yaml"]), store)
    tables = of_sweep(store, plan.end_points())
    runs = tables.runs.assign(state="done", U=tables.runs["data.unique_bytes"], U_bytes=None, steps=np.nan)
    return locate(runs, pd.concat([curve(row) for _, row in runs.iterrows()]), axes=tables.axes)


def test_every_axis_of_the_sweep_has_its_line(crossovers: Crossovers, tmp_path: Path) -> None:
    moves = {m.change: m for m in crossovers.verdict.table[0].moves}
    assert {m.axis for m in moves.values()} == {"U", "N", "data.quality", "model.architecture"}
    assert moves["less data"].direction == "earlier"
    assert moves["larger model"].direction == "earlier"
    (quality,) = (m for m in moves.values() if m.axis == "data.quality")
    assert quality.direction == "later" and quality.change.endswith("against clean")
    (depth,) = (m for m in moves.values() if m.axis == "model.architecture")
    assert depth.change == "architecture deep against standard" and depth.direction == "not decided"
    page = write(tmp_path, crossovers).html.read_text()
    head = page[: page.index("</header>")]
    assert all(f"{m.change}: {m.words}" in head for m in moves.values())
