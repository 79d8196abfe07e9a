"""`crossover plan`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from analysis.tables.wording import human
from orchestrator.commands.common import (
    emit,
    errors_as_messages,
    json_option,
    say,
    size,
    specs_of,
    store_option,
    sweep_options,
    table,
)
from orchestrator.execution.live import duration
from orchestrator.language.extension import FILE as EXTENDED
from orchestrator.store.store import Store
from orchestrator.study.stopping import FILE as STOPPED

if TYPE_CHECKING:
    from orchestrator.language.spec import SweepSpec
    from orchestrator.planning.plans import Plan


UNITS = (("core", "core"), ("gpu", "GPU"))


@click.command("plan")
@sweep_options
@store_option
@json_option
@errors_as_messages
def command(
    sweeps: tuple[str, ...],
    settings: tuple[str, ...],
    only: tuple[str, ...],
    store: Store,
    as_json: bool,
) -> None:
    """What these sweeps take. Trains nothing, and writes nothing.

    One row an end point; a run that several sweeps share is counted once.
    """
    from orchestrator.planning.drafting import make_plan

    planned = make_plan(specs_of(store, sweeps, settings, only), store)
    if as_json:
        emit(planned.json())
    else:
        click.echo(rows(planned))
        click.echo(totals(planned))
    for warning in planned.warnings:
        say(f"warning: {warning}")
    for note in store_notes(store, planned.specs):
        say(f"note: {note}")
    say(f"store: {store}")


def store_notes(store: Store, specs: Iterable[SweepSpec]) -> Iterator[str]:
    """What files of the store change of the meaning of these sweeps."""
    for spec in specs:
        for file, change in ((EXTENDED, "moves ends beyond"), (STOPPED, "ends runs before")):
            if spec.limits if file == STOPPED else store.sweep(spec.name).has(file):
                place = f"{store}/sweeps/{spec.name}/{file}"
                yield f"{place} {change} what {spec.file} says; remove it to undo that"


def rows(planned: Plan, keys: Container[str] | None = None) -> str:
    """The plan's end points as a text table, or those with these keys."""
    headers = [
        "key",
        "cell",
        "seed",
        "N",
        "U",
        "D",
        "epochs",
        "FLOPs",
        "trained",
        "time",
        "memory",
        "disk",
        "state",
    ]
    body = [
        [
            row.key.split("-")[0][:8] + "-" + row.key.split("-")[1],
            row.cell,
            row.seed,
            human(row.N),
            human(row.U) if row.U is not None else "?",
            human(row.D),
            human(row.epochs) if row.epochs is not None else "?",
            human(row.flops),
            f"{row.trained:.0%}" if row.trained else "",
            duration(row.seconds) if row.seconds else "",
            size(row.memory_bytes),
            size(row.disk_bytes),
            row.state,
        ]
        for row in planned.rows
        if keys is None or row.key in keys
    ]
    return table(headers, body, right=range(2, 12))


def totals(planned: Plan) -> str:
    """One line about the whole."""
    t = planned.totals
    states = ", ".join(f"{n} {state}" for state, n in t["states"].items())
    words = (("flops_saved", "shared"), ("flops_trained", "trained already"))
    parts = [f"{human(t[key])} {word}" for key, word in words if t[key] > 0]
    flops = f"{human(t['flops'])} FLOPs (matmul{''.join(f', {part}' for part in parts)})"
    times = [f"{duration(t[f'{one}_seconds'])} of one {name}" for one, name in UNITS if t[f"{one}_seconds"]]
    left = f"about {' and '.join(times)} to go" if times else "nothing to go"
    return (
        f"{number(t['end_points'], 'end point')} of {number(t['runs'], 'run')} ({states}); "
        f"{left}, {human(t['D'])} tokens, {flops}, "
        f"{size(t['memory_bytes'])} memory a run, {size(t['disk_bytes'])} disk"
    )


def number(count: int, thing: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
