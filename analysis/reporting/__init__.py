"""The report of a study: one self-contained page, ``report.json`` beside it, and the figures with their
data. Its words and markup are Jinja2 templates in ``templates/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.crossover.study import Crossovers, locate

__all__ = ["Report", "write"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written: ``html``, ``json`` and ``figures``; ``data`` is the content of the JSON,
    ``crossovers`` the results."""

    html: Path
    json: Path
    figures: tuple[Path, ...]
    data: dict[str, Any]
    crossovers: Crossovers

    @property
    def headline(self) -> str:
        return self.crossovers.verdict.headline


def write(
    folder: str | Path,
    runs: pd.DataFrame | str | Path | Crossovers,
    curves: pd.DataFrame | str | Path | None = None,
    scores: pd.DataFrame | str | Path | None = None,
    *,
    spec: Mapping[str, Any] | str | None = None,
    provenance: Mapping[str, Any] | None = None,
    decoding: pd.DataFrame | None = None,
    command: str = "",
    title: str = "",
    extra_sections: Mapping[str, str] | None = None,
    **options: Any,
) -> Report:
    """Analyse a study and write ``report.html``, ``report.json``, ``figures/`` and ``tables/``.

    Args:
        folder: where to write; it is made where it is missing.
        runs: one row a run; or finished :class:`analysis.crossover.Crossovers`.
        curves: one row an evaluation.
        scores: one row a validation sequence of an evaluation.
        spec: the sweep, shown as it is. A mapping's ``name`` and ``question`` are used in the head.
        provenance: facts shown beside the command.
        decoding: exact likelihoods of bounds under decoding orders, see
            :mod:`analysis.crossover.same_n.decoding`.
        command: what reproduces the study on a command line.
        title: the report's name; by default that of ``spec``.
        extra_sections: heading -> text of further sections.
        options: further arguments of :func:`analysis.crossover.locate`, such as ``metric`` and ``items``.

    Raises:
        TableError: a table cannot be used; the message says which, and why.
    """
    from analysis.crossover.gaps.bands import crossing_bands
    from analysis.crossover.place import record
    from analysis.crossover.same_n.decoding import beaten
    from analysis.plots import draw
    from analysis.reporting.page import render

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    crossovers = runs if isinstance(runs, Crossovers) else locate(runs, curves, scores, **options)
    plots = [drawing.write(folder / "figures" / figure) for figure, drawing in draw(crossovers).items()]
    facts = dict(provenance or {})
    comparisons = beaten(crossovers, decoding)
    bands = crossing_bands(crossovers, decoding)
    head = spec if isinstance(spec, Mapping) else {}
    name = title or str(head.get("name") or "Crossover report")
    data = {
        **crossovers.json(),
        "title": name,
        "decoding": [vars(c) for c in comparisons],
        "bands": [record(b) for b in bands],
        "provenance": json.loads(json.dumps(facts, default=str)),
        "command": command,
        "figures": [
            {
                "name": p.name,
                "caption": p.caption,
                **{
                    k: str(f.relative_to(folder)) for k, f in (("png", p.png), ("svg", p.svg), ("csv", p.csv))
                },
            }
            for p in plots
        ],
    }
    html = render(
        crossovers,
        title=name,
        plots=plots,
        folder=folder,
        comparisons=comparisons,
        bands=bands,
        spec=spec or {},
        facts=facts,
        command=command,
        extra_sections=extra_sections,
    )
    _write(folder / "report.json", json.dumps(data, indent=1, allow_nan=False, default=str) + "\n")
    _write(folder / "report.html", html)
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    crossovers.frame().to_csv(tables / "crossovers.csv", index=False)
    crossovers.losses.to_csv(tables / "losses.csv", index=False)
    return Report(
        html=folder / "report.html",
        json=folder / "report.json",
        figures=tuple(f for p in plots for f in (p.png, p.svg, p.csv)),
        data=data,
        crossovers=crossovers,
    )


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
