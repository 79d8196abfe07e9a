"""One long table of evaluations, as strangers keep them, as the runs and curves that `locate` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.tables.frame import ALIASES, FitError, resolve
from analysis.tables.keywords import nearest
from analysis.tables.tables import LIKELIHOODS, TableError
from analysis.tables.where import select

_TOKENS = {"d", "tokens", "tokens_seen", "train_tokens", "training_tokens", "n_tokens"}
_EPOCHS = {"epoch", "epochs"}
_FLOPS = {"c", "flops", "compute", "training_flop", "training_flops", "train_flops"}


@dataclass(frozen=True)
class LongForm:
    """``runs`` and ``curves`` for `analysis.crossover.same_n.location`; ``unit``: that of ``x``; ``axes`` of
    the cells."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    axes: tuple[str, ...]
    unit: str
    notes: list[str] = field(default_factory=list)


def split(
    frame: pd.DataFrame,
    *,
    column: str,
    pair: Sequence[str],
    x: str,
    y: str,
    by: Sequence[str] = (),
    replicate: str | None = None,
    run: str | None = None,
    columns: Mapping[str, str] | None = None,
    where: str | None = None,
    likelihood: Mapping[str, str] | None = None,
    error: str | None = None,
) -> LongForm:
    """Runs and curves from one row an evaluation.

    ``column`` tells the two values of ``pair`` apart, ``x`` is a column of tokens, epochs (U must be
    known) or
    FLOPs (N must be), ``y`` the metric, ``by`` the columns of a cell, ``replicate`` that of the seed
    (default:
    ``seed``, where there is one). ``likelihood``: what each of the pair's losses is (exact, upper_bound).
    TableError or FitError say which column or value is wrong, and what is allowed.
    """
    if frame.empty:
        raise TableError("the table has no rows: locate needs one row an evaluation")
    for name in (column, y, *by, *(c for c in (replicate, run, error) if c)):
        _need(frame, name)
    notes: list[str] = []
    if where:
        mask = select(where, {str(c): frame[c] for c in frame.columns})
        notes.append(f"{int((~mask).sum())} of {len(frame)} rows left out: not ({where})")
        frame = frame[mask]
    values = frame[column].astype(str)
    for value in pair:
        if value not in set(values):
            raise TableError(
                f"column {column!r} never is {value!r}"
                + (nearest(value, values.unique()) or ".")
                + f" It is: {', '.join(values.unique()[:12])}"
            )
    kinds = {o: _kind(o, likelihood or {}, pair) for o in pair}
    other = ~values.isin(list(pair))
    if other.any():
        kept = sorted(values[other].unique())[:6]
        notes.append(f"{int(other.sum())} rows left out: {column} is {', '.join(kept)}")
        frame, values = frame[~other], values[~other]
    replicate = replicate or ("seed" if "seed" in frame.columns and "seed" not in by else None)
    if replicate is None:
        notes.append("no column of replicates (--replicate): every cell is taken to have one")
    for name in (*by, *(c for c in (replicate, run) if c)):
        if frame[name].isna().any():
            raise TableError(
                f"column {name!r} is empty in {int(frame[name].isna().sum())} rows; their cell is not known: "
                "fill it, or choose rows with --where"
            )
    facts = {n: _known(frame, n, dict(columns or {})) for n in ("N", "U")}
    if facts["U"] is None and x in frame.columns and _key(x) in _EPOCHS:
        facts["U"] = np.ones(len(frame))
        notes.append("no U: places are in epochs of a corpus of unknown size, and say nothing of tokens")
    long = pd.DataFrame(
        {"objective": values, "seed": frame[replicate] if replicate else 0}, index=frame.index
    )
    long = long.assign(**{b: frame[b] for b in by}, **{n: v for n, v in facts.items() if v is not None})
    names = ["objective", "seed", *by]
    long["run"] = frame[run].astype(str) if run else long[names].map(str).agg("/".join, axis=1)
    tokens, unit = _tokens(frame, x, facts, dict(columns or {}), notes)
    numbers = pd.DataFrame({"tokens": tokens, "nll_b": _numbers(frame, y)}, index=frame.index)
    numbers["nll_a"] = numbers["nll_b"]
    if error:
        numbers["se_a"] = numbers["se_b"] = _numbers(frame, error)
    else:
        notes.append("no standard errors of the loss (--error), so that no crossing can be called robust")
    curves = pd.concat([long[["run"]], numbers], axis=1)
    _distinct(curves, replicate)
    _constant(long, by, run)
    runs = long.drop_duplicates("run").reset_index(drop=True)
    runs["likelihood"] = runs["objective"].map(kinds)
    if not likelihood:
        notes.append(
            "what kind of loss each objective's is was not said (--likelihood), so order is all that is shown"
        )
    return LongForm(runs, curves.reset_index(drop=True), tuple(by), unit, notes)


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _need(frame: pd.DataFrame, name: str) -> None:
    if name in frame.columns:
        return
    hint = nearest(name, frame.columns) or "."
    raise TableError(f"the table has no column {name!r}{hint} Columns: {', '.join(map(str, frame.columns))}")


