"""`crossover import`: strangers' curves into tables."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.commands.common import emit, json_option, say
from orchestrator.commands.table_options import map_option, pairs, refusals_as_messages


@click.command("import")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("imported"),
    show_default=True,
    metavar="DIR",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "csv", "wandb", "tensorboard"]),
    default="auto",
    show_default=True,
)
@click.option("--x", metavar="COLUMN", help="The column of steps or tokens (default: a usual name).")
@click.option("--y", metavar="METRIC", help="The loss: a column, metric or tag (default: a usual name).")
@click.option(
    "--tokens-per-step",
    type=click.FloatRange(0, min_open=True),
    metavar="K",
    help="Tokens that one step sees.",
)
@map_option
@click.option(
    "--set",
    "facts",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="True of every run: objective=autoregressive,U=1e9.",
)
@click.option(
    "--from-name",
    "pattern",
    metavar="REGEX",
    help="What runs' names say: '(?P<objective>ar|mdm)-(?P<N>[0-9.]+[MB])'.",
)
@click.option(
    "--rename", "renamed", multiple=True, metavar="OLD=NEW,...", help="Objectives' names: ar=autoregressive."
)
@click.option(
    "--runs",
    "about",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A table of runs: objective, N, U, seed...",
)
@click.option("--parquet", is_flag=True, help="Parquet instead of CSV.")
@json_option
@refusals_as_messages
def command(
    *,
    sources: tuple[Path, ...],
    to: Path,
    form: str,
    x: str | None,
    y: str | None,
    tokens_per_step: float | None,
    mapped: tuple[str, ...],
    facts: tuple[str, ...],
    pattern: str | None,
    renamed: tuple[str, ...],
    about: Path | None,
    parquet: bool,
    as_json: bool,
) -> None:
    """Other people's curves as runs and curves, which `locate`, `fit`, `report --tables` and `plot` read.

    SOURCE is a CSV or Parquet file with a row an evaluation, a chart or history exported from Weights
    & Biases, an event file
    of TensorBoard, or a folder of those (each folder inside is a run). What each run is comes from
    --set, from --from-name or
    from --runs.
    """
    from analysis.tables.imports import assemble, kind, long_table
    from analysis.tables.tables import TableError, read

    parts, notes = [], []
    for source in sources:
        if not source.exists():
            raise TableError(f"no such file or folder: {source}")
        rows, said = long_table(source, kind(source) if form == "auto" else form, y, x)
        parts.append(rows)
        notes += said
    imported = assemble(
        parts,
        columns=pairs(mapped, "--map"),
        facts=pairs(facts, "--set"),
        about=None if about is None else read(about),
        pattern=pattern,
        renamed=pairs(renamed, "--rename"),
        tokens_per_step=tokens_per_step,
    )
    to.mkdir(parents=True, exist_ok=True)
    files = []
    for name, frame in (("runs", imported.runs), ("curves", imported.curves)):
        path = to / f"{name}.{'parquet' if parquet else 'csv'}"
        if parquet:
            frame.to_parquet(path, index=False)
        else:
            frame.to_csv(path, index=False)
        files.append(str(path))
    notes += imported.notes
    if as_json:
        emit(
            {"files": files, "runs": len(imported.runs), "evaluations": len(imported.curves), "notes": notes}
        )
        return
    for file in files:
        click.echo(file)
    say(f"{len(imported.runs)} runs, {len(imported.curves)} evaluations")
    for note in notes:
        say(f"! {note}")
