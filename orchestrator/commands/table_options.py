"""What the commands on tables share: where rows come from, the column map, filters, and refusals."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from analysis.fitting.options import COLUMNS, ROWS, Option
from orchestrator.commands.common import CommandError, errors_as_messages, store_option
from orchestrator.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

F = TypeVar("F", bound=Callable[..., Any])

TABLE_ENDINGS = (".csv", ".csv.gz", ".tsv", ".parquet", ".pq")
_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")
_NEXT_NAME = re.compile(r",(?=\s*[A-Za-z_][\w.]*\s*=)")


def refusals_as_messages(function: F) -> F:
    """What `analysis` refuses becomes a message and exit code 2, on top of what `errors_as_messages` does."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        from analysis.fitting.result import NotConverged

        try:
            return function(*args, **kwargs)
        except (ValueError, NotConverged) as error:  # FitError and TableError are ValueErrors
            raise CommandError(str(error)) from error
        except OSError as error:
            where = error.filename or ""
            raise CommandError(f"{where}: {error.strerror}" if where else str(error)) from error

    return errors_as_messages(call)  # type: ignore[return-value]


def table_argument(function: F) -> F:
    """TABLE, with --store and --mlflow to say where a sweep's name is looked up."""
    for option in (
        store_option,
        click.option("--mlflow", is_flag=True, help="TABLE is a sweep's name; read it from MLflow."),
        click.argument("table"),
    ):
        function = option(function)
    return function


def option_of(option: Option, more: tuple[str, ...] = (), parameter: str | None = None) -> Callable[[F], F]:
    """The command line's form of an option of `fit`. ``more`` words are allowed beside its own; ``parameter``
    is the command's, where it is not the option's name."""
    settings: dict[str, Any] = {"default": option.default, "metavar": option.metavar, "help": option.help}
    if option.kind is dict:
        settings |= {"multiple": True, "default": ()}
    elif isinstance(option.kind, tuple):
        settings["type"] = click.Choice([*option.kind, *more])
    elif option.least is not None:
        settings["type"] = click.IntRange(option.least)
    else:
        settings["type"] = option.kind
    settings["show_default"] = option.shown and option.default is not None
    return click.option(option.switch, parameter or option.name, **settings)


def map_option(function: F) -> F:
    """--map NAME=COLUMN,..., repeatable."""
    return option_of(COLUMNS, parameter="mapped")(function)


def method_option(function: F) -> F:
    """--method of isoFLOP minima."""
    return click.option(
        "--method",
        type=click.Choice(["parabola", "cubic", "law"]),
        default="parabola",
        show_default=True,
        help="IsoFLOP minima: a curve through each budget in log N; law: one separable law through all.",
    )(function)


def plot_option(function: F) -> F:
    """--plot FILE."""
    return click.option(
        "--plot",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Draw it (.png; .svg and .csv beside).",
    )(function)


def labelled(path: Path, label: str) -> Path:
    """The file of one group's figure: its label in the name, if it has one."""
    return path.with_name(f"{path.stem}-{_UNSAFE.sub('-', label)}{path.suffix}") if label else path


def row_options(function: F) -> F:
    """--map, --where and --drop-highest: the rows and columns of an analysis."""
    for option in reversed(ROWS):
        function = option_of(option)(function)
    return function


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """``NAME=VALUE,NAME=VALUE`` as a dictionary. A comma ends a value only before the next ``NAME=``, so that
    columns may hold commas. Raises click's UsageError for anything else."""
    named: dict[str, str] = {}
    for text in texts:
        for part in _NEXT_NAME.split(text):
            name, equals, value = part.partition("=")
            name, value = name.strip(), value.strip()
            if not equals or not name or not value:
                raise click.UsageError(f"{option}: {part!r} is not NAME=VALUE")
            if name in named:
                raise click.UsageError(f"{option}: {name} is given twice")
            named[name] = value
    return named


def numbers(texts: Iterable[str], option: str) -> dict[str, float]:
    """``NAME=NUMBER,...`` as a dictionary of finite numbers. Raises click's UsageError for anything else."""
    named: dict[str, float] = {}
    for name, text in pairs(texts, option).items():
        try:
            value = float(text)
        except ValueError:
            raise click.UsageError(f"{option}: {name}={text!r} is not a number") from None
        if not math.isfinite(value):
            raise click.UsageError(f"{option}: {name}={text} is not a finite number")
        named[name] = value
    return named


