"""`crossover report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.common import emit, errors_as_messages, json_option, say, specs_of, store_option
from orchestrator.commands.table_options import table_files
from orchestrator.store.store import Store, writable

if TYPE_CHECKING:
    from analysis.crossover.same_n.metrics import Better
    from orchestrator.study.studies import Study


@click.command("report")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...")
@click.option("--tables", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="DIR",
              help="Instead of a sweep: runs.csv and curves.csv of any study, or .parquet.")  # fmt: skip
@click.option("--mlflow", is_flag=True, help="Read the curves from MLflow instead of run folders.")
@click.option(
    "--metric",
    metavar="NAME",
    default="nll",
    show_default=True,
    help="What is compared: nll, or a metric of an evaluation task. Example: continuation_accuracy.",
)
@click.option(
    "--better",
    type=click.Choice(["lower", "higher"]),
    help="Which values of the metric are better, where nothing declares it.",
)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write (default: with the sweep, in the store).",
)
@store_option
@json_option
@errors_as_messages
def command(
    sweeps: tuple[str, ...],
    tables: Path | None,
    mlflow: bool,
    metric: str,
    better: Better | None,
    to: Path | None,
    store: Store,
    as_json: bool,
) -> None:
    """Draw the reports of these sweeps again, finished or not. Trains nothing."""
    if not sweeps and tables is None:
        raise click.UsageError("name a sweep, or give --tables DIR")
    compared: dict[str, Any] = {"metric": metric, "better": better}
    if tables is not None:
        written = [_of_tables(tables, to, compared)]
    else:
        written = [
            study.report(to / study.name if to is not None else None, mlflow=mlflow, **compared)
            for study in _studies(store, sweeps)
        ]
    if as_json:
        data = [r.data for r in written]
        emit(data[0] if len(data) == 1 else {"sweeps": data})
    for r in written:
        (say if as_json else click.echo)(f"{r.data['title']}: {r.headline}\n  report: {r.html}")


def _studies(store: Store, sweeps: tuple[str, ...]) -> list[Study]:
    from orchestrator.planning.drafting import make_plan
    from orchestrator.results.records import Records
    from orchestrator.study.studies import Study

    plan, records = make_plan(specs_of(store, sweeps), store), Records(store)
    return [Study(store, plan, spec.name, records) for spec in plan.specs]


def _of_tables(folder: Path, to: Path | None, compared: dict[str, Any]) -> Any:
    from analysis import reporting as report

    where, name = writable(to or folder / "report"), folder.resolve().name
    files = table_files(folder)
    return report.write(
        where,
        files["runs"],
        files["curves"],
        files.get("scores"),
        items=files.get("items"),
        title=name,
        **compared,
    )
