"""The page: what the templates are given, and the templates filled in. All words and markup are theirs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from scipy import stats

from analysis.crossover.gaps.bands import CrossingBand
from analysis.crossover.gaps.wording import interaction_rows, ratio_tables
from analysis.crossover.place import Place
from analysis.crossover.same_n.decoding import MARGIN, DecoderComparison
from analysis.crossover.study import Crossovers, cell_titles
from analysis.crossover.verdict import DEFINITION_WORDS
from analysis.plots.style import Plot
from analysis.reporting.wording import MARKS, bound_words, place_words, plain_words
from analysis.tables.wording import human

_RUN_COLUMNS = ("run", "objective", "seed", "N", "U", "D", "epochs", "likelihood", "state", "numerics")
_AXES_AFTER = "seed"


def render(
    crossovers: Crossovers,
    *,
    title: str,
    plots: Sequence[Plot],
    folder: Path,
    comparisons: Sequence[DecoderComparison] = (),
    bands: Sequence[CrossingBand] = (),
    spec: Mapping[str, Any] | str = "",
    facts: Mapping[str, Any] | None = None,
    command: str = "",
    extra_sections: Mapping[str, str] | None = None,
) -> str:
    """The report as one HTML document that fetches nothing. ``folder``: where it will lie, for its links."""
    units = [crossovers.select(d, u) for d in ("raw", "best_so_far") for u in ("tokens", "epochs", "flops")]
    laws = [law for law in crossovers.laws.values() if law is not None and law.unit != "flops"]
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            study=crossovers,
            title=title,
            question=spec.get("question") if isinstance(spec, Mapping) else None,
            first=crossovers.names[0],
            second=crossovers.names[1],
            confidence=f"{crossovers.confidence:.0%}",
            cells=cell_titles(crossovers),
            crossings=[*zip(*units[:3], strict=True), *zip(*units[3:], strict=True)],
            assumptions=sorted({c.assumption for c in crossovers.crossings}),
            law_remarks=[f"{law.definition}, {law.unit}: {r}" for law in laws for r in law.remarks()],
            slopes=[(law, slope) for law in laws for slope in law.coefficients()],
            figures=[Figure.of(p, folder) for p in plots],
            decoding=_decoding(comparisons, crossovers) if comparisons else None,
            bands=bands,
            front_assumptions=sorted({c.assumption for c in crossovers.fronts.crossings}),
            meeting_assumptions=sorted({m.assumption for m in crossovers.arm_laws.meetings}),
            fits=list(zip(crossovers.names, crossovers.arm_laws.fits or (), strict=False)),
            interactions=interaction_rows(crossovers),
            gaps=ratio_tables(crossovers),
            gap_assumptions=sorted(
                {r.assumption for t in ratio_tables(crossovers) for row in t.rows.values() for r in row if r}
            ),
            losses=crossovers.losses.to_dict("records"),
            runs=_runs(crossovers.tables.runs, crossovers.tables.axes),
            extra_sections=dict(extra_sections or {}),
            command=command,
            facts=[(k, _fact(v)) for k, v in (facts or {}).items()],
            sweep=spec if isinstance(spec, str) else _yaml(spec),
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "bound": bound_words,
        "estimate": lambda estimate: place_words(Place(estimate=estimate)),
        "mark": MARKS.__getitem__,
        "number": human,
        "place": place_words,
        "plain": plain_words,
        "words": DEFINITION_WORDS.__getitem__,
    }
    return environment


@dataclass(frozen=True)
class Figure:
    """An inlined SVG: ``data`` in base64, ``width`` in pixels at which its type has the page's size, and
    links to its ``files`` beside the report."""

    title: str
    caption: str
    data: str
    width: int
    files: tuple[str, ...]

    @classmethod
    def of(cls, plot: Plot, folder: Path) -> Figure:
        """A saved plot, with links relative to ``folder``."""
        files = tuple(f.relative_to(folder).as_posix() for f in (plot.png, plot.svg, plot.csv))
        text = plot.svg.read_bytes()
        size = re.search(rb'width="([\d.]+)pt"', text[:2000])
        inches = float(size.group(1)) / 72 if size else 7.5
        return cls(
            plot.title, plot.caption, base64.b64encode(text).decode("ascii"), round(inches * 118), files
        )


def _decoding(comparisons: Sequence[DecoderComparison], crossovers: Crossovers) -> dict[str, Any]:
    """Which decoders are beaten, in how many cells."""
    exact, bound = crossovers.names
    if any(c.pair.twins[0].first["likelihood"] == "upper_bound" for c in crossovers.cells):
        exact, bound = bound, exact
    cells = len({c.cell for c in comparisons})
    beaten = {
        name: sum(c.beaten for c in comparisons if c.decoder == name)
        for name in dict.fromkeys(c.decoder for c in comparisons)
    }
    counts = sorted({c.sequences for c in comparisons})
    return {
        "exact": exact,
        "bound": bound,
        "beaten": " and ".join(f"{name} in {count} of {cells} cells" for name, count in beaten.items()),
        "margin": f"{MARGIN:g}",
        "chance": f"{stats.t.sf(MARGIN, counts[0] - 1):.2g}",
        "fewest": counts[0],
        "sequences": " to ".join(dict.fromkeys(map(str, (counts[0], counts[-1])))),
        "comparisons": comparisons,
    }


def _runs(table: pd.DataFrame, axes: Sequence[str]) -> dict[str, Any]:
    """The runs' columns that people read, their rows, and how many are in each state."""
    at = _RUN_COLUMNS.index(_AXES_AFTER) + 1
    columns = [c for c in (*_RUN_COLUMNS[:at], *axes, *_RUN_COLUMNS[at:]) if c in table.columns]
    return {
        "columns": columns,
        "rows": [[_cell(c, row[c]) for c in columns] for _, row in table.iterrows()],
        "states": ", ".join(f"{count} {state}" for state, count in table["state"].value_counts().items()),
    }


def _cell(column: str, value: Any) -> str:
    if column in ("N", "U", "D") and isinstance(value, int | float) and value == value:
        return human(float(value))
    return plain_words(value)


def _fact(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict | list) else plain_words(value)


def _yaml(spec: Mapping[str, Any]) -> str:
    """The sweep as people write it."""
    values = json.loads(json.dumps(spec, default=str))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True) if values else ""
