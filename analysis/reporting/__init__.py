"""The report of a study: one self-contained page, ``report.json`` beside it, and the figures with their
data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.crossover.same_n.location import Crossovers, locate
from analysis.crossover.study import Study, analyse

__all__ = ["Report", "Study", "analyse", "write"]


@dataclass(frozen=True)
class Report:
    """What was written: ``html``, ``json`` and ``figures``; ``data`` is the content of the JSON, ``study``
    the results."""

    html: Path
    json: Path
    figures: tuple[Path, ...]
    data: dict[str, Any]
    study: Study

    @property
    def headline(self) -> str:
        return self.study.verdict.headline


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
    """Analyse a study and write ``report.html``, ``report.json``, ``figures/`` and ``tables/`` into
    ``folder``.

    ``runs``, ``curves``, ``scores`` and further ``options`` as for
    :func:`analysis.crossover.same_n.location`; or a finished :class:`Crossovers`. ``spec``: the sweep,
    shown as it is (a mapping's ``name`` and ``question`` are used in the head). ``provenance``: facts shown
    beside the ``command`` that reproduces it. ``decoding``: exact likelihoods of bounds under decoding
    orders, see :mod:`analysis.crossover.same_n.decoding`. ``extra_sections``: {heading: text}.
    """
    from analysis.crossover.same_n.decoding import beaten
    from analysis.plots import draw
    from analysis.reporting import kinds, sections
    from analysis.reporting.decoding import decoding_section
    from analysis.reporting.html import page, tag

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = runs if isinstance(runs, Crossovers) else locate(runs, curves, scores, **options)
    study = analyse(found)
    plots = draw(found, study.laws, study.ratios, folder / "figures", study.fronts)
    facts = dict(provenance or {})
    decoders = beaten(found, decoding)
    head = spec if isinstance(spec, Mapping) else {}
    name = title or str(head.get("name") or "Crossover report")
    data = {
        **study.json(),
        "title": name,
        "decoding": [vars(d) for d in decoders],
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
    extras = [
        tag("section", tag("h2", heading), tag("p", text)) for heading, text in (extra_sections or {}).items()
    ]
    text = page(
        f"{name}: {study.verdict.headline}",
        sections.lead(study, name, head),
        sections.figures(plots, folder),
        sections.crossings(study),
        decoding_section(decoders, found),
        kinds.compute_optimal(study),
        kinds.law_against_law(study),
        sections.controls(study),
        sections.losses(study),
        *extras,
        sections.runs(found, found.tables.runs),
        sections.provenance(spec or {}, facts, command),
        sections.not_shown(study),
    )
    _write(folder / "report.json", json.dumps(data, indent=1, allow_nan=False, default=str) + "\n")
    _write(folder / "report.html", text)
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    found.frame().to_csv(tables / "crossovers.csv", index=False)
    study.losses.to_csv(tables / "losses.csv", index=False)
    files = tuple(f for p in plots for f in (p.png, p.svg, p.csv))
    return Report(folder / "report.html", folder / "report.json", files, data, study)


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
