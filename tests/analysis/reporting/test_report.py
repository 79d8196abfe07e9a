"""Figures and the report: what stands on the page, that it needs nothing else, and that it is safe to
open."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from analysis.reporting import write
from tests.analysis.crossover.test_compute_optimal import tables as fronts_study
from tests.analysis.synthetic import study


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    tables, _ = study(sizes=(40_000, 190_000), budgets=(5_000, 20_000), sequences=12)
    runs = pd.concat(
        [tables[0], tables[0].iloc[[0]].assign(run="dead", seed=9, state="failed")], ignore_index=True
    )
    folder = tmp_path_factory.mktemp("report")
    spec = {"name": "pocket <study>", "base": {"note": "</script><script>alert(1)</script>"}}
    return write(
        folder, runs, *tables[1:], spec=spec, provenance={"git": "abc & def"}, command="crossover run x.yaml"
    ), folder


def test_the_page_leads_with_headline_and_table_and_ends_with_what_is_not_shown(report):
    text = report[0].html.read_text()
    headline = (
        "MDM passes an over-fitted AR in 3 of 4 cells, and it has not passed AR in 1; it has not passed an "
        "early-stopped AR within this budget"
    )
    assert report[0].headline == headline
    places = [
        text.index(s)
        for s in (
            headline + ".</h1>",
            'class="two"',
            "Figures",
            "Runs, failures and exclusions",
            "crossover run x.yaml",
            "What this result does not show",
        )
    ]
    assert places == sorted(places)
    assert "<h2>" not in text[places[-1] :].replace("<h2>What", "")


def test_the_page_asks_nobody_for_anything(report):
    text = report[0].html.read_text()
    assert not re.search(r'(src|href)="(?!data:|figures/)', text)
    assert "<script" not in text and "@import" not in text and "url(" not in text.split("</style>")[0]
    assert "&lt;/script&gt;" in text and "pocket &lt;study&gt;" in text and "abc &amp; def" in text


def test_failures_are_listed(report):
    assert {"run": "dead", "reason": "the run failed"} in report[0].data["excluded"]
    assert "the run failed" in report[0].html.read_text()


def test_json_is_strict_and_holds_the_records(report):
    data = json.loads(report[0].json.read_text(), parse_constant=lambda c: pytest.fail(c))
    assert len(data["crossovers"]) == 4 * 2 * 3
    assert data["headline"] == report[0].headline
    assert {q["definition"] + q["unit"] for q in data["verdict"]["table"]} == {
        "rawtokens",
        "rawepochs",
        "best_so_fartokens",
        "best_so_farepochs",
    }


def test_kinds_of_crossover_stand_apart_each_with_what_it_needs_or_why_not(report):
    data, text = report[0].data, report[0].html.read_text()
    assert {r["kind"] for r in data["crossovers"]} == {"same_n"}
    assert data["compute_optimal"] == [] and data["law_against_law"] == []
    assert "a front needs 3 sizes; of constant-rate runs AR has 2 and MDM 2" in text
    assert "a law of N, D and U needs at least 3 sizes" in text
    places = [text.index(f"<h2>{h}") for h in ("Crossovers", "Compute-optimal crossovers", "Law against law")]
    assert places == sorted(places)


def test_the_a_a_rate_stands_beside_every_verdict(report):
    data = report[0].data
    for row in (*data["verdict"]["table"], *data["crossovers"]):
        rate = row["false_crossings"]
        assert rate["pairs"] == 8 and 0 <= rate["low"] <= rate["rate"] <= rate["high"] <= 1


@pytest.mark.slow
def test_a_study_of_many_sizes_shows_fronts_and_laws(tmp_path):
    tables = fronts_study(budgets=(1e6, 4e6), replicates=2, spread=0.003, steps=40)
    report = write(tmp_path, *tables)
    data, text = report.data, report.html.read_text()
    assert "compute_fronts" in {f["name"] for f in data["figures"]}
    assert {r["kind"] for r in data["compute_optimal"]} == {"compute_optimal"}
    assert {r["kind"] for r in data["law_against_law"]} <= {"law_against_law"}
    assert "bootstrap frequency of no crossing" in text
    assert data["law_against_law"] or data["law_against_law_refused"]


def test_every_figure_has_png_svg_and_csv(report):
    names = {f["name"] for f in report[0].data["figures"]}
    assert names == {
        "loss_curves",
        "crossover_against_unique",
        "crossover_map",
        "loss_against_unique",
        "data_efficiency",
    }
    for f in report[0].data["figures"]:
        assert (report[1] / f["png"]).read_bytes()[:4] == b"\x89PNG"
        assert (report[1] / f["svg"]).read_text().lstrip().startswith("<?xml")
        assert len(pd.read_csv(report[1] / f["csv"])) > 0


def test_figures_are_reproduced_bit_for_bit(report, tmp_path):
    tables, _ = study(sizes=(190_000,), budgets=(5_000,), sequences=12)
    one, two = (write(tmp_path / n, *tables) for n in "ab")
    for a, b in zip(one.figures, two.figures, strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert one.html.read_bytes() == two.html.read_bytes()


def test_a_study_without_any_pair_still_gives_a_report(tmp_path):
    (runs, curves, _), _ = study(sizes=(190_000,), budgets=(5_000,), keep_scores=False)
    only = runs[runs["objective"] == "autoregressive"]
    report = write(tmp_path, only, curves, pair=("autoregressive", "masked_diffusion"))
    assert report.headline == "No pair of AR and masked diffusion runs could be compared"
    assert report.data["crossovers"] == []


def test_a_single_cell_without_data_axes(tmp_path):
    (runs, curves, _), _ = study(sizes=(190_000,), budgets=(5_000,), replicates=1, keep_scores=False)
    report = write(tmp_path, runs[["run", "objective"]], curves[["run", "tokens", "nll_a", "nll_b"]])
    assert report.data["crossovers"][0]["cell"] == "all"
    assert "error of the difference is unknown" in json.dumps(report.data["crossovers"])
