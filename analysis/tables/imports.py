"""Strangers' curves as runs and curves: plain CSV, Weights & Biases exports, TensorBoard event files.

Readers return one long table (run, step, further columns as found, ``y``); `assemble` gives them the names of
`analysis.tables.tables`, with what is known of each run from a table, from its name, or for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analysis.tables.keywords import nearest
from analysis.tables.tables import TableError, read

FORMATS = ("csv", "wandb", "tensorboard")
_SPREAD = re.compile(r"__(MIN|MAX)$")
_STEPS = ("step", "Step", "_step", "global_step", "train/global_step", "trainer/global_step", "iteration")
_TOKENS = ("tokens", "tokens_seen", "train_tokens", "train/tokens", "n_tokens", "D")
_LOSSES = ("val_nll", "val_loss", "val/loss", "eval/loss", "validation_loss", "eval_loss", "nll", "loss")


@dataclass(frozen=True)
class Imported:
    """``runs`` and ``curves`` as `analysis.tables.tables.load` takes them, and what was assumed or left
    out."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def kind(path: Path) -> str:
    """Which of ``FORMATS`` a path looks like. Raises TableError if it looks like none."""
    if path.is_dir() or "tfevents" in path.name:
        return "tensorboard"
    columns = [str(c) for c in read(path).columns]
    charted = any(" - " in c for c in columns) and any(_SPREAD.search(c) for c in columns)
    return "wandb" if charted or "_step" in columns else "csv"


def long_table(path: Path, form: str, y: str | None, x: str | None) -> tuple[pd.DataFrame, list[str]]:
    """One source as rows of run, step or tokens, and ``y``; notes say which columns were taken."""
    if not path.exists():
        raise TableError(f"no such file or folder: {path}")
    if form not in FORMATS:
        raise TableError(f"format {form!r}: it is one of {', '.join(FORMATS)}")
    if form == "tensorboard":
        return _tensorboard(path, y)
    frame = read(path)
    if frame.empty:
        raise TableError(f"{path} has no rows")
    if form == "wandb" and any(" - " in str(c) for c in frame.columns):
        return _chart(frame, path, y, x)
    return _rows(frame, path, y, x)


def _pick(names: Iterable[str], requested: str | None, usual: Sequence[str], what: str, where: object) -> str:
    """The name that is requested (exact, else the only one that contains it), or the first usual one."""
    names = list(dict.fromkeys(names))
    if requested is None:
        for name in usual:
            if name in names:
                return name
        if len(names) == 1:
            return names[0]
        raise TableError(f"{where}: which {what}? Give one of {', '.join(names) or 'none: there is none'}")
    if requested in names:
        return requested
    inside = [n for n in names if requested in n]
    if len(inside) == 1:
        return inside[0]
    hint = nearest(requested, names) or "."
    raise TableError(f"{where}: no {what} {requested!r}{hint} There are: {', '.join(names)}")


def _x(frame: pd.DataFrame, x: str | None, where: object) -> tuple[str, str]:
    """The column of progress, and whether it is ``tokens`` or ``step``."""
    columns = [str(c) for c in frame.columns]
    if x is not None:
        name = _pick(columns, x, (), "column", where)
        return name, "tokens" if name in _TOKENS or "token" in name.lower() else "step"
    for unit, usual in (("tokens", _TOKENS), ("step", _STEPS)):
        for name in usual:
            if name in columns:
                return name, unit
    raise TableError(
        f"{where}: no column of steps or tokens; say which with --x. Columns: {', '.join(columns)}"
    )


def _rows(frame: pd.DataFrame, path: Path, y: str | None, x: str | None) -> tuple[pd.DataFrame, list[str]]:
    """One row an evaluation; the file is one run unless a column ``run`` (or ``name``) says otherwise."""
    at, unit = _x(frame, x, path.name)
    loss = _pick(map(str, frame.columns), y, _LOSSES, "column of losses", path.name)
    name = next((c for c in ("run", "run_id", "run_name", "name", "Name") if c in frame.columns), None)
    rest = frame.drop(columns=[c for c in (at, loss, name) if c])
    out = pd.DataFrame(
        {"run": frame[name].astype(str) if name else path.stem, unit: frame[at], "y": frame[loss]}
    )
    clash = [c for c in rest.columns if c in out.columns]
    return pd.concat([out, rest.drop(columns=clash)], axis=1), [
        f"{path.name}: loss is {loss!r}, {unit} is {at!r}"
    ]


