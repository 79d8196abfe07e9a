"""The three tables that every analysis starts from, checked and brought into one shape.

``runs``    one row a run and end point: ``run``, ``objective``, ``seed``, axes under their dotted names,
``N``, ``U``, ...
``curves``  one row an evaluation: ``run``, ``step``, ``tokens``, ``epochs``, ``flops``, ``nll_a``, ``nll_b``
and their errors.
``scores``  long form, per validation sequence and Monte-Carlo draw: ``run``, ``step``, ``half``,
``sequence``, ``draw``, ``nll``.

Only ``run`` and ``objective``, and a run's ``tokens`` and loss, are indispensable: what else is missing is
derived where that is possible, and what was assumed stands in :attr:`Tables.notes`. ``annealed`` (bool) of
runs says whether the learning rate decayed to the end; without it no run is taken as annealed. ``columns``
maps a stranger's names to these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables.columns import FACTS, ITEMS, SCORES
from analysis.tables.keywords import nearest

LIKELIHOODS = ("exact", "upper_bound", "pseudo", "none", "unknown")
"""What a reported loss is. Only the first two, and ``unknown`` with a note, enter a crossover."""

STATES = ("done", "running", "new", "partial", "stopped", "diverged", "failed", "blocked", "cancelled")

_CURVE_NUMBERS = ("step", "tokens", "epochs", "flops", "nll_a", "se_a", "mc_se_a", "nll_b", "se_b", "mc_se_b")
_HALVES = ("a", "b")


Source = pd.DataFrame | str | Path
"""A table, or the file that holds it."""


class TableError(ValueError):
    """A table cannot be used: which one, which column, which value, and what is allowed."""


@dataclass(frozen=True)
class Tables:
    """Checked tables. ``axes``: the columns of ``runs`` that name a cell, the seed left out. ``notes``: what
    was assumed. ``excluded``: ``{"run", "reason"}`` of each run or row left out. ``better``: metric -> which
    values are better, ``lower`` or ``higher``, as ``attrs["better"]`` of the curves declares it."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    scores: pd.DataFrame
    axes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    excluded: tuple[dict[str, str], ...] = ()
    items: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(ITEMS)))
    better: Mapping[str, str] = field(default_factory=dict)


def read(source: pd.DataFrame | str | Path) -> pd.DataFrame:
    """A table from a DataFrame (copied), a ``.csv`` (also ``.csv.gz``), ``.tsv`` or ``.parquet`` file.

    Raises TableError for a file that is missing, empty or none of these.
    """
    if isinstance(source, pd.DataFrame):
        return source.copy()
    path = Path(source)
    if not path.exists():
        raise TableError(f"no such table: {path}")
    suffixes = "".join(path.suffixes[-2:]).lower()
    try:
        if suffixes.endswith((".csv", ".csv.gz", ".tsv")):
            return pd.read_csv(
                path, sep="\t" if suffixes.endswith(".tsv") else ",", dtype={"run": str, "key": str}
            )
        if suffixes.endswith((".parquet", ".pq")):
            return pd.read_parquet(path)
    except pd.errors.EmptyDataError:
        raise TableError(f"{path} is empty: a table needs a header and at least one row") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read as a table: {error}") from None
    raise TableError(
        f"{path}: a table is a .csv, .tsv or .parquet file, not {path.suffix or 'a file without ending'!r}"
    )


def load(
    runs: pd.DataFrame | str | Path,
    curves: pd.DataFrame | str | Path,
    scores: pd.DataFrame | str | Path | None = None,
    items: pd.DataFrame | str | Path | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    axes: Iterable[str] | None = None,
) -> Tables:
    """Check the tables and complete them.

    ``columns``: {name in the files: name here}. ``axes``: names of the axes, if not all further columns of
    ``runs``. Raises :class:`TableError`, which names table, column, value and what is allowed.
    """
    mapping = dict(columns or {})
    notes: list[str] = []
    excluded: list[dict[str, str]] = []
    run_table = _runs(_renamed(read(runs), mapping), notes)
    evaluations = read(curves)
    better = _better(evaluations)
    curve_table = _curves(_renamed(evaluations, mapping), run_table, notes, excluded)
    score_table = _scores(_renamed(read(scores), mapping) if scores is not None else pd.DataFrame(), notes)
    item_table = _items(_renamed(read(items), mapping) if items is not None else pd.DataFrame())
    return Tables(
        runs=run_table,
        curves=curve_table,
        scores=score_table,
        axes=_axes(run_table, axes),
        notes=tuple(notes),
        excluded=tuple(excluded),
        items=item_table,
        better=better,
    )


