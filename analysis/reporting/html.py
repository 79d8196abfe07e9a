"""Small helpers for one self-contained page: escaping, tables, inlined figures. Nothing is fetched from
anywhere."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from analysis.reporting.stylesheet import STYLE


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
        for k, v in attributes.items()
        if v is not None
    )
    return Markup(f"<{name}{pairs}>{''.join(escape(c) for c in content)}</{name}>")


def join(parts: Iterable[Any]) -> Markup:
    """Several pieces, one after the other."""
    return Markup("\n".join(escape(p) for p in parts if p))


def table(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], cls: str = "", numeric: Iterable[int] = ()
) -> Markup:
    """A table; ``numeric``: the columns set to the right."""
    right = set(numeric)
    head = tag("tr", *(tag("th", h, cls="n" if i in right else None) for i, h in enumerate(header)))
    body = [
        tag("tr", *(tag("td", c, cls="n" if i in right else None) for i, c in enumerate(row))) for row in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body), cls=cls or None), cls="scroll")


def figure(svg: Path, caption: str, alt: str, files: Sequence[Path], base: Path) -> Markup:
    """An inlined SVG with its caption and links to the files beside the report."""
    data = base64.b64encode(svg.read_bytes()).decode("ascii")
    width = round(_inches(svg) * 118)
    image = Markup(
        f'<img alt="{html.escape(alt, quote=True)}" style="max-width:{width}px" '
        f'src="data:image/svg+xml;base64,{data}">'
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


def page(title: str, *content: Any) -> str:
    """The whole document, its style sheet inlined."""
    head = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
    )
    return f"{head}\n<body><main>\n{join(content)}\n</main></body></html>\n"
