"""`crossover locate`: where the curves of two objectives cross."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.common import CommandError, emit, json_option
from orchestrator.commands.table_options import (
    TABLE_ENDINGS,
    map_option,
    pairs,
    refusals_as_messages,
    study_tables,
    table_argument,
)

if TYPE_CHECKING:
    from analysis.crossover.places.cure import Cure
    from analysis.crossover.study import Crossovers
    from orchestrator.store.store import Store


@click.command("locate")
@table_argument
@click.option(
    "--pair",
    metavar="COLUMN=FIRST,SECOND",
    help="Which two to compare; SECOND is expected to pass FIRST. Default: the sweep's own.",
)
@click.option(
    "--x", default="tokens", show_default=True, metavar="COLUMN", help="Tokens, epochs or FLOPs seen."
)
@click.option(
    "--y",
    metavar="COLUMN",
    help="Of a table: the loss (default: val_nll, val_loss or loss), or with --better any metric.",
)
@click.option("--by", metavar="COLUMN,...", help="What makes a cell: unique_tokens,size.")
@click.option("--replicate", metavar="COLUMN", help="The column of seeds (default: seed).")
@click.option("--run", metavar="COLUMN", help="The column of runs (default: pair, cell and seed make one).")
@click.option("--error", metavar="COLUMN", help="Standard error of the loss.")
@click.option(
    "--likelihood", multiple=True, metavar="NAME=KIND,...", help="exact or upper_bound, for each of the pair."
)
@map_option
@click.option("--where", metavar="EXPR", help="Keep these rows.")
@click.option(
    "--pair-over", metavar="COLUMN,...", help="Fields tuned for each objective: the best of them counts."
)
@click.option(
    "--minima",
    type=click.Choice(["each", "passed"]),
    default="each",
    show_default=True,
    help="The arms whose minimum must be bracketed before a crossing of best values counts. each: both, so"
    " that neither could still improve. passed: only the first, which is passed; the second can only"
    " improve its lead.",
)
@click.option(
    "--cure", is_flag=True, help="Test whether a fraction of the cells never crosses, and estimate it."
)
@click.option(
    "--metric",
    metavar="NAME",
    help="Of a study: what to compare, such as continuation_accuracy; the columns NAME_a and NAME_b of its"
    " curves. Default: nll.",
)
@click.option(
    "--better",
    type=click.Choice(["lower", "higher"]),
    help="Which values of the metric are better: higher, as of an accuracy, or lower. Of a loss: lower.",
)
@click.option(
    "--level", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.95, show_default=True
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="The map as FILE.png, or all figures in DIR.",
)
@json_option
@refusals_as_messages
def command(
    table: str,
    store: Store,
    mlflow: bool,
    pair: str | None,
    level: float,
    cure: bool,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Locate where the second of two objectives passes the first, at equal size, cell by cell.

    TABLE has one row an evaluation (CSV or Parquet), or is a folder with runs and curves, or a sweep.
    A cell in which nothing crossed gives a bound. Beside every verdict stand how often replicates of one
    objective cross each other, and what the kinds of likelihood allow one to say.
    """
    crossovers, unit = _locate(table, store, mlflow, pair, level, options)
    record = {**crossovers.json(), "unit": unit}
    cured = _cure(crossovers, unit) if cure else {}
    if cure:
        record["cure"] = {definition: c.json() for definition, c in cured.items()}
    if plot is not None:
        record["figures"] = _draw(crossovers, plot)
    if as_json:
        emit(record)
    else:
        if not crossovers.cells:
            from analysis.crossover.summary import nothing

            raise CommandError(f"no two runs could be compared: {nothing(crossovers)}")
        click.echo(crossovers.text(unit))
        for definition, c in cured.items():
            click.echo(f"{definition.replace('_', ' ')}: {c}")
        if cure and not cured:
            click.echo(
                "--cure: fewer than three crossings in two cells, so no law of the crossing to compare"
            )
        for path in record.get("figures", []):
            click.echo(path)


