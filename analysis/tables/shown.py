"""How results show themselves: as text at a prompt, as HTML in a notebook, from one description; and how they
reach the rooms that answer further questions."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Grid:
    """A table within a result: numbers in ``digits`` significant digits, with or without its index."""

    frame: pd.DataFrame
    digits: int = 4
    index: bool = False
    missing: str = "NaN"

    def number(self, value: float) -> str:
        return f"{value:.{self.digits}g}"

    def text(self) -> str:
        return self.frame.to_string(index=self.index, float_format=self.number, na_rep=self.missing)

    def html(self) -> str:
        return self.frame.to_html(
            index=self.index, float_format=self.number, na_rep=self.missing, border=0, justify="left"
        )


Block = str | Grid


class Shown(ABC):
    """A result that shows itself. A subclass says of which paragraphs and tables it consists; a paragraph
    that begins with ``!`` is a warning."""

    @abstractmethod
    def blocks(self) -> Sequence[Block]:
        """Paragraphs and tables, in the order in which they are read."""

    def __str__(self) -> str:
        return "\n".join(b if isinstance(b, str) else b.text() for b in self.blocks())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return "<div>" + "".join(_html(b) for b in self.blocks()) + "</div>"


def _html(block: Block) -> str:
    if isinstance(block, Grid):
        return block.html()
    lines = "<br>".join(html.escape(line) for line in block.splitlines())
    return f"<p><b>{lines}</b></p>" if block.startswith("!") else f"<p>{lines}</p>"


def room(name: str) -> Any:
    """The module ``analysis.NAME``, loaded late and by name, for a method of a result that a room above its
    own answers. Use it for nothing else: imports run one way."""
    return import_module(f"analysis.{name}")
