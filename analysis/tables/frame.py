"""From anybody's table to the columns of a law, with everything left out listed.

Standard names: N parameters, D tokens seen, U unique tokens, C training FLOPs, Q quality, loss. A column map
wins; else a column of that name, else a well-known alias, which is noted. N, D and C are derived from each
other by C = 6ND where one is missing, and D, U and epochs by D = U epochs, which is noted too. Where all of
N, D and C are there, C is set against 6ND.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

SYNONYMS = {"tokens": "D", "params": "N", "compute": "C"}
"""Words that formulas may use for a standard name, where the table has no column of that name."""

UNEVEN, NO_TOTAL = 1.5, 4.0
"""Factors by which C may differ from 6ND before that is said, and before a column guessed to be C is not."""


class FitError(ValueError):
    """A fit that cannot be made from this input; the message says what to do."""


@dataclass(frozen=True)
class Columns:
    """The part of a table that a fit uses, and a record of what it does not.

    ``x`` name -> (n,) values; ``y`` (n,); ``rows`` (n,) what the original table calls them (`row_labels`);
    ``excluded`` one record a row left out; ``heldout`` positions reserved for scoring; ``clusters`` (n,)
    codes; ``notes`` what was assumed.
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

    def joined(self, other: Columns) -> Columns:
        """These rows and those of another, in the order of their numbers; nothing is held out."""
        order = np.argsort(np.concatenate((self.rows, other.rows)), kind="stable")

        def join(a: Array, b: Array) -> Array:
            return np.concatenate((a, b))[order]

        clusters = self.clusters, other.clusters
        known = clusters[0] is not None and clusters[1] is not None
        return replace(
            self,
            x={k: join(v, other.x[k]) for k, v in self.x.items() if k in other.x},
            y=join(self.y, other.y),
            weights=join(self.weights, other.weights),
            rows=join(self.rows, other.rows),
            clusters=join(*clusters) if known else None,  # type: ignore[arg-type]
            heldout=None,
        )


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


def row_labels(frame: pd.DataFrame) -> Array:
    """(n,) what rows are called: the frame's index if it is one of distinct integers, else their
    positions."""
    index = frame.index
    if pd.api.types.is_integer_dtype(index.dtype) and index.is_unique:
        return index.to_numpy()
    return np.arange(len(frame))


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


@dataclass(frozen=True)
class Resolved:
    """Columns under standard names: ``values`` name -> (n,), ``sources`` name -> the table's column or how it
    was derived, ``notes`` on guesses and derivations, ``warnings`` of what does not fit together."""

    values: dict[str, Array]
    sources: dict[str, str]
    notes: list[str]
    warnings: list[str]

    def derive(self, name: str, formula: str, needs: str, value: Callable[..., Array], note: bool) -> None:
        """``name`` from other columns, where it is missing and they are not; noted if it was requested."""
        if name in self.values or not set(needs.split()) <= self.values.keys():
            return
        with np.errstate(all="ignore"):
            self.values[name] = value(*(self.values[n] for n in needs.split()))
        self.sources[name] = formula
        if note:
            self.notes.append(f"{name} derived as {formula}")