def _chart(frame: pd.DataFrame, path: Path, y: str | None, x: str | None) -> tuple[pd.DataFrame, list[str]]:
    """A chart's export: a column of progress, and ``RUN - METRIC`` (with __MIN, __MAX) for each run."""
    series = [str(c) for c in frame.columns if " - " in str(c) and not _SPREAD.search(str(c))]
    metric = _pick(
        (c.rsplit(" - ", 1)[1] for c in series if not c.endswith(" - _step")), y, _LOSSES, "metric", path.name
    )
    at, unit = _x(frame[[c for c in frame.columns if " - " not in str(c)]], x, path.name)
    parts = [
        pd.DataFrame({"run": c.rsplit(" - ", 1)[0], unit: frame[at], "y": frame[c]}).dropna(subset=["y"])
        for c in series
        if c.rsplit(" - ", 1)[1] == metric
    ]
    return pd.concat(parts, ignore_index=True), [f"{path.name}: loss is {metric!r}, {unit} is {at!r}"]


def _tensorboard(path: Path, y: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Scalars of event files; a folder of several runs gives one run a folder."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        raise TableError("event files need TensorBoard: pip install 'crossover[tensorboard]'") from None
    files = sorted(path.rglob("*tfevents*")) if path.is_dir() else [path]
    if not files:
        raise TableError(f"{path} holds no event files (*tfevents*)")
    folders = sorted({f.parent for f in files})
    sources = {(str(d.relative_to(path)) if path.is_dir() and d != path else d.name): d for d in folders}
    parts, tag = [], None
    for run, source in sources.items():
        events = EventAccumulator(
            str(source if path.is_dir() else path), size_guidance={"scalars": 0, "tensors": 0}
        ).Reload()
        scalars = {t: [(e.step, e.value) for e in events.Scalars(t)] for t in events.Tags()["scalars"]}
        for t in events.Tags()["tensors"]:
            values = [(e.step, _scalar(e.tensor_proto)) for e in events.Tensors(t)]
            if all(v is not None for _, v in values):
                scalars[t] = values
        if not scalars:
            continue
        tag = _pick(scalars, y, _LOSSES, "tag", run)
        part = pd.DataFrame(scalars[tag], columns=["step", "y"]).drop_duplicates("step", keep="last")
        tokens = next((t for t in _TOKENS if t in scalars and t != tag), None)
        if tokens:
            part["tokens"] = part["step"].map(dict(scalars[tokens]))
        parts.append(part.assign(run=run))
    if not parts:
        raise TableError(f"{path}: its event files hold no scalars")
    return pd.concat(parts, ignore_index=True), [f"{path.name}: loss is {tag!r}"]


def _scalar(proto: object) -> float | None:
    """A scalar that was written as a tensor, as newer writers do; None for anything larger."""
    from tensorboard.util.tensor_util import make_ndarray

    value = make_ndarray(proto)
    return float(value) if value.size == 1 and value.dtype.kind in "fiu" else None


def assemble(
    tables: Sequence[pd.DataFrame],
    *,
    columns: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
    about: pd.DataFrame | None = None,
    pattern: str | None = None,
    renamed: Mapping[str, str] | None = None,
    tokens_per_step: float | None = None,
) -> Imported:
    """Runs and curves from long tables.

    ``columns``: name here -> column there. ``facts``: what holds of every run. ``about``: a table of runs
    with a column ``run``. ``pattern``: a regular expression with named groups for what runs' names say, such
    as ``(?P<objective>ar|mdm)-(?P<N>\\d+)``. ``renamed``: objectives' names there -> here. Runs of
    several N or U get columns ``size`` and ``unique_tokens`` that tell their cells apart. TableError says
    what is missing and how to give it.
    """
    notes: list[str] = []
    long = pd.concat(tables, ignore_index=True)
    for name, column in (columns or {}).items():
        if column not in long.columns:
            raise TableError(
                f"map {name}={column}: there is no such column. Columns: {', '.join(map(str, long.columns))}"
            )
        long[name] = long[column]
    if "tokens" not in long or long["tokens"].isna().all():
        if tokens_per_step is None:
            raise TableError(
                "curves count steps, not tokens: give --tokens-per-step (batch size x sequence length),"
                " or --x"
            )
        long["tokens"] = pd.to_numeric(long["step"], errors="coerce") * tokens_per_step
    loss = pd.to_numeric(long["y"], errors="coerce")
    blank = int(loss.isna().sum())
    if blank:
        notes.append(f"{blank} rows without a loss left out (other metrics' rows, or not numbers)")
    long = long[loss.notna()]
    curves = pd.DataFrame(
        {"run": long["run"].astype(str), "tokens": pd.to_numeric(long["tokens"], errors="coerce")}
    )
    curves["step"] = pd.to_numeric(long["step"], errors="coerce") if "step" in long else curves["tokens"]
    curves["nll"] = loss[long.index]
    runs = pd.DataFrame({"run": curves["run"].unique()})
    constant = [
        c
        for c in long.columns
        if c not in ("run", "step", "tokens", "y", *(columns or {}).values())
        and (long.groupby("run")[c].nunique(dropna=False) <= 1).all()
    ]
    if constant:
        runs = runs.merge(
            long.groupby("run", as_index=False)[constant].first().astype({"run": str}), on="run"
        )
    if pattern:
        runs = _from_names(runs, pattern)
    if about is not None:
        runs = _joined(runs, about, notes)
    for name, value in (facts or {}).items():
        runs[name] = value
    if "objective" not in runs:
        runs["objective"] = "unknown"
        notes.append("no objective known: 'unknown' (--set objective=..., --from-name, or --runs)")
    runs["objective"] = runs["objective"].astype(str).replace(dict(renamed or {}))
    for name in ("N", "U"):
        if name not in runs:
            notes.append(f"no {name} known; --set {name}=..., --from-name or --runs would tell")
        else:
            runs[name] = _numbers(runs[name], name)
            axis = _AXES[name]
            if axis not in runs and runs[name].nunique() > 1:  # what tells cells apart, to two digits
                runs[axis] = [float(f"{v:.2g}") for v in runs[name]]
    return Imported(runs, curves.reset_index(drop=True), notes)


_AXES = {"N": "size", "U": "unique_tokens"}
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def _numbers(values: pd.Series, name: str) -> pd.Series:
    """Counts, which people write as 125M or 1.3B."""

    def one(value: object) -> float:
        text = str(value).strip().lower()
        unit = _UNITS.get(text[-1:], 1.0)
        try:
            return float(text[:-1] if unit != 1.0 else text) * unit
        except ValueError:
            raise TableError(f"{name}: {value!r} is not a count, such as 125000000 or 125M") from None

    return values.map(one)


def _from_names(runs: pd.DataFrame, pattern: str) -> pd.DataFrame:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise TableError(f"--from-name {pattern!r} is no regular expression: {error}") from None
    if not compiled.groupindex:
        raise TableError(f"--from-name {pattern!r} names no group; write (?P<objective>...)")
    matches = runs["run"].str.extract(compiled)
    missed = runs["run"][matches.isna().all(axis=1)]
    if len(missed):
        raise TableError(f"--from-name {pattern!r} does not match run {missed.iloc[0]!r}")
    return runs.assign(**{name: matches[name] for name in compiled.groupindex})


def _joined(runs: pd.DataFrame, about: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    name = next((c for c in ("run", "Name", "name", "ID") if c in about.columns), None)
    if name is None:
        raise TableError(
            f"the table of runs has no column 'run'. Columns: {', '.join(map(str, about.columns))}"
        )
    facts = about.rename(columns={name: "run"}).astype({"run": str}).drop_duplicates("run")
    unknown = sorted(set(runs["run"]) - set(facts["run"]))
    if unknown:
        notes.append(f"{len(unknown)} runs are not in the table of runs: {', '.join(unknown[:5])}")
    return runs[["run", *(c for c in runs if c != "run" and c not in facts)]].merge(
        facts, on="run", how="left"
    )
