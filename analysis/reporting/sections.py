"""The sections of the report, each a function from results to HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.crossover.same_n.location import Crossovers
from analysis.crossover.study import Study, called
from analysis.crossover.verdict import DEFINITION_WORDS, Quadrant, number
from analysis.plots.style import Plot
from analysis.reporting.html import Markup, details, figure, join, plain, table, tag


def lead(study: Study, title: str, spec: Mapping[str, Any]) -> Markup:
    """Headline, what it stands on, and the two-by-two table."""
    found = study.found
    question = spec.get("question") or (
        "When data is scarce and compute is not, which learns more from each unique token, "
        f"{found.names[0]} or "
        f"{found.names[1]}, and where do the curves cross?"
    )
    return tag(
        "header",
        tag("p", title, cls="kicker"),
        tag("h1", study.verdict.headline + "."),
        tag("p", study.verdict.scope, cls="scope"),
        _two_by_two(study),
        tag(
            "p",
            "What the losses permit one to say: ",
            study.verdict.evidence,
            ". ",
            study.verdict.control,
            cls="evidence",
        ),
        tag("p", tag("b", "Question. "), question),
        cls="top",
    )


def _two_by_two(study: Study) -> Markup:
    quadrants = {(q.definition, q.unit): q for q in study.verdict.table}
    rows = []
    for definition in ("raw", "best_so_far"):
        entries = [_quadrant(quadrants[definition, unit]) for unit in ("tokens", "epochs")]
        rows.append(tag("tr", tag("td", DEFINITION_WORDS[definition]), *entries))
    head = tag("tr", tag("th", ""), tag("th", "on tokens"), tag("th", "on epochs"))
    return tag("table", tag("thead", head), tag("tbody", *rows), cls="two")


def _quadrant(q: Quadrant) -> Markup:
    return tag(
        "td",
        tag("b", q.status),
        tag("span", "less data: ", q.less_data),
        tag("span", "larger model: ", q.larger_model),
        cls="yes" if q.crossed else "no",
    )


def crossings(study: Study) -> Markup:
    """All crossovers with intervals, tokens and epochs side by side."""
    found, cells = study.found, called(study.found)
    rows = []
    units = ("tokens", "epochs", "flops")
    for definition in ("raw", "best_so_far"):
        for group in zip(*(found.select(definition, u) for u in units), strict=True):
            first = group[0]
            rows.append(
                [
                    cells[first["cell"]],
                    DEFINITION_WORDS[definition],
                    *(place(r) for r in group),
                    f"{first['crossed']} of {first['replicates']}",
                    _robust(first),
                    _scatter(first),
                ]
            )
    header = ["cell", "definition", *units, "crossed", "robust", "replicates, tokens"]
    assumptions = sorted({r["assumption"] for r in found.records})
    return join(
        [
            tag("h2", "Crossovers"),
            tag(
                "p",
                "The place is the interpolated zero of the twins' difference on half B in log tokens; "
                "intervals are "
                f"{found.confidence:.0%}. “>” and “<” mark bounds: the crossing had not happened by there, "
                "or had before. "
                "Robust: at least three evaluations beyond three paired standard errors on both sides, in "
                "every replicate. "
                f"FLOPs count every matrix product (matmul convention).",
            ),
            table(header, rows, numeric=(2, 3, 4)),
            details("What the intervals assume", tag("ul", *(tag("li", a) for a in assumptions))),
            _laws(study),
        ]
    )


def place(record: dict[str, Any]) -> str:
    """A record's value with its interval: ``523k [480k, 571k]``, ``> 1.2M``."""
    if record["value"] is None:
        return "–"
    write = _scientific if record.get("unit") == "flops" else number
    if record["censored"]:
        return f"{'>' if record['censored'] == 'right' else '<'} {write(record['value'])}"
    if record["low"] is None or record["high"] is None:
        return write(record["value"])
    return f"{write(record['value'])} [{write(record['low'])}, {write(record['high'])}]"


def _scientific(value: float) -> str:
    return f"{value:.2e}".replace("e+", "e")


def _robust(record: dict[str, Any]) -> str:
    if record["censored"]:
        return "–" if record["definition"] == "raw" or record["settled"] else "open"
    return "yes" if record["robust"] else "no"


def _scatter(record: dict[str, Any]) -> str:
    marks = {None: "", "right": ">", "left": "<"}
    return ", ".join(
        f"{marks[o['censored']]}{number(o['x'][record['unit']])}" for o in record["replicate_values"]
    )


def _laws(study: Study) -> Markup:
    rows = []
    for (definition, unit), law in study.laws.items():
        if law is None or unit == "flops":
            continue
        for c in law.coefficients():
            rows.append(
                [
                    DEFINITION_WORDS[definition],
                    unit,
                    c.name,
                    f"{c.value:.2f}",
                    f"[{c.low:.2f}, {c.high:.2f}]",
                    f"{law.observed} + {law.censored}",
                    f"{law.cell_sd:.2f}",
                ]
            )
    if not rows:
        return tag("p", "Too few places were seen to fit how the crossing moves.", cls="note")
    return join(
        [
            tag("h3", "How the place moves"),
            tag(
                "p",
                "log(place) regressed on log U, log N and the study's other axes; bounds enter the "
                "likelihood, cells scatter about "
                "the law, replicates are blocks. A slope of .6 on U: ten times the data, four times the "
                "tokens.",
            ),
            table(
                [
                    "definition",
                    "unit",
                    "slope on",
                    "value",
                    f"{study.found.confidence:.0%} interval",
                    "places + bounds",
                    "scatter of cells",
                ],
                rows,
                numeric=(3, 4, 5, 6),
            ),
        ]
    )


