"""Small helpers for one self-contained page: escaping, tables, inlined figures. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Markup(str):
    """Text that is HTML already; every other string is escaped."""


def escape(value: Any) -> Markup:
    """A value as HTML text."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(str(value)))


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """``tag("p", "text", cls="note")``; attributes ``cls`` and ``for_`` lose what Python needs."""
    pairs = "".join(
        f' {k.rstrip("_").replace("cls", "class").replace("_", "-")}="{html.escape(str(v), quote=True)}"'
        for k, v in attributes.items() if v is not None
    )
    return Markup(f"<{name}{pairs}>{''.join(escape(c) for c in content)}</{name}>")


def join(parts: Iterable[Any]) -> Markup:
    """Several pieces, one after the other."""
    return Markup("\n".join(escape(p) for p in parts if p))


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], cls: str = "", numeric: Iterable[int] = ()) -> Markup:
    """A table; ``numeric``: the columns set to the right."""
    right = set(numeric)
    head = tag("tr", *(tag("th", h, cls="n" if i in right else None) for i, h in enumerate(header)))
    body = [tag("tr", *(tag("td", c, cls="n" if i in right else None) for i, c in enumerate(row))) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body), cls=cls or None), cls="scroll")


def figure(svg: Path, caption: str, alt: str, files: Sequence[Path], base: Path) -> Markup:
    """An inlined SVG with its caption and links to the files beside the report."""
    data = base64.b64encode(svg.read_bytes()).decode("ascii")
    width = round(_inches(svg) * 118)
    image = Markup(
        f'<img alt="{html.escape(alt, quote=True)}" style="max-width:{width}px" src="data:image/svg+xml;base64,{data}">'
    )
    links = [tag("a", f.suffix[1:].upper(), href=f.relative_to(base).as_posix()) for f in files]
    spaced = Markup(" · ".join(links))
    return tag("figure", image, tag("figcaption", caption, " ", tag("span", spaced, cls="files")))


def _inches(svg: Path) -> float:
    """The width that a figure was drawn at, so that type has one size on the page."""
    found = re.search(r'width="([\d.]+)pt"', svg.read_text(encoding="utf-8")[:2000])
    return float(found.group(1)) / 72 if found else 7.5


def details(summary: str, *content: Any) -> Markup:
    """Content that opens on a click."""
    return tag("details", tag("summary", summary), *content)


def plain(value: Any, digits: int = 3) -> str:
    """A number or name as people read it; an en dash for what is not there."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if isinstance(value, float):
        return f"{value:.{digits}g}" if abs(value) < 1e5 else f"{value:.{digits}e}"
    return str(value)


STYLE = """
:root { --ink:#1c1c1c; --soft:#5f6368; --line:#dcdcdc; --first:#0b4f8a; --second:#a85b00; --paper:#ffffff; --wash:#f6f7f9; }
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink); font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
  "DejaVu Sans",Arial,sans-serif; }
main { max-width:960px; margin:0 auto; padding:2.5rem 1.5rem 4rem; }
header.top p.kicker { color:var(--soft); margin:0; font-size:.9rem; }
h1 { font-size:1.85rem; line-height:1.25; margin:.4rem 0 .8rem; font-weight:650; letter-spacing:-.01em; }
h2 { font-size:1.2rem; margin:2.8rem 0 .8rem; padding-top:1rem; border-top:1px solid var(--line); }
h3 { font-size:1rem; margin:1.6rem 0 .4rem; }
p { margin:.5rem 0; max-width:46rem; }
p.scope { font-size:1.05rem; }
p.evidence, .note, figcaption { color:var(--soft); font-size:.9rem; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; font-size:.88rem; margin:.6rem 0; font-variant-numeric:tabular-nums; }
th { text-align:left; font-weight:600; border-bottom:1.5px solid var(--ink); padding:.3rem .9rem .3rem 0; vertical-align:bottom; }
td { border-bottom:1px solid var(--line); padding:.3rem .9rem .3rem 0; vertical-align:top; }
td.n, th.n { text-align:right; white-space:nowrap; }
table.two { width:100%; font-size:.95rem; margin:1.2rem 0; table-layout:fixed; }
table.two th { border:0; padding:.4rem .9rem; }
table.two th:first-child { width:8.5rem; }
table.two td { border:1px solid var(--line); padding:.75rem .9rem; }
table.two tbody td:first-child { border:0; font-weight:600; padding-left:.9rem; }
table.two td b { display:block; margin-bottom:.25rem; }
table.two td span { display:block; font-size:.88rem; color:var(--soft); }
td.yes { background:#eef4fa; } td.no { background:var(--wash); }
figure { margin:1.4rem 0 2rem; } figure img { width:100%; height:auto; display:block; }
figcaption { max-width:46rem; margin-top:.4rem; }
.files { white-space:nowrap; } a { color:var(--first); }
details { margin:.8rem 0; } summary { cursor:pointer; font-weight:600; }
pre { background:var(--wash); border:1px solid var(--line); padding:.8rem 1rem; overflow-x:auto; font-size:.82rem; line-height:1.45; }
code { font-size:.88em; }
ul { padding-left:1.2rem; max-width:46rem; } li { margin:.3rem 0; }
.bar { display:flex; gap:1.6rem; flex-wrap:wrap; margin:1rem 0; } .bar div { font-size:.85rem; color:var(--soft); }
.bar b { display:block; font-size:1.15rem; color:var(--ink); font-weight:600; }
@media print { details > * { display:block; } main { max-width:none; } }
"""


def page(title: str, *content: Any) -> str:
    """The whole document."""
    head = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
    )
    return f"{head}\n<body><main>\n{join(content)}\n</main></body></html>\n"
