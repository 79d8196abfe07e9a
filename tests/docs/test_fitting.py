"""docs/fitting.md: commands run, print what it shows and draw its figures; its table is the measured one."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result

from analysis.laws import law_names
from tests.paths import ROOT

TEXT = (ROOT / "docs/fitting.md").read_text()
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """(command line, the lines it is shown to print), as the page has them."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line.strip():
                found[-1][1].append(line.strip())
    return [(line, tuple(shown)) for line, shown in found]


def printed(shown: str, output: str) -> bool:
    """Whether a shown text stands in the output, its numbers within a fifth of those printed."""
    words = [re.escape(w) for w in NUMBER.split(shown)]
    pattern = re.compile(f"({NUMBER.pattern})".join(re.sub(r"(\\ )+", r"\\s+", w) for w in words))
    wanted = [float(n) for n in NUMBER.findall(shown)]
    return any(
        all(abs(float(a) - b) <= 0.2 * abs(b) + 0.005 for a, b in zip(match.groups(), wanted, strict=True))
        for match in pattern.finditer(output)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("line", "shown"), commands(), ids=lambda v: v[10:40] if isinstance(v, str) else "")
def test_commands_run_and_print_what_is_shown(
    crossover: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    shown: tuple[str, ...],
) -> None:
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(line)
    if "--to" in arguments:
        place = arguments.index("--to") + 1
        figure = Path(arguments[place])
        assert (ROOT / figure).is_file() and f"]({figure.relative_to('docs')})" in TEXT
        arguments[place] = str(tmp_path / figure.name)
    if program == "python":
        importlib.import_module(arguments[1]).main(arguments[2:])
        output = capsys.readouterr().out
    else:
        result = crossover(*arguments)
        assert result.exit_code == 0, result.output
        output = result.output
    assert shown, "a command shows what it prints"
    for text in shown:
        assert printed(text, output), f"{text!r} is not in:\n{output}"
    if "--to" in arguments:
        assert (tmp_path / figure.name).stat().st_size == pytest.approx(
            (ROOT / figure).stat().st_size, rel=0.2
        )


def test_every_figure_is_shown_and_small() -> None:
    figures = {f"figures/{p.name}" for p in (ROOT / "docs/figures").iterdir()}
    assert set(re.findall(r"\]\((figures/[^)]+)\)", TEXT)) <= figures
    assert all((ROOT / "docs" / f).stat().st_size < 150_000 for f in figures)


def test_the_tables_of_coverage_are_the_measured_ones() -> None:
    from benchmarks.coverage import table

    for part in table().split("\n\n"):
        assert part in TEXT


def test_recommended_intervals_cover_and_are_as_narrow_as_can_be() -> None:
    """2,000 data sets a law on designs that identify it: 93 to 97 %, and a median width at most 1.2 times an
    oracle's. On the other designs the parameter that they leave open comes out unbounded."""
    from benchmarks.coverage import RESULTS
    from benchmarks.designs import DESIGNS, UNIDENTIFIED

    measured = pd.read_csv(RESULTS)
    whole = measured[(measured["design"] == "identified") & (measured["sims"] == 2000)]
    assert set(whole["law"]) == set(DESIGNS) >= set(law_names())
    assert whole["coverage"].between(0.93, 0.97).all() and (whole["width_ratio"] <= 1.2).all()
    for design in UNIDENTIFIED:
        rows = measured[(measured["law"] == design.law) & (measured["design"] == design.name)]
        opened = rows[rows["parameter"].isin(design.open)]
        assert len(opened) == len(design.open) and (opened["coverage"] >= 0.93).all()
        assert (opened["unbounded"] >= 0.9).all()


def test_the_table_of_predictions_beyond_the_data_is_the_measured_one() -> None:
    from benchmarks.extrapolation import page

    assert page() in TEXT


def test_predictions_beyond_the_data_are_covered_at_a_width_that_is_worth_having() -> None:
    """1,000 studies a row; limits give or take two Monte-Carlo errors. Where the law is right, or nearly so,
    nothing bounds the coverage from above."""
    from benchmarks.extrapolation import BEYOND, DESIGNS, PUBLISHED, RESULTS, TRUTHS

    measured = pd.read_csv(RESULTS)
    rows = measured[measured["interval"] == "drift"]
    keys = set(rows[["truth", "design", "beyond"]].itertuples(index=False, name=None))
    assert keys == {(t, d, b) for t in TRUTHS for d in DESIGNS for b in BEYOND}
    assert (rows["studies"] >= 1000).all() and (rows["coverage"] >= 0.85 - 2 * rows["mc_error"]).all()
    assert (rows["width"] <= 2.2 * rows["centred"]).all()
    own = measured[measured["interval"] == "law's own"]
    assert own["coverage"].min() < 0.05
    tables = pd.read_csv(PUBLISHED)
    tables = tables[tables["interval"] == "drift"]
    large = tables[~tables["table"].str.startswith("Gadre")]
    assert (large["coverage"] >= 0.85).all() and (large["width"] <= 2 * large["centred"]).all()
    assert tables["coverage"].min() == pytest.approx(0.744, abs=0.001)  # as the page says


def test_numbers_are_compared_not_only_words() -> None:
    assert printed("a = 0.5 [0.4, 0.6]", "x a =   0.51 [0.41, 0.62] y")
    assert not printed("a = 0.5 [0.4, 0.6]", "a = 0.9 [0.4, 0.6]")
