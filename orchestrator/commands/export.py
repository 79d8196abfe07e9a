"""`crossover export`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.commands.common import emit, guarded, json_option, specs_of, store_option
from orchestrator.store import Store


@click.command("export")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...")
@click.option("--to", type=click.Path(path_type=Path), default=Path("export"), show_default=True, metavar="DIR")
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--mlflow", is_flag=True, help="From MLflow instead of run folders.")
@store_option
@json_option
@guarded
def command(sweeps: tuple[str, ...], to: Path, form: str, mlflow: bool, folder: str | None, as_json: bool) -> None:
    """Write the tables runs, curves and scores of these sweeps, or of every run of the store."""
    from orchestrator import tables
    from orchestrator.plan import plan
    from orchestrator.study import end_points

    store = Store.at(folder)
    if mlflow:
        from orchestrator.tracking import Tracker

        names = [spec.name for spec in specs_of(store, sweeps)]
        found = tables.of_mlflow(Tracker(store), names[0] if names else None)
    elif sweeps:
        found = tables.of_sweep(store, end_points(plan(specs_of(store, sweeps), store)))
    else:
        found = tables.of_store(store)
    paths = tables.write(found, to, form)
    if as_json:
        emit({"files": paths, "runs": len(found.runs), "curves": len(found.curves), "scores": len(found.scores)})
    else:
        for path in paths:
            click.echo(path)
