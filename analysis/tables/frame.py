"""From anybody's table to the columns of a law, with everything left out listed.

Standard names: N parameters, D tokens seen, U unique tokens, C training FLOPs, Q quality, loss. A column map
wins; else a column of that name, else a well-known alias, which is noted. D and C are derived from each other
by C = 6ND where one is missing, which is noted too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.laws.base import Array, Law
from analysis.tables.keywords import nearest
from analysis.tables.where import select

Table = pd.DataFrame | Mapping[str, Sequence[float]] | str | Path
"""What a fit takes: a table, columns by name, or the file of a table."""

ALIASES: dict[str, tuple[str, ...]] = {
    "N": ("N", "params", "parameters", "n_params", "num_params", "model_size", "model size"),
    "D": ("D", "tokens", "train_tokens", "tokens_seen", "training_tokens", "n_tokens"),
    "U": ("U", "unique_tokens", "unique tokens", "tokens_unique"),
    "C": ("C", "flops", "compute", "training_flop", "training flop", "train_flops", "training_flops"),
    "Q": ("Q", "quality", "data_quality", "data.quality"),
    "loss": ("loss", "val_loss", "validation_loss", "final_loss", "val_nll", "nll_b", "nll", "eval_loss"),
}


class FitError(ValueError):
    """A fit that cannot be made from this input; the message says what to do."""


@dataclass(frozen=True)
class Columns:
    """The part of a table that a fit uses, and a record of what it does not.

    ``x`` name -> (n,) values; ``y`` (n,); ``rows`` (n,) positions in the original table; ``excluded`` one
    record a row left out; ``heldout`` positions reserved for scoring; ``clusters`` (n,) codes; ``notes`` what
    was assumed.
    """

    x: dict[str, Array]
    y: Array
    weights: Array
    rows: Array
    excluded: list[dict[str, object]]
    heldout: Columns | None
    clusters: Array | None
    sources: dict[str, str]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def frame(self, target: str) -> pd.DataFrame:
        """The columns with the ``target``, indexed by the rows of the original table."""
        return pd.DataFrame({**self.x, target: self.y}, index=self.rows)


def read_table(table: pd.DataFrame | Mapping[str, Sequence[float]] | str | Path) -> pd.DataFrame:
    """The table as a DataFrame. Raises FitError for a file that is missing, empty or no table."""
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, (str, Path)):
        path = Path(table)
        if not path.exists():
            raise FitError(f"no file {path}; give the path of a CSV or Parquet file")
        try:
            return pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path)
        except pd.errors.EmptyDataError:
            raise FitError(
                f"{path} is empty; a table needs a line of column names and rows below it"
            ) from None
        except (pd.errors.ParserError, UnicodeDecodeError, OSError, ValueError) as error:
            raise FitError(f"{path} cannot be read as a table: {error}") from None
    return pd.DataFrame(table)


def _key(name: object) -> str:
    return str(name).strip().lower().replace(" ", "_").replace("-", "_")


def _find(frame: pd.DataFrame, name: str, given: Mapping[str, str]) -> tuple[str | None, bool]:
    """The column that holds ``name``, and whether it was guessed from an alias."""
    if name in given:
        column = given[name]
        if column in frame.columns:
            return column, False
        loose = [c for c in frame.columns if _key(c) == _key(column)]
        if len(loose) == 1:
            return loose[0], False
        raise FitError(
            f"column map {name}={column}: the table has no such column"
            + (nearest(column, frame.columns) or ".")
            + f" Columns: {', '.join(map(str, frame.columns))}"
        )
    if name in frame.columns:
        return name, False
    # single letters must match exactly: a column `n` is more often a count than parameters
    aliases = {_key(a) for a in ALIASES.get(name, ()) if len(a) > 1}
    hits = [c for c in frame.columns if _key(c) in aliases]
    return (hits[0], True) if hits else (None, False)


def _numbers(frame: pd.DataFrame, column: str) -> Array:
    series = frame[column]
    if isinstance(series, pd.DataFrame):
        raise FitError(f"the table has {series.shape[1]} columns named {column!r}; rename them")
    return pd.to_numeric(series, errors="coerce").to_numpy(dtype=float)


def resolve(
    frame: pd.DataFrame, names: Sequence[str], given: Mapping[str, str]
) -> tuple[dict[str, Array], dict[str, str], list[str]]:
    """Values of the named columns, where each came from, and notes on guesses and derivations.

    Raises FitError if a column is missing and cannot be derived.
    """
    values: dict[str, Array] = {}
    sources: dict[str, str] = {}
    notes: list[str] = []
    for name in dict.fromkeys([*names, *(n for n in ("N", "D", "C") if set(names) & {"N", "D", "C"})]):
        column, guessed = _find(frame, name, given)
        if column is not None:
            values[name], sources[name] = _numbers(frame, column), str(column)
            if guessed and name in names:
                notes.append(f"{name} read from column {column!r}")
    with np.errstate(all="ignore"):
        if "D" in names and "D" not in values and {"N", "C"} <= values.keys():
            values["D"], sources["D"] = values["C"] / (6.0 * values["N"]), "C/(6N)"
            notes.append("D derived as C/(6N)")
        if "N" in names and "N" not in values and {"D", "C"} <= values.keys():
            values["N"], sources["N"] = values["C"] / (6.0 * values["D"]), "C/(6D)"
            notes.append("N derived as C/(6D)")
        if "C" not in values and {"N", "D"} <= values.keys():
            values["C"], sources["C"] = 6.0 * values["N"] * values["D"], "6ND"
            if "C" in names:
                notes.append("C derived as 6ND")
    missing = [n for n in names if n not in values]
    if missing:
        raise FitError(
            f"the table has no column for {', '.join(missing)}; say which with a column map, such as "
            f"{missing[0]}=NAME. Columns: {', '.join(map(str, frame.columns)) or 'none'}"
        )
    return values, sources, notes


def prepare(
    table: pd.DataFrame | Mapping[str, Sequence[float]] | str | Path,
    law: Law,
    *,
    columns: Mapping[str, str] | None = None,
    where: str | None = None,
    drop_highest: int = 0,
    weights: str | Sequence[float] | None = None,
    cluster: str | None = None,
    holdout: str | None = None,
    log_target: bool = True,
) -> Columns:
    """Rows and columns for a fit of ``law``. Nothing is dropped without a record in ``excluded``.

    ``where`` keeps rows, ``holdout`` reserves rows for scoring, ``drop_highest`` leaves out the K largest
    targets (a published convention: Chinchilla's points without the 5 highest losses), ``weights`` is a
    column or a sequence, ``cluster`` a column whose equal values belong together.

    Raises FitError if a column or a value is wrong, if no row is left, and if the rows are of several
    objectives: their losses differ in kind.
    """
    frame = read_table(table).reset_index(drop=True)
    if frame.empty or not len(frame.columns):
        raise FitError(
            "the table has no rows; a fit needs at least one row more than the law has free parameters"
        )
    given = dict(columns or {})
    target = str(law.target)
    if target not in given and target not in frame.columns:
        if "loss" in given:
            given[target] = given["loss"]
        elif target == "y" and (loss := _find(frame, "loss", {})[0]) is not None:  # laws of anything, of x
            given[target] = str(loss)
    values, sources, notes = resolve(frame, [*law.variables, target], given)
    n = len(frame)
    scope = {
        **{str(c): frame[c] for c in frame.columns if not isinstance(frame[c], pd.DataFrame)},
        **{k: pd.Series(v) for k, v in values.items()},
    }
    reasons: list[str | None] = [None] * n

    def leave_out(mask: Array, reason: str) -> None:
        for i in np.flatnonzero(mask):
            reasons[i] = reasons[i] or reason

    if where:
        leave_out(~select(where, scope), f"not ({where})")
    y = values[target]
    for name in (*law.variables, target):
        leave_out(~np.isfinite(values[name]), f"{name} is missing or not finite")
    for name in law.variables:
        if name not in law.raw_variables:
            leave_out(values[name] <= 0, f"{name} is not positive")
    if log_target:
        leave_out(y <= 0, f"{target} is not positive (log estimands need that; 'mse' does not)")
    w = np.ones(n)
    if weights is not None:
        w = _numbers(frame, weights) if isinstance(weights, str) else np.asarray(weights, dtype=float)
        if w.shape != (n,):
            raise FitError(f"weights: {len(w)} values for {n} rows")
        leave_out(~(np.isfinite(w) & (w > 0)), "weight is missing or not positive")
    if drop_highest < 0:
        raise FitError(f"drop_highest must be 0 or more, got {drop_highest}")
    if drop_highest:
        kept = [i for i in range(n) if reasons[i] is None]
        for i in sorted(kept, key=lambda i: -y[i])[:drop_highest]:
            reasons[i] = f"among the {drop_highest} highest of {target}"
    reserved = np.zeros(n, dtype=bool)
    if holdout:
        reserved = select(holdout, scope) & np.array([r is None for r in reasons])
        leave_out(reserved, f"held out ({holdout})")
    codes = _cluster_codes(frame, cluster)
    excluded = [{"row": int(i), "reason": r} for i, r in enumerate(reasons) if r is not None]
    keep = np.array([r is None for r in reasons])
    if not keep.any():
        counts = pd.Series([e["reason"] for e in excluded]).value_counts()
        raise FitError("no row is left to fit: " + "; ".join(f"{k} rows: {r}" for r, k in counts.items()))

    _one_objective(frame[keep | reserved])

    def part(mask: Array, rest: list[dict[str, object]], test: Columns | None) -> Columns:
        names = dict.fromkeys((*law.variables, *("NDC" if {"N", "D"} <= values.keys() else "")))
        return Columns(
            x={k: values[k][mask] for k in names if k in values},
            y=y[mask],
            weights=w[mask],
            rows=np.flatnonzero(mask),
            excluded=rest,
            heldout=test,
            clusters=None if codes is None else codes[mask],
            sources=sources,
            notes=notes,
        )

    heldout = part(reserved, [], None) if reserved.any() else None
    if holdout and heldout is None:
        raise FitError(f"holdout {holdout!r} holds for no usable row")
    out = part(keep, excluded, heldout)
    out.warnings.extend(_look(out, law))
    return out


def _one_objective(frame: pd.DataFrame) -> None:
    """Losses of different objectives differ in kind, and one law of both describes neither."""
    if "objective" not in frame.columns:
        return
    names = [str(n) for n in frame["objective"].dropna().unique()]
    if len(names) > 1:
        raise FitError(
            f"rows of {len(names)} objectives ({', '.join(names)}), whose losses differ in kind: choose one "
            f"(where: objective == '{names[0]}'), or fit each on its own (by: objective)"
        )


def _cluster_codes(frame: pd.DataFrame, cluster: str | None) -> Array | None:
    if cluster is None:
        return None
    names = [c.strip() for c in cluster.split(",")]
    missing = [c for c in names if c not in frame.columns]
    if missing:
        raise FitError(
            f"cluster: no column {', '.join(missing)}. Columns: {', '.join(map(str, frame.columns))}"
        )
    return frame.groupby(names, dropna=False, sort=False).ngroup().to_numpy()


def _look(data: Columns, law: Law) -> list[str]:
    """Warnings on what a careful reader of the table would ask about."""
    remarks: list[str] = []
    stack = np.column_stack([*(data.x[v] for v in law.variables), data.y])
    repeats = len(stack) - len(np.unique(stack, axis=0))
    if repeats:
        remarks.append(
            f"{repeats} row{'s are' if repeats > 1 else ' is'} an exact copy of another: kept and counted, "
            "but copies are no evidence; drop them, or name their run in `cluster`"
        )
    if len(data.excluded):
        counts = pd.Series([e["reason"] for e in data.excluded]).value_counts()
        remarks.extend(
            f"{k} row{'s' if k > 1 else ''} left out: {r}"
            for r, k in counts.items()
            if "missing" in str(r) or "not positive" in str(r)
        )
    return remarks
