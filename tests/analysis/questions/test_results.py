"""What a fit answers: questions chain from it, answers show themselves, and mistakes are answered with
names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.fitting.estimate import Estimate
from analysis.fitting.fitting import fit
from analysis.fitting.result import Fit
from analysis.plots.kinds import OF_FITS
from analysis.plots.laws import FIGURES
from analysis.questions.optimum import optimal
from analysis.tables.frame import FitError
from analysis.tables.json_values import plain
from analysis.tables.shown import Block, Grid, Shown
from benchmarks.designs import DESIGNS


@pytest.fixture(scope="module")
def result() -> Fit:
    table = DESIGNS["chinchilla"].sample(1)
    return fit(
        table, interval="t", estimand="log_mse", holdout=f"C > {table.eval('6 * N * D').quantile(0.9)}"
    )


def test_questions_chain_from_a_fit(result: Fit) -> None:
    assert result.optimal(1e22).N == optimal(result, 1e22).N
    profile = result.profile("alpha")
    assert profile.low < result.values["alpha"] < profile.high
    assert len(result.score().table) == len(result.heldout)
    suggestion = result.suggest("alpha", 1e22, count=1)
    assert suggestion.after < suggestion.before
    check = result.check(starts=64)
    assert len(check.influence) == result.n and (check.back_test is None) == bool(check.refusal)
    assert json.loads(json.dumps(plain(check.as_dict())))["influence"]


def test_answers_show_themselves_as_text_and_html(result: Fit) -> None:
    for answer in (result.optimal(1e22), result.profile("beta"), result.score(), result):
        page = answer._repr_html_()
        assert str(answer) == repr(answer) and len(str(answer).splitlines()) >= 1
        assert page.startswith("<div>") and page.endswith("</div>")


def test_a_shown_result_escapes_its_words_and_marks_its_warnings() -> None:
    class Answer(Shown):
        def blocks(self) -> list[Block]:
            return ["a < b", Grid(pd.DataFrame({"x": [1 / 3]})), "! beware"]

    assert str(Answer()) == "a < b\n     x\n0.3333\n! beware"
    page = Answer()._repr_html_()
    assert "<p>a &lt; b</p>" in page and "0.3333" in page and "<p><b>! beware</b></p>" in page


def test_figures_of_a_fit_show_and_save_themselves(result: Fit, tmp_path: Path) -> None:
    assert list(FIGURES) == list(OF_FITS)
    drawing = result.plot("heldout", starts=64)
    assert drawing._repr_html_().startswith("<figure>") and repr(drawing) == drawing.caption
    assert drawing.write(tmp_path / "heldout.png").png.stat().st_size > 5000


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (lambda r: r.plot("residual"), "no kind of figure 'residual'; did you mean 'residuals'"),
        (lambda r: r.profile("alhpa"), "no free parameter 'alhpa'; did you mean 'alpha'"),
        (lambda r: r.predict({"N": [1e8], "D": [1e9]}, kind="runs"), "did you mean 'run'"),
        (lambda r: r.suggest("alpha", 1e22, cuont=1), "no option 'cuont'; did you mean 'count'"),
    ],
)
def test_mistakes_are_answered_with_the_nearest_name(result: Fit, question, answer: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises((ValueError, TypeError), match=answer):
        question(result)


def test_a_fit_read_from_json_predicts_and_refuses_what_needs_its_data(result: Fit) -> None:
    again = Fit.from_json(result.to_json())
    assert again.values == result.values and again.parameters["E"].low == result.parameters["E"].low
    assert again.diagnostics.residual_scale == result.diagnostics.residual_scale
    for refused in (again.residuals, again.check, again.plot):
        with pytest.raises(FitError, match="holds no data"):
            refused()


def test_an_interval_is_open_only_where_there_is_one() -> None:
    assert not Estimate(1.0).unbounded and Estimate(1.0, low=0.5, assumption="a").unbounded
    assert Estimate(low=0.5, assumption="a").around(1.0, 0.2).se is None
    assert Estimate(low=0.5, high=2.0, assumption="a").around(1.0, 0.2).se == 0.2
    for estimate in (Estimate(1.0, 0.1, 0.8, 1.2, assumption="a"), Estimate(1.0, low=0.8, assumption="a")):
        assert Estimate.from_dict(estimate.as_dict(), "a") == estimate


def test_json_holds_no_infinities_and_no_numpy() -> None:
    values = {1: np.array([1.0, math.inf]), "s": {np.int64(2)}, "t": (np.float64("nan"), np.True_)}
    assert plain(values) == {"1": [1.0, None], "s": [2], "t": [None, True]}