def by_option(function: F) -> F:
    """--by COLUMN,...: an answer for each group of rows."""
    return click.option(
        "--by", metavar="COLUMN,...", help="An answer of its own for each value of these columns: objective."
    )(function)


def groups_of(rows: pd.DataFrame, columns: str | None, where: str | None = None) -> dict[str, pd.DataFrame]:
    """The rows of each combination of values of ``columns`` (``A,B``) among those that pass ``where``, by its
    label; all rows under an empty label without columns. Rows keep their numbers.

    Raises click's UsageError if there is no such column, or no row with a value.
    """
    from analysis.tables.frame import row_labels
    from analysis.tables.where import select

    if columns is None:
        return {"": rows}
    names = [c.strip() for c in columns.split(",") if c.strip()]
    missing = [c for c in names if c not in rows.columns]
    if missing or not names:
        known = ", ".join(map(str, rows.columns))
        raise click.UsageError(f"--by: no column {', '.join(missing)}; there are {known}")
    rows = rows.set_axis(row_labels(rows))
    kept = rows
    if where is not None:
        with contextlib.suppress(ValueError):  # a filter on what the fit derives, or a wrong one: it says
            kept = rows[select(where, {str(c): rows[c] for c in rows.columns})]
    some = set(kept[names].dropna().itertuples(index=False, name=None))
    parts = {
        ",".join(f"{n}={v}" for n, v in zip(names, key, strict=True)): part
        for key, part in rows.groupby(names, sort=False)
        if key in some
    }
    if not parts:
        raise click.UsageError(f"--by {columns}: no row is left that has a value there")
    return parts


def read_rows(table: str, store: Store, mlflow: bool) -> pd.DataFrame:
    """The rows of TABLE: a CSV or Parquet file, a folder with runs and curves, or a sweep (its YAML or name),
    of which each run's last loss is a row."""
    from analysis.tables.endpoints import final_losses
    from analysis.tables.frame import read_table
    from analysis.tables.tables import read

    path = Path(table)
    if not mlflow and path.is_file() and path.suffix not in (".yaml", ".yml"):
        return read(path) if path.name.lower().endswith(TABLE_ENDINGS) else read_table(path)
    study = study_tables(table, store, mlflow)
    runs, curves = study["runs"], study["curves"]
    return final_losses(runs, curves)


def study_tables(table: str, store: Store, mlflow: bool) -> dict[str, pd.DataFrame]:
    """The tables ``runs``, ``curves`` and, where there are any, ``scores`` and ``items``: those of a folder,
    or of a sweep by file or name (from MLflow if asked)."""
    path = Path(table)
    if not mlflow and path.is_dir():
        from analysis.tables.tables import read

        return {name: read(file) for name, file in table_files(path).items()}
    from orchestrator.commands.common import specs_of
    from orchestrator.results import tables

    if mlflow:
        from orchestrator.tracking.experiment import Tracker

        study = tables.of_mlflow(Tracker(store), table)
        if not len(study.runs):
            raise CommandError(f"MLflow has no run of a sweep {table!r}; `crossover ui` shows what it has")
        return {"runs": study.runs, "curves": study.curves}
    if not path.is_file() and table not in store.sweep_names():
        known = ", ".join(store.sweep_names())
        raise CommandError(
            f"{table!r} is no file, and no sweep of {store}"
            + (f" (it has {known})" if known else "")
            + f"; give a table ({', '.join(TABLE_ENDINGS)}), a folder with runs.csv and curves.csv, or a"
            " sweep"
        )
    from orchestrator.planning.drafting import make_plan

    study = tables.of_sweep(store, make_plan(specs_of(store, [table]), store).end_points())
    further = {"scores": study.scores, "items": study.items}
    return {
        "runs": study.runs,
        "curves": study.curves,
        **{name: table for name, table in further.items() if len(table)},
    }


def table_files(folder: Path) -> dict[str, Path]:
    """The files of ``runs``, ``curves`` and, where there are any, ``scores`` and ``items`` in a folder."""
    files = {
        name: file
        for name in ("runs", "curves", "scores", "items")
        for end in ("parquet", "csv")
        if (file := folder / f"{name}.{end}").exists()
    }
    if not {"runs", "curves"} <= set(files):
        raise CommandError(
            f"{folder}: needs runs.csv and curves.csv (or .parquet); `crossover import` makes them"
        )
    return files
