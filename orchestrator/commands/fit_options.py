"""The options of a fit, which `fit`, `plot` and `suggest` take alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.commands.table_options import numbers, pairs, read_rows, row_options

if TYPE_CHECKING:
    import pandas as pd

    from analysis.fitting.result import Fit

F = TypeVar("F", bound=Callable[..., Any])

ESTIMANDS = ("huber", "lad", "log_mse", "mse", "quantile")
INTERVALS = ("auto", "profile", "bootstrap", "cluster", "wild", "t", "none")


def fit_options(function: F) -> F:
    """Law, rows, estimand and uncertainty of a fit."""
    for option in reversed(
        (
            click.option(
                "--law",
                default="chinchilla",
                show_default=True,
                metavar="LAW",
                help="A law's name, or a formula.",
            ),
            click.option(
                "--estimand",
                type=click.Choice([*ESTIMANDS, "all"]),
                default="huber",
                show_default=True,
                help="What of the losses is estimated; all: side by side.",
            ),
            click.option(
                "--delta",
                type=float,
                default=1e-3,
                show_default=True,
                help="Of huber: where it turns linear.",
            ),
            click.option(
                "--tau", type=float, default=0.05, show_default=True, help="Of quantile: the share below."
            ),
            row_options,
            click.option(
                "--fix", multiple=True, metavar="NAME=VALUE,...", help="Freeze parameters at these values."
            ),
            click.option("--holdout", metavar="EXPR", help="Keep these rows for scoring: 'C > 1e21'."),
            click.option("--weights", metavar="COLUMN", help="Weight of each row."),
            click.option(
                "--cluster", metavar="COLUMN,...", help="Rows that belong together: run, cell, budget."
            ),
            click.option("--interval", type=click.Choice(INTERVALS), default="auto", show_default=True),
            click.option("--level", type=float, default=0.95, show_default=True),
            click.option(
                "--bootstrap", type=click.IntRange(0), default=0, metavar="DRAWS", help="Bootstrap draws."
            ),
            click.option(
                "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap."
            ),
            click.option(
                "--starts", type=click.IntRange(1), metavar="K", help="Starts tried (default: the law's)."
            ),
        )
    ):
        function = option(function)
    return function


@dataclass(frozen=True)
class FitRequest:
    """A fit as it was asked for: the rows, the law, and the options of ``analysis.fitting.fitting.fit``."""

    rows: pd.DataFrame
    law: str
    estimand: str
    level: float
    given: dict[str, Any]

    @classmethod
    def of(cls, source: str, folder: str | None, mlflow: bool, options: dict[str, Any]) -> FitRequest:
        """From the command line's values."""
        rows = read_rows(source, folder, mlflow)
        given = {
            "columns": pairs(options["mapped"], "--map"),
            "fix": numbers(options["fix"], "--fix"),
            **{
                k: options[k]
                for k in (
                    "delta",
                    "tau",
                    "where",
                    "drop_highest",
                    "holdout",
                    "weights",
                    "cluster",
                    "interval",
                )
            },
            **{k: options[k] for k in ("level", "bootstrap", "seed", "starts")},
        }
        return cls(rows, options["law"], options["estimand"], options["level"], given)

    def by(self, columns: str) -> dict[str, FitRequest]:
        """A fit of each combination of values of ``columns`` (``A,B``) among the rows, by its label."""
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
        return {"estimand": self.estimand, **self.given, **changed}

    def fit(self, **changed: Any) -> Fit:
        """The fit itself."""
        from analysis.fitting.fitting import fit

        return fit(self.rows, self.law, **self.options(**changed))


def _literal(value: Any) -> str:
    """A value as a filter writes it."""
    return repr(value) if isinstance(value, str | bool) else repr(float(value))
