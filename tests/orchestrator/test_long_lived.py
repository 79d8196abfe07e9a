"""What a study needs after its first run: use, extend, refine, look after and tidy up, by the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

Cli = Callable[..., Result]


def read(crossover: Cli, *arguments: str | Path) -> Any:
    """A command's JSON."""
    result = crossover(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_sample_and_export_weights(crossover: Cli, finished_store: Path, tmp_path: Path) -> None:
    where = ("--store", finished_store)
    for run in read(crossover, "status", *where)["runs"][:3:2]:
        text = read(crossover, "sample", run["run"][:8], "Th", "--length", "5", *where)
        assert text["text"].startswith("Th") and text["step"] == 40
        told = read(crossover, "export", "weights", run["run"][:8], "--to", tmp_path / run["run"], *where)
        assert (tmp_path / run["run"] / "model.safetensors").exists()
        assert told["layout"] == (
            "qwen3" if "autoregressive" in run["name"] or "AR" in run["name"] else "crossover"
        )
    too_long = crossover("sample", run["run"][:8], "--length", "500", *where)
    assert too_long.exit_code == 2 and "allowed: 1 to 32" in too_long.stderr
    assert "weights" in crossover("export", "--help").output
