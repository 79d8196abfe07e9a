"""`crossover locate`: where the curves of two objectives cross."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analysis.tables.wording import human
from orchestrator.commands.common import Wrong, emit, json_option, table
from orchestrator.commands.table_options import (
    TABLE_ENDINGS,
    map_option,
    pairs,
    refusing,
    study_tables,
    table_argument,
)

if TYPE_CHECKING:
    from analysis.crossover.place import Place
    from analysis.crossover.places.cure import Cure
    from analysis.crossover.same_n.cell_places import CellCrossover
    from analysis.crossover.same_n.location import Crossovers
    from analysis.crossover.study import StudyAnalysis
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
@click.option("--y", metavar="COLUMN", help="The loss (default: val_nll, val_loss or loss).")
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
@click.option("--higher-is-better", is_flag=True, help="More of the metric is better, as of an accuracy.")
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
@refusing
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
    """Where the second of two objectives passes the first, same size against same size, cell by cell.

    TABLE has one row an evaluation (CSV or Parquet), or is a folder with runs and curves, or a sweep.
    Cells in which
    nothing crossed give bounds, not gaps. Beside every verdict stands how often replicates of one
    objective cross
    each other, and what the kinds of likelihood allow one to say.
    """
    from analysis.crossover.study import analyse

    crossovers, unit, notes = _locate(table, store, mlflow, pair, level, options)
    study = analyse(crossovers)
    record = study.json()
    record["notes"] = [*notes, *record["notes"]]
    record["unit"] = unit
    cured = _cure(crossovers, unit) if cure else {}
    if cure:
        record["cure"] = {definition: c.json() for definition, c in cured.items()}
    if plot is not None:
        record["figures"] = _draw(study, plot)
    if as_json:
        emit(record)
    else:
        click.echo(_page(study, unit, record["notes"]))
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
) -> tuple[Crossovers, str, list[str]]:
    from analysis.crossover.same_n.location import locate
    from analysis.tables.longform import split
    from analysis.tables.tables import read

    over = _names(options["pair_over"])
    shared = {
        "confidence": level,
        "higher_is_better": options["higher_is_better"],
        "minima": options["minima"],
        "pair_over": over,
    }
    column, two = split_pair(pair)
    if Path(source).is_file() and source.lower().endswith(TABLE_ENDINGS):
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
        if options["higher_is_better"]:
            curves, metric = curves.assign(metric_a=curves["nll_a"], metric_b=curves["nll_b"]), "metric"
        crossovers = locate(long.runs, curves, pair=two, axes=long.axes, metric=metric, **shared)
        return crossovers, long.unit, long.notes
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
    runs, curves, scores = study_tables(source, store, mlflow)
    if two is None and not Path(source).is_dir() and not mlflow:
        from orchestrator.commands.common import specs_of

        analysis = specs_of(store, [source])[0].analysis
        two, shared["pair_over"] = analysis.pair, [*over, *analysis.pair_over]
    unit = options["x"] if options["x"] in ("tokens", "epochs", "flops") else "tokens"
    return locate(runs, curves, scores, pair=two, **shared), unit, []


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
    from analysis.crossover.places.censored_law import crossing_law

    laws = {d: crossing_law(crossovers, d, unit, cure=True) for d in ("raw", "best_so_far")}
    return {d: law.cure for d, law in laws.items() if law is not None and law.cure is not None}


def _page(study: StudyAnalysis, unit: str, notes: list[str]) -> str:
    crossovers, v = study.crossovers, study.verdict
    if not crossovers.cells:
        reasons = sorted({e["reason"] for e in crossovers.excluded})
        raise Wrong(
            "no two runs could be compared: "
            + ("; ".join(reasons) or "the pair shares no cell and replicate")
        )
    lines = [v.headline, v.scope, "", f"places in {unit}, {crossovers.confidence:.0%} intervals"]
    rows = []
    for definition in ("raw", "best_so_far"):
        for r in crossovers.select(definition, unit):
            rows.append(
                [
                    r.cell,
                    definition.replace("_", " "),
                    _place(r),
                    f"{r.crossed}/{r.replicates}",
                    _remark(r),
                ]
            )
    lines.append(table(["cell", "curve", "place", "crossed", ""], rows))
    for law in study.laws.values():
        if law is not None and law.unit == unit and law.coefficients():
            slopes = ", ".join(
                f"{c.name} {c.value:+.2f} [{c.low:+.2f}, {c.high:+.2f}]" for c in law.coefficients()
            )
            lines.append(
                f"law of the {law.definition.replace('_', ' ')} crossing, slopes of its logarithm: {slopes}"
            )
    lines += _other_kinds(study)
    if study.ratios:
        first, second = crossovers.names
        ratios = [[r.cell, _place(r), "" if r.settled else "a lower bound"] for r in study.ratios]
        lines += ["", f"unique data that {first} needs for {second}'s best loss, times its own"]
        lines.append(table(["cell", "ratio", ""], ratios))
    lines += ["", v.evidence, v.control]
    if crossovers.crossings:
        lines.append(f"assumes: {crossovers.crossings[0].assumption}")
    counts: dict[str, int] = {}
    for e in crossovers.excluded:
        counts[e["reason"]] = counts.get(e["reason"], 0) + 1
    lines += [f"! {n} left out: {reason}" for reason, n in counts.items()]
    lines += [f"! {n}" for n in dict.fromkeys(notes)]
    return "\n".join(lines)


def _other_kinds(study: StudyAnalysis) -> list[str]:
    """Compute-optimal crossings and those of fitted laws: other quantities, so in tables of their own."""
    lines = []
    for title, crossings, refused in (
        ("compute-optimal (between fronts), in FLOPs", study.fronts.crossings, study.fronts.refused),
        ("law against law, in FLOPs", study.arm_laws.meetings, ()),
    ):
        if crossings:
            lines += ["", title, table(["cell", "place"], [[c.cell, _place(c)] for c in crossings])]
        if refused:
            reasons = sorted({r["reason"] for r in refused})
            lines += ["", f"{title}: none in {len(refused)} cells: {'; '.join(reasons)}"]
    return lines


def _place(place: Place) -> str:
    """The place and its interval, or its bound."""
    if place.value is None:
        return "-"
    if place.censored:
        return f"{'>' if place.censored == 'right' else '<'} {human(place.value)}"
    if "no interval" in place.assumption:
        return f"{human(place.value)}, no interval"
    low, high = ("unbounded" if end is None else human(end) for end in (place.low, place.high))
    return f"{human(place.value)} [{low}, {high}]"


def _remark(crossing: CellCrossover) -> str:
    if crossing.censored is not None:
        return "on the start-up plateau only" if crossing.on_plateau else "a bound"
    again = max(sum(c.robust for c in o.others) for o in crossing.outcomes)
    words = (
        ("not robust", not crossing.robust),
        ("past the minimum", crossing.past_minimum),
        (f"{again} more", again > 0),
    )
    return ", ".join(w for w, applies in words if applies)


def _draw(study: StudyAnalysis, path: Path) -> list[str]:
    """Write the map (or the only figure) to a file, or all figures into a folder."""
    from analysis.plots import draw

    drawings = draw(study)
    if path.suffix.lower() in (".png", ".svg"):
        name = "crossover_map" if "crossover_map" in drawings and len(study.crossovers.cells) > 1 else ""
        plots = [drawings.get(name, next(iter(drawings.values()))).write(path)]
    else:
        plots = [drawing.write(path / name) for name, drawing in drawings.items()]
    return [str(file) for plot in plots for file in (plot.png, plot.svg, plot.csv)]
