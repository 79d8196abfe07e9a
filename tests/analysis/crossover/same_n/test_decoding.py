"""What a verdict for the exact arm beats: asked for where it leads on best values, and compared in pairs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import reporting as report
from analysis.crossover import locate
from analysis.crossover.same_n.decoding import beaten, wanted_decoding
from tests.analysis.synthetic import study


def tables(**changes):
    settings = {"sizes": (190_000,), "budgets": (10_000,), "best_mdm": 2.8, **changes}
    return study(**settings)[0]


@pytest.fixture(scope="module")
def found():
    return locate(*tables())


def decodings(found, lead: float) -> pd.DataFrame:
    """Eight sequences decoded ``lead`` nats above AR's best."""
    ((run, step),) = wanted_decoding(found)
    ar = found.cells[0].arms[0][0]
    own = ar.b.sequences[ar.best_so_far()[-1]][:8]
    rows = [
        {
            "run": run,
            "step": step,
            "order": "left_to_right",
            "tokens_per_step": 1,
            "sequence": i,
            "nll": v,
            "tokens": 128,
        }
        for i, v in enumerate(own + lead + 0.01 * np.cos(np.arange(8)))
    ]
    return pd.DataFrame(rows)


def test_one_replicate_a_cell_is_asked_for_at_its_best_step(found) -> None:
    mdm = found.cells[0].arms[0][1]
    assert wanted_decoding(found) == [(mdm.run, int(mdm.step[mdm.a.value.argmin()]))]


def test_nothing_is_asked_for_where_the_bound_wins_or_both_are_exact() -> None:
    assert wanted_decoding(locate(*tables(best_mdm=1.5, horizon=5e6))) == []
    runs, curves, scores = tables()
    assert wanted_decoding(locate(runs.assign(likelihood="exact"), curves, scores)) == []


@pytest.mark.parametrize(("lead", "is_beaten"), [(0.3, True), (0.001, False), (-0.3, False)])
def test_the_lead_over_a_decoder_is_paired_over_sequences(found, lead: float, is_beaten: bool) -> None:
    (one,) = beaten(found, decodings(found, lead))
    assert one.lead == pytest.approx(lead, abs=0.01) and one.beaten is is_beaten
    assert one.se < 0.01, "the text's own scatter cancels"
    assert one.decoder == "left to right, 1 a step" and one.sequences == 8
    assert one.decoded - one.exact == pytest.approx(one.lead)
    assert beaten(found, None) == []


@pytest.mark.parametrize(("sequences", "chance"), [(8, "0.01"), (4, "0.029")])
def test_the_report_names_the_decoder_and_what_chance_gives(
    found, tmp_path, sequences: int, chance: str
) -> None:
    scored = decodings(found, 0.3)
    written = report.write(tmp_path, found, decoding=scored[scored["sequence"] < sequences])
    text = written.html.read_text()
    assert f"With {sequences} sequences that many standard errors are p = {chance} for one decoder" in text
    assert "the decoders that it beats" in text and "left to right, 1 a step in 1 of 1 cells" in text
    assert written.data["decoding"][0]["beaten"] is True
    assert "the decoders that it beats" not in report.write(tmp_path, found).html.read_text()
