"""`crossover export`: tables, or a run's weights."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.commands.common import (
    emit,
    errors_as_messages,
    json_option,
    say,
    size,
    specs_of,
    store_option,
)
from orchestrator.store.store import Store, writable


class Export(click.Group):
    """``export [SWEEP]...`` are the tables; other subcommands go by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["tables", *args]
        return super().parse_args(ctx, args)


@click.group(
    "export",
    cls=Export,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="[SWEEP]... | weights RUN",
)
def command() -> None:
    """Tables of these sweeps, or of every run of the store, as CSV or Parquet; or the weights of a run.

    `crossover export [SWEEP]...` is short for `crossover export tables [SWEEP]...`.
    """


@command.command("tables")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...")
@click.option(
    "--to", type=click.Path(path_type=Path), default=Path("export"), show_default=True, metavar="DIR"
)
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
@click.option("--mlflow", is_flag=True, help="From MLflow instead of run folders.")
@store_option
@json_option
@errors_as_messages
def tables_command(
    sweeps: tuple[str, ...], to: Path, form: str, mlflow: bool, store: Store, as_json: bool
) -> None:
    """Write the tables runs, curves and scores of these sweeps, or of every run of the store."""
    from orchestrator.planning.drafting import make_plan
    from orchestrator.results import tables

    if mlflow:
        from orchestrator.tracking.experiment import Tracker

        if len(sweeps) > 1:
            raise click.UsageError("--mlflow: name one sweep, or none for all runs")
        names = [spec.name for spec in specs_of(store, sweeps)]
        result = tables.of_mlflow(Tracker(store), names[0] if names else None)
    elif sweeps:
        result = tables.of_sweep(store, make_plan(specs_of(store, sweeps), store).end_points())
    else:
        result = tables.of_store(store)
    paths = tables.write(result, writable(to), form)
    if as_json:
        emit(
            {
                "files": paths,
                "runs": len(result.runs),
                "curves": len(result.curves),
                "scores": len(result.scores),
            }
        )
    else:
        for path in paths:
            click.echo(path)


@command.command("weights")
@click.argument("key", metavar="RUN")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where (default: export/RUN).",
)
@click.option("--at", type=click.IntRange(1), metavar="STEP", help="The checkpoint (default: the newest).")
@store_option
@json_option
@errors_as_messages
def weights_command(key: str, to: Path | None, at: int | None, store: Store, as_json: bool) -> None:
    """Write a run's weights as safetensors, with a config.

    An autoregressive run becomes a Qwen3 (QK-norm) or Llama that `transformers` loads. Other objectives have
    no counterpart there: theirs are written under this project's own names, for
    `trainers.run.exporting.load`. tokenizer.json lies beside them, and begins with BOS where the run does.
    """
    from trainers.run.exporting import WEIGHTS, export
    from trainers.run.trained import Trained

    key = store.find(key)
    to = to or Path("export") / key
    trained = Trained.load(store.run(key), at, data_root=store.data)
    layout = export(trained, writable(to))
    if as_json:
        emit({"run": key, "step": trained.step, "folder": str(to), "layout": layout})
        return
    click.echo(to)
    about = f"step {trained.step}, {size((to / WEIGHTS).stat().st_size)}"
    if layout == "crossover":
        name = trained.config.objective.name
        say(f"{about}; {name} has no counterpart in transformers: trainers.run.exporting.load reads it")
    else:
        bos = trained.config.data.tokenizer.vocab
        say(f"{about}, as {layout}; feed {bos} (BOS) before the first token")