def _locate(
    source: str, store: Store, mlflow: bool, pair: str | None, level: float, options: dict[str, Any]
) -> tuple[Crossovers, str]:
    """The crossovers, and the unit that their places are asked for in."""
    from analysis.crossover import locate
    from analysis.tables.longform import split
    from analysis.tables.tables import read

    over = _names(options["pair_over"])
    shared = {
        "confidence": level,
        "better": options["better"],
        "minima": options["minima"],
        "pair_over": over,
    }
    column, two = split_pair(pair)
    if Path(source).is_file() and source.lower().endswith(TABLE_ENDINGS):
        if options["metric"]:
            raise click.UsageError("--metric: for a study; the metric of a table is its column --y")
        rows = read(source)
        if two is None:
            raise click.UsageError(
                "--pair: say which column tells the two apart: --pair"
                " objective=autoregressive,masked_diffusion"
            )
        y = options["y"] or next(
            (c for c in ("val_nll", "val_loss", "nll_b", "nll", "loss") if c in rows), "val_nll"
        )
        long = split(
            rows,
            column=str(column),
            pair=two,
            x=options["x"],
            y=y,
            by=[*_names(options["by"]), *over],
            replicate=options["replicate"],
            run=options["run"],
            columns=pairs(options["mapped"], "--map"),
            where=options["where"],
            likelihood=pairs(options["likelihood"], "--likelihood"),
            error=options["error"],
        )
        curves, metric = long.curves, "nll"
        if options["better"]:
            metric = y
            names = {f"nll_{h}": f"{y}_{h}" for h in "ab"} | {f"se_{h}": f"{y}_se_{h}" for h in "ab"}
            curves = curves.assign(**{names[c]: curves[c] for c in names if c in curves})
        crossovers = locate(long.runs, curves, pair=two, axes=long.axes, metric=metric, **shared)
        return replace(crossovers, notes=(*long.notes, *crossovers.notes)), long.unit
    given = [
        f"--{k.replace('_', '-')}"
        for k in ("y", "by", "replicate", "run", "error", "where", "likelihood", "mapped")
        if options[k]
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: for a table of evaluations; a study's tables have columns of their own"
        )
    if column not in ("objective", None):
        raise click.UsageError(f"--pair {column}=...: a study's runs are told apart by their objective")
    study = study_tables(source, store, mlflow)
    if two is None and not Path(source).is_dir() and not mlflow:
        from orchestrator.commands.common import specs_of

        analysis = specs_of(store, [source])[0].analysis
        two, shared["pair_over"] = analysis.pair, [*over, *analysis.pair_over]
    unit = options["x"] if options["x"] in ("tokens", "epochs", "flops") else "tokens"
    crossovers = locate(
        study["runs"],
        study["curves"],
        study.get("scores"),
        items=study.get("items"),
        pair=two,
        metric=options["metric"] or "nll",
        **shared,
    )
    return crossovers, unit


def split_pair(text: str | None) -> tuple[str | None, tuple[str, str] | None]:
    """``COLUMN=FIRST,SECOND`` as given to --pair."""
    if text is None:
        return None, None
    column, equals, values = text.partition("=")
    two = _names(values)
    if not equals or len(two) != 2:
        raise click.UsageError(
            f"--pair {text!r}: write COLUMN=FIRST,SECOND, such as objective=autoregressive,masked_diffusion"
        )
    return column.strip(), (two[0], two[1])


def _names(text: str | None) -> list[str]:
    return [n.strip() for n in (text or "").split(",") if n.strip()]


def _cure(crossovers: Crossovers, unit: str) -> dict[str, Cure]:
    """By definition, whether the law of the crossing wants cells that never cross."""
    laws = {d: crossovers.law(d, unit, cure=True) for d in ("raw", "best_so_far")}
    return {d: law.cure for d, law in laws.items() if law is not None and law.cure is not None}


def _draw(crossovers: Crossovers, path: Path) -> list[str]:
    """Write the map (or the only figure) to a file, or all figures into a folder."""
    from analysis.plots import draw

    if path.suffix.lower() in (".png", ".svg"):
        plots = [crossovers.plot().write(path)]
    else:
        plots = [drawing.write(path / name) for name, drawing in draw(crossovers).items()]
    return [str(file) for plot in plots for file in (plot.png, plot.svg, plot.csv)]