def _renamed(table: pd.DataFrame, mapping: dict[str, str]) -> pd.DataFrame:
    clashes = [
        new for old, new in mapping.items() if old in table.columns and new in table.columns and old != new
    ]
    if clashes:
        raise TableError(
            f"columns= would give two columns the name {clashes[0]!r}; rename or drop one of them"
        )
    table = table.rename(columns=mapping)
    table.columns = [str(c).strip() for c in table.columns]
    return table


def _need(table: pd.DataFrame, name: str, column: str) -> None:
    if column in table.columns:
        return
    near = difflib.get_close_matches(column, table.columns, n=1)
    hint = f"; did you mean {near[0]!r}? Give columns={{{near[0]!r}: {column!r}}}" if near else ""
    raise TableError(
        f"table {name!r} has no column {column!r}{hint}. It has: "
        f"{', '.join(map(str, table.columns)) or 'none'}"
    )


def _number(table: pd.DataFrame, name: str, column: str) -> None:
    """Make a column float64; an entry that is no number is an error with its row."""
    values = pd.to_numeric(table[column], errors="coerce")
    bad = (
        values.isna()
        & table[column].notna()
        & ~table[column].astype(str).str.lower().isin(["nan", "na", "none", ""])
    )
    if bad.any():
        row: Any = bad.idxmax()
        raise TableError(
            f"table {name!r}, column {column!r}, row {row}: {table[column][row]!r} is not a number"
        )
    table[column] = values.astype(float)


def _allowed(table: pd.DataFrame, name: str, column: str, allowed: tuple[str, ...]) -> None:
    bad = ~table[column].isin(allowed)
    if bad.any():
        first: Any = bad.idxmax()
        value = table[column][first]
        raise TableError(
            f"table {name!r}, column {column!r}: {value!r} is not one of {', '.join(allowed)}"
            f"{nearest(value, allowed)}"
        )


