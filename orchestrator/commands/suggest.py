"""`crossover suggest`: which runs next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.common import emit, json_option, say
from orchestrator.commands.fit_options import FitRequest, fit_options
from orchestrator.commands.locate import split_pair
from orchestrator.commands.table_options import refusals_as_messages, table_argument

if TYPE_CHECKING:
    import pandas as pd

    from analysis.fitting.result import Fit
    from analysis.laws.base import Law
    from analysis.questions.design import Suggestion
    from orchestrator.store.store import Store


@click.command("suggest", context_settings={"max_content_width": 110})
@table_argument
@fit_options
@click.option(
    "--for",
    "quantity",
    required=True,
    metavar="QUANTITY",
    help="A parameter (alpha), loss(N=7e10,D=1.4e12), N_opt(C=1e24), D_opt(C=1e24), or with --pair"
    " crossover(C,U=1e8).",
)
@click.option(
    "--pair",
    metavar="COLUMN=FIRST,SECOND",
    help="For a crossover: the two whose laws cross (default: the two objectives of the rows).",
)
@click.option(
    "--budget",
    required=True,
    type=click.FloatRange(0, min_open=True),
    metavar="C",
    help="FLOPs (6ND) to spend.",
)
@click.option(
    "--count", type=click.IntRange(1), default=8, show_default=True, metavar="K", help="Runs at most."
)
@click.option(
    "--per-run", type=click.FloatRange(0, min_open=True), metavar="C", help="FLOPs that one run may cost."
)
@click.option(
    "--reach",
    type=click.FloatRange(1),
    default=3.0,
    show_default=True,
    help="How far beyond the data runs may lie.",
)
@click.option(
    "--ladder", metavar="NAME", help="The sizes to choose from (default: that with most sizes near the data)."
)
@click.option(
    "--base", "sweep", metavar="SWEEP", help="The runs share the base of this sweep (a file, or a name)."
)
@click.option("--objective", metavar="NAME", help="The runs' objective (default: the rows', or the base's).")
@click.option("--name", default="next", show_default=True, help="The new sweep's name.")
@json_option
@refusals_as_messages
def command(
    *,
    table: str,
    store: Store,
    mlflow: bool,
    quantity: str,
    pair: str | None,
    budget: float,
    ladder: str | None,
    sweep: str | None,
    objective: str | None,
    name: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Which next runs narrow a quantity of a fitted law most for their FLOPs, as a sweep that runs.

    The sweep goes to stdout, what it is expected to bring to stderr: `crossover suggest runs.csv --for
    alpha --budget 1e17 >
    next.yaml`, then `crossover run next.yaml`. No run comes twice, for a sweep's `seeds` replicate all of its
    runs; neighbours tell nearly as much.
    """
    from analysis.crossover.surfaces.next_runs import parse_crossing, suggest_crossing

    request = FitRequest.of(table, store, mlflow, options)
    if request.estimand == "all":
        raise click.UsageError("--estimand all: choose one to plan for")
    crossing = parse_crossing(quantity)
    if crossing is None and pair is not None:
        raise click.UsageError(f"--pair: {quantity} is a quantity of one law; ask for crossover(C, ...)")
    fits = {"": request.fit()} if crossing is None else _arms(request, pair)
    fits = {name: fit.require() for name, fit in fits.items()}
    fit = list(fits.values())[-1]
    chosen = None if crossing is not None else objective or _objective(request)
    base = _base(sweep, store, chosen, fit.law)
    if crossing is not None:
        base = {k: v for k, v in base.items() if not k.startswith("objective")}
    sizes = _sizes(list(fits.values()), ladder, base, options["reach"])
    limits = {k: options[k] for k in ("count", "per_run", "reach")}
    cap = limits["per_run"] or budget
    choices = {k: _choices(f, sizes, cap, limits["reach"]) for k, f in fits.items()} if sizes else {}
    if crossing is None:
        plan = fit.suggest(quantity, budget, **limits, choices=choices.get(""), repeats=False)
    else:
        plan = suggest_crossing(fits, *crossing, budget, **limits, choices=choices or None, repeats=False)
    text = to_yaml(plan, name, base, sizes)
    if as_json:
        emit(
            {
                "quantity": quantity,
                "before": plan.before,
                "after": plan.after,
                "spent": plan.spent,
                "basins": plan.basins,
                "runs": plan.runs.to_dict("records"),
                "warnings": [*(w for f in fits.values() for w in f.warnings), *plan.warnings],
                "yaml": text,
            }
        )
        return
    say(str(plan))
    click.echo(text, nl=False)


def _objective(request: FitRequest) -> str | None:
    """The one objective of the rows, if they tell it."""
    from analysis.tables.where import select

    frame, where = request.rows, request.given["where"]
    if "objective" not in frame.columns:
        return None
    if where:
        try:
            frame = frame[select(where, {str(c): frame[c] for c in frame.columns})]
        except ValueError:
            return None
    names = frame["objective"].dropna().unique()
    return str(names[0]) if len(names) == 1 else None


