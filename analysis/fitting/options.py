"""The options of a fit, declared once: `fit` takes them, commands offer them. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ESTIMANDS = ("huber", "lad", "log_mse", "mse", "quantile")
INTERVALS = ("auto", "profile", "bootstrap", "cluster", "wild", "t", "none")


@dataclass(frozen=True)
class Option:
    """One option of ``fit``.

    Attributes:
        name: the keyword of ``fit``.
        default: its default there.
        kind: ``float``, ``int`` or ``str``; a tuple of the words that are allowed; or ``dict``, which a
            command line gives as ``NAME=VALUE,...``.
        help: one line for a command's help.
        metavar: the value's name in that help.
        least: the least value of an ``int``.
        flag: the command's option, where it is not the name with dashes.
        shown: whether the help shows the default.
    """

    name: str
    default: Any
    kind: type | tuple[str, ...]
    help: str | None = None
    metavar: str | None = None
    least: int | None = None
    flag: str | None = None
    shown: bool = True

    @property
    def switch(self) -> str:
        """How a command line spells the option."""
        return self.flag or "--" + self.name.replace("_", "-")


WHERE = Option("where", None, str, "Keep these rows: 'C > 1e19 and `learning rate` < 1e-2'.", "EXPR")
COLUMNS = Option(
    "columns",
    None,
    dict,
    "Which column holds what: N=params,D=tokens,loss=val_loss,U=unique_tokens. Repeatable.",
    "NAME=COLUMN,...",
    flag="--map",
)
DROP_HIGHEST = Option("drop_highest", 0, int, "Leave out the K highest losses.", "K", least=0, shown=False)
ROWS = (COLUMNS, WHERE, DROP_HIGHEST)
"""Options that choose rows and columns; every analysis of a table takes them."""

OPTIONS = (
    Option("estimand", "huber", ESTIMANDS, "What of the losses is estimated; all: side by side."),
    Option("delta", 1e-3, float, "Of huber: where it turns linear."),
    Option("tau", 0.05, float, "Of quantile: the share below."),
    *ROWS,
    Option("fix", None, dict, "Freeze parameters at these values.", "NAME=VALUE,..."),
    Option("holdout", None, str, "Keep these rows for scoring: 'C > 1e21'.", "EXPR"),
    Option(
        "holdout_table",
        None,
        str,
        "Score on the rows of this table, too, which are not fitted.",
        "TABLE",
        flag="--holdout-file",
    ),
    Option("weights", None, str, "Weight of each row.", "COLUMN"),
    Option("cluster", None, str, "Rows that belong together: run, cell, budget.", "COLUMN,..."),
    Option("interval", "auto", INTERVALS),
    Option("level", 0.95, float),
    Option("bootstrap", 0, int, "Bootstrap draws.", "DRAWS", least=0, shown=False),
    Option("seed", 0, int, "Of the bootstrap.", least=0),
    Option("starts", None, int, "Starts tried (default: the law's).", "K", least=1),
)
"""Every option of ``fit`` but the law, in the order of the help."""
