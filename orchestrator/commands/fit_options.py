"""The options of a fit, which `fit`, `plot` and `suggest` take alike."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from analysis.fitting.options import OPTIONS, Option
from orchestrator.commands.table_options import groups_of, numbers, option_of, pairs, read_rows

if TYPE_CHECKING:
    import pandas as pd

    from analysis.fitting.result import Fit
    from orchestrator.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def fit_options(function: F) -> F:
    """Law, rows, estimand and uncertainty of a fit: `analysis.fitting.options` declares them."""
    for option in reversed(OPTIONS):
        more = ("all",) if option.name == "estimand" else ()
        function = option_of(option, more)(function)
    law = click.option(
        "--law",
        default="chinchilla",
        show_default=True,
        metavar="LAW",
        help="A law's name, or a formula.",
    )
    return law(function)


def loss_columns(rows: pd.DataFrame, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that ``patterns`` (``val_*`` or names, ``A,B``) name, in the table's order.

    Raises click's UsageError for a pattern that names none."""
    names: dict[str, None] = {}
    for pattern in (p.strip() for text in patterns for p in text.split(",")):
        known = [str(c) for c in rows.columns]
        matches = [pattern] if pattern in known else fnmatch.filter(known, pattern)
        if not matches:
            raise click.UsageError(f"--loss: no column {pattern}; there are {', '.join(known)}")
        names |= dict.fromkeys(matches)
    return tuple(names)


def _value(option: Option, given: Any) -> Any:
    """What ``fit`` takes for what the command line gave."""
    if option.kind is not dict:
        return given
    return (numbers if option.name == "fix" else pairs)(given, option.switch)


@dataclass(frozen=True)
class FitRequest:
    """A fit as a command line requests it: the rows, the law, and the options of ``fit`` by name."""

    rows: pd.DataFrame
    law: str
    given: dict[str, Any]
    losses: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: str, store: Store, mlflow: bool, options: dict[str, Any]) -> FitRequest:
        """From the command line's values. Raises click's UsageError for values that cannot be read."""
        rows = read_rows(source, store, mlflow)
        given = {o.name: _value(o, options[o.name]) for o in OPTIONS}
        if given["holdout_table"] is not None:
            given["holdout_table"] = read_rows(given["holdout_table"], store, mlflow)
        losses = loss_columns(rows, options.get("losses") or ())
        if losses and "loss" in given["columns"]:
            raise click.UsageError("--loss names the columns of losses; --map names one, too")
        return cls(rows, options["law"], given, losses)

    @property
    def estimand(self) -> str:
        return str(self.given["estimand"])

    @property
    def level(self) -> float:
        return float(self.given["level"])

    def by(self, columns: str | None) -> dict[str, FitRequest]:
        """A fit of each group of rows (`groups_of`) and each loss column, by its label."""
        requests, kept = {}, self.given["holdout_table"]
        apart = {}
        if columns is not None and kept is not None:
            apart = groups_of(kept, columns)
        for label, rows in groups_of(self.rows, columns, self.given["where"]).items():
            given = {**self.given, "holdout_table": apart.get(label) if columns else kept}
            for loss in self.losses or (None,):
                name = ",".join([*([label] if label else []), *([f"loss={loss}"] if loss else [])])
                mapped = self.given["columns"] if loss is None else {**self.given["columns"], "loss": loss}
                requests[name] = replace(self, rows=rows, given={**given, "columns": mapped})
        return requests

    def options(self, **changed: Any) -> dict[str, Any]:
        """Keyword arguments of ``fit``, less table and law."""
        return {**self.given, **changed}

    def fit(self, **changed: Any) -> Fit:
        """The fit itself."""
        from analysis.fitting.fitting import fit

        return fit(self.rows, self.law, **self.options(**changed))