def _arms(request: FitRequest, pair: str | None) -> dict[str, Fit]:
    """The law fitted to each of two objectives' rows."""
    from analysis.crossover.same_n.location import PAIR
    from analysis.fitting.fitting import fit

    column, two = split_pair(pair)
    column = column or "objective"
    if column not in request.rows.columns:
        raise click.UsageError(f"--pair: the table has no column {column!r}: --pair COLUMN=FIRST,SECOND")
    labels = request.rows[column].astype(str)
    there = tuple(labels[request.rows[column].notna()].unique())
    names = two or (PAIR if set(PAIR) <= set(there) else there)
    if len(names) != 2 or not set(names) <= set(labels):
        raise click.UsageError(f"--pair: a crossover is one of two; {column} has {', '.join(there)}")
    return {n: fit(request.rows[labels == n], request.law, **request.options()) for n in names}


def _sizes(fits: list[Fit], ladder: str | None, base: dict[str, Any], reach: float) -> dict[str, float]:
    """Names of sizes near the data and their N, counted as the sweep's base counts them."""
    columns = [f.data["N"] for f in fits if f.data is not None and "N" in f.law.variables]
    if not columns:
        return {}
    from orchestrator.language.derived.ladders import LADDERS

    if ladder is not None and ladder not in LADDERS:
        raise click.UsageError(f"--ladder {ladder!r}: one of {', '.join(LADDERS)}")
    low, high = min(c.min() for c in columns) / reach, max(c.max() for c in columns) * reach
    near = {
        family: {n: v for n, v in _counted(list(LADDERS[family]), base).items() if low <= v <= high}
        for family in ([ladder] if ladder else LADDERS)
    }
    best = max(near, key=lambda family: len(near[family]))
    if not near[best]:
        raise click.UsageError(
            f"no size of {ladder or 'any ladder'} lies between {low:.3g} and {high:.3g} parameters; raise"
            " --reach, or check with --map that N is counted in ones"
        )
    return near[best]


def _counted(names: list[str], base: dict[str, Any]) -> dict[str, float]:
    """Name -> N of each size, embeddings included, under this base."""
    from orchestrator.study.sweeps import Sweep

    sweep = {"name": "sizes", "base": {**base, "budget.tokens": "1M"}, "axes": {"model.size": names}}
    out: dict[str, float] = {}
    for point in Sweep.from_dict(sweep).end_points():
        config = point.config
        counted = config.counts
        out[str(point.axes["model.size"])] = float(counted.total)
    return out


def _choices(fit: Fit, sizes: dict[str, float], cap: float, reach: float) -> pd.DataFrame:
    """Every size at the tokens (and unique tokens, qualities) that `analysis.questions.design.candidates`
    would offer."""
    import pandas as pd

    from analysis.questions.design import candidates

    grid = candidates(fit, float("inf"), reach).drop(columns=["N", "C"]).drop_duplicates()
    rows = grid.merge(pd.DataFrame({"N": list(sizes.values())}), how="cross")
    if "D" not in rows:
        raise click.UsageError(f"{fit.law.name} knows no D, so a run has no length; fit a law of N and D")
    return rows[6.0 * rows["N"] * rows["D"] <= cap].reset_index(drop=True)


def _base(sweep: str | None, store: Store, objective: str | None, law: Law) -> dict[str, Any]:
    """What the runs have in common: the base of a sweep, less its horizon and what the law varies."""
    from orchestrator.commands.common import specs_of

    base: dict[str, Any] = {}
    if sweep is not None:
        shared = specs_of(store, [sweep])[0].snapshot().get("base", {})
        dropped = ("budget", "steps", *(("data.unique",) if "U" in law.variables else ()))
        base = {k: v for k, v in shared.items() if not k.startswith(dropped)}
        if "U" in law.variables and isinstance(base.get("data"), dict):
            base["data"] = {k: v for k, v in base["data"].items() if not k.startswith("unique")}
    if objective is not None:
        base = {k: v for k, v in base.items() if not k.startswith("objective")} | {"objective": objective}
    return base


def to_yaml(plan: Suggestion, name: str, base: dict[str, Any], sizes: dict[str, float]) -> str:
    """The runs as a sweep: one zipped group of points."""
    points = []
    for row in plan.runs.to_dict("records"):
        point: dict[str, Any] = {"objective": row["objective"]} if "objective" in row else {}
        if "N" in row:
            point["model.size"] = min(sizes, key=lambda s: abs(sizes[s] - float(row["N"])))
        if "U" in row:
            point["data.unique_tokens"] = round(float(row["U"]))
        if "D" in row:
            point["budget.tokens"] = round(float(row["D"]))
        points.append(point)
    described = (
        f"{len(points)} runs that narrow {plan.quantity} from {plan.before:.3g} to {plan.after:.3g} (standard"
        " error)"
    )
    return _dump(
        {"name": name, "description": described, **({"base": base} if base else {}), "zip": [points]}
    )


def _dump(sweep: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(sweep, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
