"""The options of a fit, which `fit`, `plot` and `suggest` take alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from analysis.fitting.options import OPTIONS, Option
from orchestrator.commands.table_options import numbers, option_of, pairs, read_rows

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

    @classmethod
    def of(cls, source: str, store: Store, mlflow: bool, options: dict[str, Any]) -> FitRequest:
        """From the command line's values. Raises click's UsageError for values that cannot be read."""
        rows = read_rows(source, store, mlflow)
        return cls(rows, options["law"], {o.name: _value(o, options[o.name]) for o in OPTIONS})

    @property
    def estimand(self) -> str:
        return str(self.given["estimand"])

    @property
    def level(self) -> float:
        return float(self.given["level"])

    def by(self, columns: str) -> dict[str, FitRequest]:
        """A fit of each combination of values of ``columns`` (``A,B``) among the rows, by its label.

        Raises click's UsageError if there is no such column, or no row with a value.
        """
        from analysis.tables.where import select

        names = [c.strip() for c in columns.split(",") if c.strip()]
        missing = [c for c in names if c not in self.rows.columns]
        if missing or not names:
            known = ", ".join(map(str, self.rows.columns))
            raise click.UsageError(f"--by: no column {', '.join(missing)}; there are {known}")
        requests, given = {}, self.given["where"]
        kept = self.rows
        if given is not None:
            with contextlib.suppress(ValueError):  # a filter on what the fit derives, or a wrong one: it says
                kept = kept[select(given, {str(c): kept[c] for c in kept.columns})]
        for key in kept[names].dropna().drop_duplicates().itertuples(index=False, name=None):
            of = " and ".join(f"`{n}` == {_literal(v)}" for n, v in zip(names, key, strict=True))
            where = of if given is None else f"({given}) and {of}"
            label = ",".join(f"{n}={v}" for n, v in zip(names, key, strict=True))
            requests[label] = replace(self, given={**self.given, "where": where})
        if not requests:
            raise click.UsageError(f"--by {columns}: no row is left that has a value there")
        return requests

    def options(self, **changed: Any) -> dict[str, Any]:
        """Keyword arguments of ``fit``, less table and law."""
        return {**self.given, **changed}

    def fit(self, **changed: Any) -> Fit:
        """The fit itself."""
        from analysis.fitting.fitting import fit

        return fit(self.rows, self.law, **self.options(**changed))


def _literal(value: Any) -> str:
    """A value as a filter writes it."""
    return repr(value) if isinstance(value, str | bool) else repr(float(value))
