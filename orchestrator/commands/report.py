"""`crossover report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from orchestrator.commands.common import Wrong, emit, guarded, json_option, say, specs_of, store_option
from orchestrator.commands.table_options import table_files
from orchestrator.store.store import Store, writable


@click.command("report")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...")
@click.option("--tables", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="Instead of a sweep: runs.csv and curves.csv of any study, or .parquet.")  # fmt: skip
@click.option("--mlflow", is_flag=True, help="Read the curves from MLflow instead of run folders.")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write (default: with the sweep, in the store).",
)
@store_option
@json_option
@guarded
def command(
    sweeps: tuple[str, ...],
    tables: Path | None,
    mlflow: bool,
    to: Path | None,
    store: Store,
    as_json: bool,
) -> None:
    """Draw the reports of these sweeps again, finished or not. Trains nothing."""
    from analysis.tables.tables import TableError

    if not sweeps and tables is None:
        raise click.UsageError("name a sweep, or give --tables DIR")
    try:
        written = [_of_tables(tables, to)] if tables is not None else _of_sweeps(store, sweeps, mlflow, to)
    except TableError as error:
        raise Wrong(str(error)) from error
    if as_json:
        data = [json.loads(r.json.read_text()) for r in written]
        emit(data[0] if len(data) == 1 else {"sweeps": data})
    for r in written:
        (say if as_json else click.echo)(f"{r.data['title']}: {r.headline}\n  report: {r.html}")


def _of_sweeps(store: Store, sweeps: tuple[str, ...], mlflow: bool, to: Path | None) -> list[Any]:
    from orchestrator.planning.drafting import make_plan
    from orchestrator.results.records import Records
    from orchestrator.study.studies import Study

    specs = specs_of(store, sweeps)
    if mlflow:
        return [_of_mlflow(store, spec, to) for spec in specs]
    plan, records = make_plan(specs, store), Records(store)
    studies = [Study(store, plan, spec.name, records) for spec in specs]
    return [study.report(to / study.name if to is not None else None) for study in studies]


def _of_mlflow(store: Store, spec: Any, to: Path | None) -> Any:
    from analysis import reporting as report
    from orchestrator.results.tables import of_mlflow
    from orchestrator.tracking.experiment import Tracker

    fields = sorted({*spec.axis_names, *spec.analysis.pair_over} - {"objective", "seed"})
    tables = of_mlflow(Tracker(store), spec.name, fields)
    # A field that no run logged is of a component that none of them uses: there is nothing to tune over.
    over = [f for f in spec.analysis.pair_over if f in tables.runs.columns]
    folder = to / spec.name if to is not None else store.root / "sweeps" / spec.name / "report-mlflow"
    shown = {"spec": spec.snapshot(), "pair": spec.analysis.pair, "pair_over": over}
    return report.write(writable(folder), tables.runs, tables.curves, **shown)


def _of_tables(folder: Path, to: Path | None) -> Any:
    from analysis import reporting as report

    where, name = writable(to or folder / "report"), folder.resolve().name
    files = table_files(folder)
    return report.write(
        where, files["runs"], files["curves"], files.get("scores"), items=files.get("items"), title=name
    )
