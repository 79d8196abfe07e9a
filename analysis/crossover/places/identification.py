"""What the places of a study identify: the columns of the crossing's law, and the rows that may enter it.

A place tells of every effect in its row; a bound alone tells of none. A bound of a size, or of a level of an
axis, at which no place was seen says nothing of the other sizes unless the effect of its own is known, so it
leaves together with that effect: only rows whose expected place is *estimable* from the places seen stay
(their design row lies in the row space of the places'; Searle 1971, Linear Models, 5.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.crossover.axes import DISTINCT, follows
from analysis.tables.wording import human

Array = NDArray[np.float64]

LEVELS = 6
"""Values of an axis up to which each has a contrast of its own."""

_VARIABLES = ("U", "N")


@dataclass(frozen=True)
class Identified:
    """The design of a law of the crossing.

    Attributes:
        rows: [n] which rows of the table stay; ``design`` [n', p] is theirs, named by ``columns``.
        centre: variable -> the mean logarithm that its column is centred at.
        levels: axis -> its values, the first being the one that contrasts are against.
        constant: variable without a column -> its least and largest value among the rows that stay.
        confounded: columns that vary together with an effect that has none, so that their slopes are both's.
        dropped: the effects without a column; ``left_out``: the bounds that leave; each a sentence.
    """

    rows: NDArray[np.bool_]
    design: Array
    columns: tuple[str, ...]
    centre: dict[str, float]
    levels: dict[str, list[Any]]
    constant: dict[str, tuple[float, float]]
    confounded: tuple[str, ...]
    dropped: tuple[str, ...]
    left_out: tuple[str, ...]


def identify(data: pd.DataFrame, axes: Sequence[str]) -> Identified:
    """The design over columns ``U``, ``N`` and categorical ``axes`` of rows with a ``side`` (0: a place)."""
    kinds = {a: _kinds(data, a) for a in axes}
    named = [a for a, k in kinds.items() if 2 <= len(k) <= LEVELS]
    dropped = [
        f"{a}: {len(k)} values, of which none has a contrast; they are scatter of cells"
        for a, k in kinds.items()
        if len(k) > LEVELS
    ]
    seen = (data["side"] == 0).to_numpy()
    rows = _estimable(np.column_stack([c for _, c in _columns(data, named)]), seen)
    kept = data[rows]
    chosen, names, confounded = [np.ones(len(kept))], ["1"], set()
    centre = {v: float(np.log(kept[v].to_numpy(float)).mean()) for v in _VARIABLES if _varies(kept, v)}
    for name, column in _columns(kept, named)[1:]:
        others = _combination(np.column_stack(chosen)[seen[rows]], column[seen[rows]])
        if others is None:
            chosen.append(column)
            names.append(name)
            continue
        shared = [names[i] for i in others if names[i] != "1"]
        confounded |= set(shared)
        dropped.append(f"{name}: the places seen do not tell its effect from that of {', '.join(shared)}")
    for variable in _VARIABLES:
        if variable not in centre and _varies(data, variable):
            dropped.append(f"{variable}: the places seen do not identify its slope")
    levels = {a: _kinds(kept, a) for a in named}
    for axis in named:
        dropped += [
            f"{axis}={k}: the places seen do not identify its contrast"
            for k in kinds[axis]
            if k not in levels[axis]
        ]
    return Identified(
        rows=rows,
        design=np.column_stack(chosen),
        columns=tuple(names),
        centre={v: c for v, c in centre.items() if v in names},
        levels=levels,
        constant={
            v: (float(kept[v].min()), float(kept[v].max()))
            for v in _VARIABLES
            if v not in names and (kept[v] > 0).all()
        },
        confounded=tuple(n for n in names if n in confounded),
        dropped=tuple(dropped),
        left_out=_left_out(data, rows, named),
    )


def _kinds(data: pd.DataFrame, axis: str) -> list[Any]:
    """The values of an axis that is no other name of N or U, in order."""
    if any(follows(data, axis, v) for v in _VARIABLES):
        return []
    return sorted(data[axis].astype(str).unique())


def _varies(data: pd.DataFrame, variable: str) -> bool:
    values = data[variable].to_numpy(float)
    return bool((values > 0).all() and np.ptp(np.log(values)) >= DISTINCT)


def _columns(data: pd.DataFrame, axes: Sequence[str]) -> list[tuple[str, Array]]:
    """Every column that the table varies: 1, centred logarithms, indicators of all levels but the first."""
    out = [("1", np.ones(len(data)))]
    for variable in _VARIABLES:
        if _varies(data, variable):
            logs = np.log(data[variable].to_numpy(float))
            out.append((variable, logs - logs.mean()))
    for axis in axes:
        labels = data[axis].astype(str)
        out += [(f"{axis}={k}", (labels == k).to_numpy(float)) for k in sorted(labels.unique())[1:]]
    return out


def _estimable(design: Array, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[n] whether a row of the design [n, p] is a combination of the rows that are places."""
    _, size, basis = np.linalg.svd(design[seen], full_matrices=False)
    basis = basis[size > DISTINCT]
    apart = design - design @ basis.T @ basis
    return np.asarray(np.linalg.norm(apart, axis=1) < DISTINCT)


def _combination(design: Array, column: Array) -> list[int] | None:
    """The columns of a design that another one is a combination of; None where it is none of them."""
    if np.linalg.matrix_rank(np.column_stack([design, column]), tol=DISTINCT) > design.shape[1]:
        return None
    weights = np.linalg.lstsq(design, column, rcond=None)[0]
    return [i for i, w in enumerate(weights) if abs(w) > DISTINCT]


def _left_out(data: pd.DataFrame, rows: NDArray[np.bool_], axes: Sequence[str]) -> tuple[str, ...]:
    """What leaves, by the values at which no row stays; else by how many cells it is."""
    gone, kept = data[~rows], data[rows]
    out, told = [], np.zeros(len(gone), dtype=bool)
    numbers = [v for v in _VARIABLES if (data[v] > 0).all()]
    for name in (*numbers, *axes):
        values = gone[name] if name in _VARIABLES else gone[name].astype(str)
        for value in sorted(values.unique()):
            here = (values == value).to_numpy()
            near = _near(kept[name], value)
            if near.any() or told[here].all():
                continue
            told |= here
            shown = human(value) if name in _VARIABLES else value
            out.append(_sentence(f"{name}={shown}", gone[here]))
    if not told.all():
        out.append(_sentence("combinations of values", gone[~told]))
    return tuple(out)


def _near(values: pd.Series, value: Any) -> NDArray[np.bool_]:
    if isinstance(value, str):
        return (values.astype(str) == value).to_numpy()
    return np.abs(np.log(values.to_numpy(float) / value)) < DISTINCT


def _sentence(what: str, rows: pd.DataFrame) -> str:
    cells = rows["cell"].nunique()
    return (
        f"{what}: no place was seen that its effect could be told from; {len(rows)} "
        f"bound{'s' if len(rows) > 1 else ''} in {cells} cell{'s' if cells > 1 else ''} left out"
    )
