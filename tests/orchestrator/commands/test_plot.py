"""`crossover plot`: every figure of published fits, and what cannot be drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result

from orchestrator.commands.plot import KINDS
from tests.paths import PUBLISHED, ROOT

Cli = Callable[..., Result]
CHINCHILLA = (
    PUBLISHED / "chinchilla_fig4.csv",
    "--map",
    "N=Model Size,C=Training FLOP",
    "--drop-highest",
    "5",
    "--interval",
    "t",
)
MORE = {"heldout": ("--holdout", "C > 1e21"), "routes": ("--at", "5.76e23")}


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_is_a_png_an_svg_and_its_numbers(crossover: Cli, tmp_path: Path, kind: str) -> None:
    result = crossover(
        "plot",
        kind,
        *CHINCHILLA,
        *MORE.get(kind, ()),
        "--to",
        tmp_path / "figures" / f"My {kind}.png",
        "--json",
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    png, svg, csv = map(Path, said["files"])
    assert png.name == f"My {kind}.png" and png.stat().st_size > 5000
    assert "<svg" in svg.read_text()[:400] and len(pd.read_csv(csv)) > 3 and said["caption"]


@pytest.mark.parametrize("command", ["fit", "isoflop", "plot", "suggest"])
def test_a_command_offers_its_options_without_loading_tables_or_figures(command: str) -> None:
    heavy = {"matplotlib", "pandas", "scipy", "torch"}
    probe = f"import orchestrator.commands.{command}, sys; print(sorted({heavy!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.strip() == "[]"


def test_figures_are_the_same_each_time(crossover: Cli, tmp_path: Path) -> None:
    for name in "ab":
        assert crossover("plot", "contours", *CHINCHILLA, "--to", tmp_path / f"{name}.png").exit_code == 0
    assert all(
        (tmp_path / f"a.{e}").read_bytes() == (tmp_path / f"b.{e}").read_bytes()
        for e in ("png", "svg", "csv")
    )


def test_laws_of_unique_data_and_of_one_variable(crossover: Cli, tmp_path: Path) -> None:
    constrained = (PUBLISHED / "datablations_fit182.csv", "--law", "data_constrained", "--interval", "t")
    assert crossover("plot", "tokens", *constrained, "--to", tmp_path / "tokens.png").exit_code == 0
    assert pd.read_csv(tmp_path / "tokens.csv")["U"].nunique() == 6
    single = (
        PUBLISHED / "chinchilla_fig4.csv",
        "--map",
        "C=Training FLOP",
        "--law",
        "loss_saturation",
        "--estimand",
        "quantile",
    )
    assert crossover("plot", "law", *single, "--interval", "t", "--to", tmp_path / "law.png").exit_code == 0
    result = crossover("plot", "contours", *single, "--interval", "t", "--to", tmp_path / "no.png")
    assert result.exit_code == 2 and "needs N, D; the law loss_saturation is one of C" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("contour",), "is not one of"),
        (("heldout",), "needs --holdout"),
        (("routes",), "need --at"),
        (("compute", "--estimand", "all"), "is for `crossover plot estimands`"),
        (("heldout", "--holdout", "C > 1e21", "--interval", "none"), "needs intervals"),
    ],
)
def test_what_cannot_be_drawn_says_why(
    crossover: Cli, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = crossover("plot", arguments[0], *CHINCHILLA, *arguments[1:], "--to", tmp_path / "f.png")
    assert result.exit_code == 2 and message in result.stderr and not list(tmp_path.iterdir())


def test_hard_data_can_be_drawn(crossover: Cli, tmp_path: Path) -> None:
    """Two budgets on one line in log N and log D, so that there is no hull; and losses below zero."""
    size = np.geomspace(1e7, 1e9, 12)
    frame = pd.DataFrame({"N": size, "D": 20 * size}).assign(loss=lambda f: -3 + 40 / f["N"] ** 0.3)
    frame.to_csv(tmp_path / "line.csv", index=False)
    law = ("--law", "c + A/N**alpha + 0*D | real c", "--estimand", "mse", "--interval", "none")
    for kind in ("compute", "contours", "residuals", "tokens"):
        result = crossover("plot", kind, tmp_path / "line.csv", *law, "--to", tmp_path / f"{kind}.png")
        assert result.exit_code in (0, 2) and "Traceback" not in result.output, result.output