def _runs(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    for column in ("run", "objective"):
        _need(table, "runs", column)
        if table[column].isna().any():
            raise TableError(f"table 'runs', column {column!r}, row {table[column].isna().idxmax()}: empty")
        table[column] = table[column].astype(str)
    if table.empty:
        raise TableError("table 'runs' has no rows")
    defaults: dict[str, Any] = {"seed": 0, "state": "done", "likelihood": "unknown"}
    for column, value in defaults.items():
        if column not in table.columns:
            table[column] = value
            notes.append(f"runs has no column {column!r}: taken as {value!r}")
        table[column] = table[column].where(table[column].notna(), value)
    _annealed(table, notes)
    for column in ("N", "U", "steps", "unigram_entropy", "vocab"):
        if column not in table.columns:
            table[column] = np.nan
        _number(table, "runs", column)
    for column in ("N", "U"):
        if (table[column] <= 0).any():
            raise TableError(f"table 'runs', column {column!r}: {table[column].min():g} is not positive")
    for column in table.columns.difference(list(FACTS)):
        if table[column].map(lambda v: isinstance(v, list | dict | set)).any():
            table[column] = table[column].map(str)
    _allowed(table, "runs", "state", STATES)
    _allowed(table, "runs", "likelihood", LIKELIHOODS)
    return table.drop_duplicates().reset_index(drop=True)


def _annealed(table: pd.DataFrame, notes: list[str]) -> None:
    """Make ``annealed`` a column of booleans. A run of which the table does not say so is not annealed,
    whatever its schedule is called."""
    if "annealed" not in table.columns:
        table["annealed"] = False
        if "schedule" in table.columns and table["schedule"].nunique() > 1:
            notes.append("runs has no column 'annealed': no run is taken as annealed")
    said = table["annealed"].where(table["annealed"].notna(), False)
    words = said.astype(str).str.lower()
    values = words.map({"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False})
    if values.isna().any():
        row: Any = values.isna().idxmax()
        raise TableError(
            f"table 'runs', column 'annealed', row {row}: {said[row]!r} is not one of True, False"
        )
    table["annealed"] = values.astype(bool)


def _curves(
    table: pd.DataFrame, runs: pd.DataFrame, notes: list[str], excluded: list[dict[str, str]]
) -> pd.DataFrame:
    _need(table, "curves", "run")
    if "nll_b" not in table.columns:
        single = next((c for c in ("nll", "loss", "validation_loss", "nll_a") if c in table.columns), None)
        if single is None:
            _need(table, "curves", "nll_b")
        table["nll_b"] = table[single]
        notes.append(
            f"curves has one loss ({single!r}), no halves: best so far selects and reads on the same "
            "sequences, "
            "and is optimistic for the arm that scatters more"
        )
    if "nll_a" not in table.columns:
        table["nll_a"] = table["nll_b"]
    for half in _HALVES:
        for column in (f"se_{half}", f"mc_se_{half}"):
            if column not in table.columns:
                table[column] = table.get(column[:-2], np.nan)
    _need(table, "curves", "tokens")
    if "step" not in table.columns:
        table["step"] = table["tokens"]
    table["run"] = table["run"].astype(str)
    facts = runs.drop_duplicates("run").set_index("run")
    if "epochs" not in table.columns:
        table["epochs"] = pd.to_numeric(table["tokens"], errors="coerce") / table["run"].map(facts["U"])
    if "flops" not in table.columns:
        table["flops"] = 6.0 * pd.to_numeric(table["tokens"], errors="coerce") * table["run"].map(facts["N"])
        notes.append("curves has no column 'flops': taken as 6 N D")
    for column in _CURVE_NUMBERS:
        _number(table, "curves", column)
    bad = ~(np.isfinite(table["nll_b"]) & np.isfinite(table["nll_a"]) & (table["tokens"] > 0))
    for run, count in table.loc[bad, "run"].value_counts().items():
        excluded.append(
            {"run": str(run), "reason": f"{count} evaluations without a finite loss or positive tokens"}
        )
    table = table[~bad]
    if "precise" not in table.columns:
        table = table.assign(precise=False)
    # A value that was scored again with more draws replaces the curve's.
    table = table.sort_values(["run", "step", "precise"], kind="stable").drop_duplicates()
    twice = table.duplicated(["run", "step", "precise"], keep=False)
    if twice.any():
        row = table[twice].iloc[0]
        raise TableError(
            f"table 'curves': run {row['run']!r} has two different rows at step {row['step']:g}; keep one "
            "of them"
        )
    return table.drop_duplicates(["run", "step"], keep="last").reset_index(drop=True)


def _scores(table: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    if table.empty:
        notes.append("no per-sequence scores: standard errors of differences are unpaired, and so too wide")
        return pd.DataFrame(columns=list(SCORES))
    for column in ("run", "step", "sequence", "nll"):
        _need(table, "scores", column)
    defaults: dict[str, Any] = {"half": "b", "draw": 0, "tokens": 1.0}
    for column, value in defaults.items():
        if column not in table.columns:
            table[column] = value
    table["run"] = table["run"].astype(str)
    _allowed(table, "scores", "half", _HALVES)
    for column in ("step", "sequence", "draw", "nll", "tokens"):
        _number(table, "scores", column)
    if not np.isfinite(table["nll"]).all():
        table = table[np.isfinite(table["nll"])]
        notes.append("scores: rows without a finite value left out")
    return table.reset_index(drop=True)


def _items(table: pd.DataFrame) -> pd.DataFrame:
    if table.empty:
        return pd.DataFrame(columns=list(ITEMS))
    for column in ("run", "step", "item"):
        _need(table, "items", column)
    defaults: dict[str, Any] = {"half": "b", "task": "", "choice": 0}
    for column, value in defaults.items():
        if column not in table.columns:
            table[column] = value
    table["run"] = table["run"].astype(str)
    table["task"] = table["task"].fillna("").astype(str)
    _allowed(table, "items", "half", _HALVES)
    _number(table, "items", "step")
    twice = table.duplicated(["run", "step", "task", "half", "item", "choice"])
    if twice.any():
        row = table[twice].iloc[0]
        raise TableError(
            f"table 'items': run {row['run']!r} has item {row['item']} twice at step {row['step']:g}"
        )
    return table.reset_index(drop=True)


def _better(curves: pd.DataFrame) -> dict[str, str]:
    """Metric -> ``lower`` or ``higher``, from the table's metadata (Parquet keeps it, CSV cannot)."""
    declared = dict(curves.attrs.get("better", {}))
    for metric, better in declared.items():
        if better not in ("lower", "higher"):
            raise TableError(f"curves.attrs['better'][{metric!r}]: {better!r} is not one of lower, higher")
    return declared


def _axes(runs: pd.DataFrame, axes: Iterable[str] | None) -> tuple[str, ...]:
    if axes is not None:
        chosen = tuple(axes)
        for axis in chosen:
            _need(runs, "runs", axis)
        return tuple(a for a in chosen if a not in ("objective", "seed"))
    others = [c for c in runs.columns if c not in FACTS]
    return tuple(c for c in others if runs[c].nunique(dropna=False) > 1)
