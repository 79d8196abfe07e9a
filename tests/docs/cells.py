"""Python in the docs: the cells of pages and notebooks, run in order as a notebook runs them."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell of Python, and the text that a page shows it to print."""

    code: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a cell printed, and the value of its last expression (None if there is none)."""

    printed: str
    value: Any

    @property
    def text(self) -> str:
        return self.printed + ("" if self.value is None else repr(self.value))


def of_page(path: Path) -> list[Cell]:
    """The ``python`` blocks of a Markdown page; a ``text`` block that follows one is what it prints."""
    cells: list[Cell] = []
    for language, body in re.findall(r"^```(\w+)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
        if language == "python":
            cells.append(Cell(body))
        elif language == "text" and cells:
            lines = tuple(line.strip() for line in body.splitlines() if line.strip())
            cells[-1] = Cell(cells[-1].code, lines)
    return cells


def of_notebook(path: Path) -> list[Cell]:
    """The code cells of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return [Cell("".join(c["source"])) for c in cells if c["cell_type"] == "code"]


def run(cells: list[Cell], folder: Path) -> Iterator[Outcome]:
    """Run cells in one namespace, in ``folder``."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for cell in cells:
            tree = ast.parse(cell.code)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            buffer, value = io.StringIO(), None
            with contextlib.redirect_stdout(buffer):
                exec(compile(tree, "<cell>", "exec"), namespace)
                if isinstance(last, ast.Expr):
                    value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
            yield Outcome(buffer.getvalue(), value)
    finally:
        os.chdir(before)
