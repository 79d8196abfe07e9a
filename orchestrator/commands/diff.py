"""`crossover diff`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import (
    CommandError,
    emit,
    errors_as_messages,
    is_sweep,
    json_option,
    specs_of,
    store_option,
    table,
)
from orchestrator.store.store import Store


@click.command("diff")
@click.argument("a")
@click.argument("b")
@store_option
@json_option
@errors_as_messages
def command(a: str, b: str, store: Store, as_json: bool) -> None:
    """What differs between two runs (keys or beginnings of keys), or between two sweeps (files or names)."""
    from orchestrator.study.sweeps import Sweep

    if is_sweep(store, a) != is_sweep(store, b):
        raise CommandError(f"{a!r} and {b!r}: give two runs, or two sweeps")
    if is_sweep(store, a):
        (first,), (second,) = specs_of(store, [a]), specs_of(store, [b])
        difference = Sweep(first).difference(Sweep(second))
    else:
        difference = store.difference(a, b)
    if as_json:
        emit(difference)
        return
    if difference["differences"]:
        rows = [[d["field"], _text(d["a"]), _text(d["b"])] for d in difference["differences"]]
        click.echo(table(["field", a, b], rows))
    else:
        click.echo("no difference in configuration")
    if "only_a" in difference:
        click.echo(
            f"{difference['shared']} runs shared, {len(difference['only_a'])} only in {a}, "
            f"{len(difference['only_b'])} only in {b}"
        )
    else:
        click.echo("the same run" if difference["same_run"] else "two runs")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