def controls(study: Study) -> Markup:
    """The A/A control."""
    if not any(c.pairs for c in study.controls):
        return join([tag("h2", "A/A control"), tag("p", "None: no cell has two replicates.")])
    rows = [
        [
            c.objective,
            DEFINITION_WORDS[c.definition],
            f"{c.found} of {c.pairs}",
            f"{c.low:.0%} – {c.high:.0%}",
            c.loose,
            f"{c.apart:.3f}",
        ]
        for c in study.controls
    ]
    return join(
        [
            tag("h2", "A/A control"),
            tag(
                "p",
                "The same search on runs that differ in nothing but their replicate (seed, and data subset "
                "where that varies). "
                "What it finds are false crossings; the last column is how far apart such twins usually are.",
            ),
            table(
                [
                    "objective",
                    "definition",
                    "robust crossings",
                    "95 % interval of the rate",
                    "others",
                    "typical difference, nats",
                ],
                rows,
                numeric=(2, 3, 4, 5),
            ),
        ]
    )


def figures(plots: list[Plot], folder: Path) -> Markup:
    """All figures, inlined."""
    shown = [
        join([tag("h3", p.title), figure(p.svg, p.caption, p.title, [p.png, p.svg, p.csv], folder)])
        for p in plots
    ]
    return join([tag("h2", "Figures"), *shown]) if shown else Markup("")


def losses(study: Study) -> Markup:
    """Final and best loss of every run, and the data-efficiency ratios."""
    if study.losses.empty:
        return Markup("")
    cells = called(study.found)
    rows = [
        [
            cells[r["cell"]],
            r["objective"],
            r["seed"],
            number(r["N"]),
            number(r["U"]),
            f"{r['best']:.3f} ± {r['best_se']:.3f}",
            number(r["best_tokens"]),
            "yes" if r["bracketed"] else "no",
            f"{r['final']:.3f}",
            number(r["tokens"]),
        ]
        for r in study.losses.to_dict("records")
    ]
    ratio_rows = [
        [cells[r["cell"]], place(r), "yes" if r["settled"] else "no", r["replicates"]] for r in study.ratios
    ]
    out = [
        tag("h2", "Losses and data efficiency"),
        details(
            f"Best and final loss of {len(rows)} runs",
            tag(
                "p",
                "Nats per token on half B; best: at half A's minimum, ± standard error over sequences.",
                cls="note",
            ),
            table(
                ["cell", "objective", "seed", "N", "U", "best", "at tokens", "bracketed", "final", "tokens"],
                rows,
                numeric=(3, 4, 5, 6, 8, 9),
            ),
        ),
    ]
    if ratio_rows:
        first, second = study.found.names
        out += [
            tag("h3", "Data efficiency"),
            tag(
                "p",
                f"Times the unique data that {first} needs for the best loss that {second} reaches within "
                f"this budget.",
            ),
            table(
                ["cell", "ratio", f"{second}'s minimum bracketed", "replicates"], ratio_rows, numeric=(1, 3)
            ),
        ]
    return join(out)


def runs(found: Crossovers, table_of_runs: pd.DataFrame) -> Markup:
    """The runs, their states, and what was left out and why."""
    counts = table_of_runs["state"].value_counts()
    states = ", ".join(f"{n} {s}" for s, n in counts.items())
    columns = [
        c
        for c in (
            "run",
            "objective",
            "seed",
            *found.tables.axes,
            "N",
            "U",
            "D",
            "epochs",
            "likelihood",
            "state",
            "numerics",
        )
        if c in table_of_runs.columns
    ]
    rows = [[_cell(c, row[c]) for c in columns] for _, row in table_of_runs.iterrows()]
    parts = [
        tag("h2", "Runs, failures and exclusions"),
        tag("p", f"{len(table_of_runs)} runs: {states}."),
        details("All runs", table(columns, rows)),
    ]
    if found.excluded:
        parts += [
            tag("p", f"Left out of the crossovers: {len(found.excluded)}."),
            table(["run", "reason"], [[e["run"], e["reason"]] for e in found.excluded]),
        ]
    else:
        parts.append(tag("p", "Nothing was left out."))
    if found.notes:
        parts.append(tag("ul", *(tag("li", n) for n in found.notes), cls="note"))
    return join(parts)


def _cell(column: str, value: Any) -> str:
    if column in ("N", "U", "D") and isinstance(value, int | float) and value == value:
        return number(float(value))
    return plain(value)


def provenance(spec: Mapping[str, Any] | str, facts: Mapping[str, Any], command: str) -> Markup:
    """The command to reproduce, the sweep, and where the numbers come from."""
    text = spec if isinstance(spec, str) else _yaml(spec)
    rows = [
        [k, plain(v) if not isinstance(v, dict | list) else json.dumps(v, default=str)]
        for k, v in facts.items()
    ]
    return join(
        [
            tag("h2", "Reproduce"),
            tag("pre", command) if command else "",
            table(["", ""], rows) if rows else "",
            details("The sweep", tag("pre", text)) if text else "",
        ]
    )


def _yaml(spec: Mapping[str, Any]) -> str:
    """The sweep as people write it."""
    plain_values = json.loads(json.dumps(spec, default=str))
    return yaml.safe_dump(plain_values, sort_keys=False, allow_unicode=True) if plain_values else ""


def not_shown(study: Study) -> Markup:
    """The end."""
    return join(
        [tag("h2", "What this result does not show"), tag("ul", *(tag("li", s) for s in study.not_shown))]
    )
