"""A fit as a page of text, and as HTML for notebooks."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.fitting.result import Fit


def as_text(fit: Fit) -> str:
    """What was fitted, how the search ended, the parameters with their intervals, and the warnings."""
    heads = ("", "value", "se", f"{fit.diagnostics.level:.0%} interval")
    cells = [heads, *_rows(fit)]
    widths = [max(len(row[k]) for row in cells) for k in range(4)]
    lines = [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
    return "\n".join([*_head(fit), *lines, *(f"! {w}" for w in fit.warnings)])


def as_html(fit: Fit) -> str:
    """The same as an HTML table between its notes."""
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in _rows(fit)
    )
    head = "".join(f"<div>{html.escape(line)}</div>" for line in _head(fit))
    notes = "".join(f"<li>{html.escape(w)}</li>" for w in fit.warnings)
    return (
        f"<div>{head}<table><thead><tr><th></th><th>value</th><th>se</th><th>interval</th></tr></thead>"
        f"<tbody>{cells}</tbody></table>" + (f"<ul>{notes}</ul>" if notes else "") + "</div>"
    )


def _head(fit: Fit) -> list[str]:
    known, search = fit.diagnostics, fit.convergence
    head = [
        f"{fit.law.name}: {fit.law.formula}",
        *([f"of the columns {', '.join(fit.law.variables)}"] if fit.law.name == fit.law.formula else []),
        f"estimates {fit.estimand.meaning}; n = {fit.n}, {len(fit.excluded)} rows left out",
    ]
    if fit.converged:
        best = search.basins[0].starts if search.basins else 0
        gap = known.gap_to_second_basin
        head.append(
            f"converged: {best} of {known.refined or search.starts} followed starts (of {search.starts}) "
            f"end in "
            f"the best of {len(search.basins)} basins"
            + (f", the second is {gap:.2%} worse" if gap is not None else "")
        )
    else:
        head.append("NOT CONVERGED: no numbers")
    scale = float("nan") if known.residual_scale is None else known.residual_scale
    head.append(f"objective {fit.objective:.8g}; residual scale {scale:.3g}")
    if known.interval == "none":
        head.append("no intervals")
    else:
        head.append(f"{known.level:.0%} intervals: {known.interval}; assumes {known.assumption}")
    return head


def _rows(fit: Fit) -> list[tuple[str, str, str, str]]:
    """Name, value, standard error and interval of each parameter."""
    rows = []
    for name, e in fit.parameters.items():
        if e.value is None:
            rows.append((name, "-", "-", "-"))
        elif name in fit.frozen:
            rows.append((name, f"{e.value:.6g}", "frozen", ""))
        else:
            low = "-inf" if e.low is None else f"{e.low:.4g}"
            high = "unbounded" if e.high is None else f"{e.high:.4g}"
            interval = f"[{low}, {high}]" if e.assumption else "-"
            rows.append((name, f"{e.value:.6g}", "-" if e.se is None else f"{e.se:.3g}", interval))
    return rows