def _known(frame: pd.DataFrame, name: str, given: Mapping[str, str]) -> np.ndarray | None:
    """N or U where the table has it; a column that was named and is missing is an error."""
    try:
        return resolve(frame, [name], given).values[name]
    except FitError:
        if name in given:
            raise
        return None


def _numbers(frame: pd.DataFrame, column: str) -> np.ndarray:
    return pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=float)


def _tokens(
    frame: pd.DataFrame,
    x: str,
    facts: Mapping[str, np.ndarray | None],
    given: Mapping[str, str],
    notes: list[str],
) -> tuple[np.ndarray, str]:
    """Tokens of each row, from the column ``x``, or from D where the table has no such column; and the unit
    of ``x``."""
    key = _key(x)
    unit = "epochs" if key in _EPOCHS else "flops" if key in _FLOPS else "tokens"
    if x not in frame.columns:
        tokens = _known(frame, "D", given) if key in _TOKENS | _EPOCHS | _FLOPS else None
        if tokens is None or (unit == "epochs" and facts["U"] is None):
            _need(frame, x)
            raise TableError(f"--x {x}: the table has no such column, and no D and U to derive it from")
        notes.append(f"{x} derived from D" + (" and U" if unit == "epochs" else ""))
        return tokens, unit
    value = _numbers(frame, x)
    if unit == "epochs":
        return value * np.asarray(facts["U"]), unit
    if unit == "flops":
        if facts["N"] is None:
            aliases = ", ".join(ALIASES["N"])
            raise TableError(
                f"--x {x}: flops need N; say which column with --map N=COLUMN (or call it {aliases})"
            )
        return value / (6.0 * facts["N"]), unit
    if key not in _TOKENS:
        notes.append(f"{x!r} is taken to be tokens; epochs and FLOPs follow from that")
    return value, unit


def _distinct(curves: pd.DataFrame, replicate: str | None) -> None:
    twice = curves.dropna().drop_duplicates().duplicated(["run", "tokens"])
    if twice.any():
        row = curves.loc[twice[twice].index[0]]
        raise TableError(
            f"two rows of {row['run']} at x = {row['tokens']:g} differ: "
            + (
                "--by or --run must name what tells them apart"
                if replicate
                else "name the column of replicates (--replicate), or what tells them apart (--by)"
            )
        )


def _constant(long: pd.DataFrame, by: Sequence[str], run: str | None) -> None:
    """N, U and the axes are facts of a run: a column that varies within one is an error."""
    for name in ("N", "U"):
        if name in long:
            ends = long.groupby("run")[name].agg(["min", "max"])
            if (ends["max"] > ends["min"] * (1 + 1e-6)).any():  # derived ones differ in their last digits
                raise TableError(f"{name} varies within a run; add it to --by, or map another column to it")
    for name in ("objective", "seed", *by) if run else ():
        if (long.groupby("run")[name].nunique(dropna=False) > 1).any():
            raise TableError(f"{name} varies within a run; add it to --by, or map another column to it")


def _kind(objective: str, kinds: Mapping[str, str], pair: Sequence[str]) -> str:
    for name, kind in kinds.items():
        if name not in pair:
            raise TableError(f"--likelihood: {name!r} is not one of the pair, {', '.join(pair)}")
        if kind not in LIKELIHOODS:
            raise TableError(f"--likelihood {name}={kind}: it is one of {', '.join(LIKELIHOODS)}")
    return kinds.get(objective, "unknown")