def resolve(frame: pd.DataFrame, names: Sequence[str], given: Mapping[str, str]) -> Resolved:
    """The named columns, with N, D, C, U and epochs derived from one another where they are missing.

    A column that is only guessed to be C, and is far from 6ND, is not taken for it. Raises FitError if a
    column is missing and cannot be derived.
    """
    out = Resolved({}, {}, [], [])
    related = [n for n in ("N", "D", "C") if {*names} & {"N", "D", "C", *SYNONYMS}]
    related += [n for n in ("D", "U", "epochs") if {*names} & {"U", "epochs"}]
    guesses = set()
    for name in dict.fromkeys([*names, *related]):
        column, guessed = _find(frame, name, given)
        if column is not None:
            out.values[name], out.sources[name] = _numbers(frame, column), str(column)
            guesses |= {name} if guessed else set()
    _check_compute(out, "C" in guesses)
    out.notes.extend(
        f"{n} read from column {out.sources[n]!r}" for n in names if n in guesses and n in out.values
    )
    if {*names} & {"D", "U", "epochs", "tokens"}:
        out.derive("D", "C/(6N)", "C N", lambda c, n: c / (6.0 * n), "D" in names)
        out.derive("D", "U*epochs", "U epochs", lambda u, e: u * e, "D" in names)
    if {*names} & {"N", "params"}:
        out.derive("N", "C/(6D)", "C D", lambda c, d: c / (6.0 * d), "N" in names)
    out.derive("C", "6ND", "N D", lambda n, d: 6.0 * n * d, "C" in names)
    out.derive("epochs", "D/U", "D U", lambda d, u: d / u, "epochs" in names)
    out.derive("U", "D/epochs", "D epochs", lambda d, e: d / e, "U" in names)
    for word, name in SYNONYMS.items():
        out.derive(word, name, name, lambda v: v, word in names)
    missing = [n for n in names if n not in out.values]
    if missing:
        raise FitError(
            f"the table has no column for {', '.join(missing)}; say which with a column map, such as "
            f"{missing[0]}=NAME. Columns: {', '.join(map(str, frame.columns)) or 'none'}"
        )
    return out


def _check_compute(columns: Resolved, guessed: bool) -> None:
    """Set C against 6ND where all three are columns: warn where they differ, and drop a mere guess that is
    far off."""
    if not {"N", "D", "C"} <= columns.values.keys():
        return
    with np.errstate(all="ignore"):
        ratio = columns.values["C"] / (6.0 * columns.values["N"] * columns.values["D"])
    usable = ratio[np.isfinite(ratio) & (ratio > 0)]
    middle = float(np.median(usable)) if len(usable) else 1.0
    away = max(middle, 1 / middle)
    if guessed and away > NO_TOTAL:
        columns.warnings.append(
            f"column {columns.sources['C']!r} is not taken for C: it is {middle:.3g} times 6ND in the median;"
            " C is derived as 6ND (map it, C=..., if it is meant)"
        )
        del columns.values["C"], columns.sources["C"]
    elif away > UNEVEN:
        columns.warnings.append(
            f"C (column {columns.sources['C']!r}) is {middle:.3g} times 6ND in the median: another"
            " convention, other units, or no total"
        )


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
    holdout_table: Table | None = None,
    log_target: bool = True,
) -> Columns:
    """Rows and columns for a fit of ``law``. Nothing is dropped without a record in ``excluded``.

    ``where`` keeps rows, ``holdout`` reserves rows for scoring, ``drop_highest`` leaves out the K largest
    targets (a published convention: Chinchilla's points without the 5 highest losses), ``weights`` is a
    column or a sequence, ``cluster`` a column whose equal values belong together. ``holdout_table`` has
    further rows for scoring, to which ``where`` applies, too.

    Raises FitError if a column or a value is wrong, if no row is left, and if the rows are of several
    objectives: their losses differ in kind.
    """
    frame = read_table(table)
    labels, frame = row_labels(frame), frame.reset_index(drop=True)
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
    known = resolve(frame, [*law.variables, target], given)
    values, sources, notes = known.values, known.sources, known.notes
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
    excluded = [{"row": int(i), "reason": r} for i, r in zip(labels, reasons, strict=True) if r]
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
            rows=labels[mask],
            excluded=rest,
            heldout=test,
            clusters=None if codes is None else codes[mask],
            sources=sources,
            notes=notes,
        )

    heldout = part(reserved, [], None) if reserved.any() else None
    if holdout and heldout is None:
        raise FitError(f"holdout {holdout!r} holds for no usable row")
    if holdout_table is not None:
        apart = prepare(holdout_table, law, columns=columns, where=where, log_target=log_target)
        heldout = apart if heldout is None else heldout.joined(apart)
    out = part(keep, excluded, heldout)
    out.warnings.extend([*known.warnings, *_look(out, law)])
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
