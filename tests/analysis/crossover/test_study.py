"""What the result of `locate` shows, and where one goes on from it."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.crossover import Crossovers, locate
from analysis.tables.tables import TableError
from tests.analysis.synthetic import study


@pytest.fixture(scope="module")
def crossovers() -> Crossovers:
    return locate(*study(budgets=(5_000, 20_000), sequences=24)[0])


def test_it_shows_itself_as_text_and_as_html(crossovers: Crossovers) -> None:
    text, page = str(crossovers), crossovers._repr_html_()
    assert text.startswith(crossovers.verdict.headline)
    assert "places in tokens, 95% intervals" in text and "places in epochs" in crossovers.text("epochs")
    assert "A/A control" in text and "compute-optimal (between fronts), in FLOPs: none" in text
    assert page.count("<table") == 3 and "&gt; " in page and page.startswith("<div><p>MDM passes")
    assert repr(crossovers) == text


def test_names_from_a_table_are_escaped(crossovers: Crossovers) -> None:
    runs = crossovers.tables.runs.assign(objective_short="<b>")
    assert "<b><b>" not in locate(runs, crossovers.tables.curves)._repr_html_()


def test_one_goes_on_from_it(crossovers: Crossovers, tmp_path) -> None:
    assert len(crossovers.table()) == len(crossovers.crossings)
    table = crossovers.table("raw", "epochs")
    assert list(table["value"]) == [c.value for c in crossovers.select("raw", "epochs")]
    law = crossovers.law("raw", "tokens")
    assert law is not None and law is crossovers.laws["raw", "tokens"]
    assert crossovers.law("raw", "tokens", cure=True).cure is not None
    assert crossovers.plot().title == "Map of the crossings"
    assert crossovers.plot("loss_curves").write(tmp_path / "curves").png.exists()
    assert crossovers.report(tmp_path, title="T").data["title"] == "T"


def test_a_caption_speaks_of_marks_that_are_drawn(crossovers: Crossovers) -> None:
    assert "The mark is the place of a crossing" in crossovers.plot("loss_curves").caption
    early = crossovers.tables.curves.query("tokens < 100_000")
    caption = locate(crossovers.tables.runs, early).plot("loss_curves").caption
    assert (
        "mark" not in caption and "An arrow says by where MDM had not passed in every replicate." in caption
    )


def test_its_methods_complete(crossovers: Crossovers) -> None:
    assert {"table", "law", "plot", "report", "fronts", "verdict", "ratios", "losses"} <= set(dir(crossovers))


def test_mistakes_name_what_is_allowed_and_the_nearest(crossovers: Crossovers) -> None:
    for call, message in (
        (lambda: crossovers.plot("crossover_mapp"), "did you mean 'crossover_map'"),
        (lambda: crossovers.table("rav"), "no definition 'rav'; did you mean 'raw'"),
        (lambda: crossovers.law("raw", "token"), "did you mean 'tokens'"),
        (lambda: crossovers.text("steps"), "no unit 'steps'. There are tokens, epochs, flops"),
    ):
        with pytest.raises(TableError, match=message):
            call()


def test_a_study_without_a_cell_says_why() -> None:
    (runs, curves, _), _ = study(sizes=(190_000,), budgets=(5_000,), keep_scores=False)
    nothing = locate(runs.assign(likelihood="pseudo"), curves)
    assert "its loss is no likelihood" in str(nothing) and "no likelihood" in nothing._repr_html_()
    assert nothing.table().empty and isinstance(nothing.table("raw"), pd.DataFrame)
    with pytest.raises(TableError, match="no figure"):
        nothing.plot()
