from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.tables.endpoints import final_losses
from analysis.tables.tables import TableError, load, read


def small() -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = pd.DataFrame(
        {
            "run": ["p", "q"],
            "objective": ["autoregressive", "masked_diffusion"],
            "U": 1e4,
            "N": 2e5,
            "likelihood": "exact",
            "seed": 0,
            "state": "done",
        }
    )
    curves = pd.DataFrame(
        {
            "run": ["p"] * 3 + ["q"] * 3,
            "step": [1, 2, 3] * 2,
            "tokens": [10.0, 20, 30] * 2,
            "nll_a": 2.0,
            "nll_b": 2.0,
        }
    )
    return runs, curves


def test_what_is_missing_is_derived_and_said():
    runs, curves = small()
    tables = load(runs, curves)
    assert tables.curves["epochs"].tolist()[:3] == [1e-3, 2e-3, 3e-3]
    assert tables.curves["flops"].iloc[0] == 6 * 2e5 * 10
    assert any("6 N D" in n for n in tables.notes)
    assert any("unpaired" in n for n in tables.notes)
    assert tables.axes == ()


def test_a_single_loss_serves_both_halves_with_a_note():
    runs, curves = small()
    curves = curves.drop(columns="nll_a").rename(columns={"nll_b": "loss"})
    tables = load(runs, curves)
    assert (tables.curves["nll_a"] == tables.curves["nll_b"]).all()
    assert any("selects and reads on the same" in n for n in tables.notes)


def test_strangers_columns_are_mapped(tmp_path):
    runs, curves = small()
    runs.rename(columns={"run": "id", "objective": "kind of model"}).to_csv(tmp_path / "r.csv", index=False)
    curves.rename(columns={"run": "id", "tokens": "D seen"}).to_parquet(tmp_path / "c.parquet")
    names = {"id": "run", "kind of model": "objective", "D seen": "tokens"}
    tables = load(tmp_path / "r.csv", tmp_path / "c.parquet", columns=names)
    assert set(tables.curves["run"]) == {"p", "q"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, c: (r.rename(columns={"objective": "objectiv"}), c), "did you mean 'objectiv'"),
        (lambda r, c: (r, c.rename(columns={"tokens": "t"})), "no column 'tokens'"),
        (lambda r, c: (r, c.assign(nll_b=["x", *"111111"[1:]])), "'x' is not a number"),
        (lambda r, c: (r.assign(likelihood="upperbound"), c), "did you mean 'upper_bound'"),
        (lambda r, c: (r.assign(U=-1.0), c), "not positive"),
        (lambda r, c: (r.iloc[:0], c), "no rows"),
        (lambda r, c: (r, pd.concat([c, c.iloc[:1].assign(nll_b=9.0)])), "two different rows at step 1"),
        (lambda r, c: (r.assign(other="run"), c), None),
    ],
)
def test_errors_name_column_value_and_what_is_allowed(change, message):
    runs, curves = change(*small())
    if message is None:
        load(runs, curves)
        return
    with pytest.raises(TableError, match=message):
        load(runs, curves)


def test_rows_without_a_finite_loss_are_left_out_and_listed():
    runs, curves = small()
    curves.loc[1, "nll_b"] = np.inf
    tables = load(runs, curves)
    assert len(tables.curves) == 5
    assert tables.excluded == (
        {"run": "p", "reason": "1 evaluations without a finite loss or positive tokens"},
    )


def test_a_precise_value_replaces_the_curves():
    runs, curves = small()
    again = curves.iloc[[1]].assign(nll_b=1.5, precise=True)
    tables = load(runs, pd.concat([curves.assign(precise=False), again]))
    row = tables.curves.query("run == 'p' and step == 2").iloc[0]
    assert len(tables.curves) == 6 and row["nll_b"] == 1.5


def test_columns_that_do_not_vary_are_no_axes():
    runs, curves = small()
    runs["model.size"], runs["data.quality"] = ["s", "m"], "clean"
    assert load(runs, curves).axes == ("model.size",)
    assert load(runs, curves, axes=["data.quality"]).axes == ("data.quality",)
    with pytest.raises(TableError, match=r"no column 'data.qualiti'; did you mean 'data.quality'"):
        load(runs, curves, axes=["data.qualiti"])


def test_files_that_are_no_tables(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(TableError, match="is empty"):
        read(tmp_path / "empty.csv")
    with pytest.raises(TableError, match="no such table"):
        read(tmp_path / "none.csv")
    (tmp_path / "a.xls").write_text("x")
    with pytest.raises(TableError, match=r"\.csv, \.tsv or \.parquet"):
        read(tmp_path / "a.xls")


def test_whether_a_run_is_annealed_is_read_from_its_column_and_never_from_a_name():
    runs, curves = small()
    assert "annealed" not in final_losses(runs.assign(schedule=["inverse_sqrt", "constant_x"]), curves)
    told = final_losses(runs.assign(schedule="inverse_sqrt", annealed=[False, True]), curves)
    assert told["annealed"].tolist() == [False, True]
