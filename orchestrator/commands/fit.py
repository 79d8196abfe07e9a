"""`crossover fit`: a law to anybody's table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.common import emit, json_option, say, store_option, table
from orchestrator.commands.fit_options import FitRequest, fit_options
from orchestrator.commands.table_options import (
    by_option,
    labelled,
    numbers,
    plot_option,
    refusals_as_messages,
)

if TYPE_CHECKING:
    from analysis.fitting.result import Fit
    from orchestrator.store.store import Store


FAR = 1.5
"""Times beyond the largest budget from which on a prediction is back-tested."""
STARTS = 64
"""Starts of a back-test's refits, unless --starts says."""


@click.command("fit", context_settings={"max_content_width": 110})
@click.argument("source", required=False, metavar="TABLE")
@click.argument("more", nargs=-1, metavar="")
@fit_options
@click.option(
    "--compare",
    multiple=True,
    metavar="LAW...",
    help="Fit these laws to the same rows too, and rank them. Repeatable; further laws may follow the first.",
)
@by_option
@click.option(
    "--loss",
    "losses",
    multiple=True,
    metavar="COLUMN,...",
    help="A fit of its own for each of these columns of losses: val_*. Repeatable.",
)
@click.option("--joint", is_flag=True, help="With --fix: beside it the fit in which nothing is frozen.")
@click.option("--check", is_flag=True, help="Lack of fit, influential rows, and back-tests.")
@click.option("--predict", multiple=True, metavar="N=..,D=..", help="Predict there. Repeatable.")
@click.option(
    "--at", "budgets", multiple=True, type=float, metavar="C", help="Best N and D for C FLOPs. Repeatable."
)
@plot_option
@click.option("--list", "listing", is_flag=True, help="The laws there are, with their formulas.")
@click.option("--mlflow", is_flag=True, help="TABLE is a sweep's name; read it from MLflow.")
@store_option
@json_option
@refusals_as_messages
@click.pass_context
def command(
    ctx: click.Context,
    source: str | None,
    more: tuple[str, ...],
    by: str | None,
    listing: bool,
    mlflow: bool,
    store: Store,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit a scaling law to a table, and say how far it can be trusted.

    TABLE is a CSV or Parquet file, a folder with runs and curves, or a sweep (each run's last loss is a
    row). --law takes a name (see --list) or a formula, such as "E + A/N**alpha + B/D**beta". Rows of
    several objectives need --where or --by. Exit code 1: a fit did not converge.
    """
    if listing:
        _list(as_json)
        return
    if source is None:
        raise click.UsageError("give a table, or --list")
    if more and not options["compare"]:
        raise click.UsageError(f"unexpected {' '.join(more)}: one table at a time")
    options["compare"] += more
    request = FitRequest.of(source, store, mlflow, options)
    answers = {k: _answer(a, k, options) for k, a in request.by(by).items()}
    if as_json:
        records = {k: a.record for k, a in answers.items()}
        emit(records[""] if list(records) == [""] else {"by": by, "fits": records})
    else:
        click.echo(
            "\n\n\n".join("\n\n".join([*([f"== {k}"] if k else []), *a.text]) for k, a in answers.items())
        )
    ctx.exit(0 if all(a.converged for a in answers.values()) else 1)


@dataclass(frozen=True)
class Answer:
    """What the command says of one fit: as JSON, as paragraphs, and whether there is a fit at all."""

    record: dict[str, Any]
    text: list[str]
    converged: bool


def _answer(request: FitRequest, label: str, options: dict[str, Any]) -> Answer:
    if request.estimand == "all":
        return _estimands(request)
    fit = request.fit()
    record = fit.to_dict()
    text = [str(fit)]
    plot = None if options["plot"] is None else labelled(options["plot"], label)
    for add in (
        _score(fit),
        _joint(request, fit) if options["joint"] else {},
        _compare(request, options["compare"]) if options["compare"] else {},
        _predictions(request, fit, options["predict"]) if fit.converged else {},
        _allocations(fit, options["budgets"]) if fit.converged else {},
        _check(request, fit) if options["check"] and fit.converged else {},
        _draw(fit, plot) if plot is not None and fit.converged else {},
    ):
        text += [v["text"] for v in add.values()]
        record |= {k: v["json"] for k, v in add.items()}
    return Answer(record, text, fit.converged)


def _list(as_json: bool) -> None:
    from analysis.laws import list_laws

    laws = list_laws()
    if as_json:
        emit(laws)
        return
    rows = [[law["name"], law["formula"], law["target"], law["interval"]] for law in laws]
    click.echo(table(["law", "formula", "of", "interval"], rows))
    from analysis.laws.formula import RESERVED

    say("bnslK: K breaks. Or give a formula, such as 'E + A/N**alpha'. In it these names are variables:")
    say("  " + ", ".join(f"{name} ({meaning})" for name, meaning in RESERVED.items()))
    say("  and every column of the table and name of --map. Other names are positive parameters; '| real c'")
    say("  behind the formula allows c to be negative")


def _score(fit: Fit) -> dict[str, Any]:
    if fit.heldout is None or not fit.converged:
        return {}
    score = fit.score()
    return {"holdout": {"text": f"held out: {score}", "json": score.as_dict()}}


def _joint(request: FitRequest, fit: Fit) -> dict[str, Any]:
    if not fit.frozen:
        raise click.UsageError("--joint stands beside --fix; nothing is frozen here")
    free = request.fit(fix={})
    return {"joint": {"text": f"beside it, nothing frozen\n{free}", "json": free.to_dict()}}


def _compare(request: FitRequest, laws: tuple[str, ...]) -> dict[str, Any]:
    from analysis.questions.criticism import compare

    laws = tuple(dict.fromkeys((request.law, *laws)))
    comparison = compare(request.rows, laws, **request.options(interval="none"))
    text = f"compared on the same rows, best first\n{comparison}"
    return {"compare": {"text": text, "json": comparison.as_dict()}}


def _predictions(request: FitRequest, fit: Fit, predict: tuple[str, ...]) -> dict[str, Any]:
    if not predict:
        return {}
    import pandas as pd

    rows = pd.DataFrame([numbers([p], "--predict") for p in predict])
    missing = [v for v in fit.law.variables if v not in rows or rows[v].isna().any()]
    if missing:
        raise click.UsageError(f"--predict: {fit.law.name} needs {', '.join(fit.law.variables)}")
    known = fit.diagnostics.interval != "none"
    out = rows[list(fit.law.variables)].join(fit.predict(rows, interval=known))
    lines = [f"predictions of {fit.law.target} (low, high: of the law, if it is right)"]
    warnings: list[str] = []
    if known:
        new = fit.extrapolate(rows)
        out["run_low"], out["run_high"], out["beyond"] = new["low"], new["high"], new["beyond"]
        lines[0] = lines[0][:-1] + "; run_low, run_high: of a new run, allowing the law to drift)"
        far = float(new["beyond"].max())
        if far > FAR:
            tested = fit.back_test(starts=request.given["starts"] or STARTS)
            out["calibrated"] = tested.is_calibrated(new["beyond"].to_numpy())
            warnings.append(f"{far:.3g} times beyond the largest budget; back-test: {tested}")
    lines.append(out.to_string(index=False, float_format=lambda v: f"{v:.5g}"))
    lines += [f"! {w}" for w in warnings]
    return {"predictions": {"text": "\n".join(lines), "json": out.to_dict("records")}}


def _allocations(fit: Fit, budgets: tuple[float, ...]) -> dict[str, Any]:
    if not budgets:
        return {}
    best = [fit.optimal(c) for c in budgets]
    return {"optimal": {"text": "\n".join(map(str, best)), "json": [b.as_dict() for b in best]}}


def _check(request: FitRequest, fit: Fit) -> dict[str, Any]:
    check = fit.check(starts=request.given["starts"])
    return {"check": {"text": str(check), "json": check.as_dict()}}


def _draw(fit: Fit, path: Path) -> dict[str, Any]:
    plot = fit.plot().write(path)
    files = [str(p) for p in (plot.png, plot.svg, plot.csv)]
    return {"figures": {"text": "figure: " + "  ".join(files), "json": files}}


def _estimands(request: FitRequest) -> Answer:
    from analysis.questions.estimand_table import fit_estimands

    options = {k: v for k, v in request.options().items() if k not in ("estimand",)}
    comparison = fit_estimands(request.rows, request.law, **options)
    first = next(iter(comparison.fits.values()))
    fits = {k: f.to_dict() for k, f in comparison.fits.items()}
    text = f"{first.law.name}: {first.law.formula}\nn = {first.n}\n{comparison}"
    return Answer({"law": request.law, "estimands": fits, "flags": comparison.flags()}, [text], True)
