"""`crossover diff`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import (
    Wrong,
    emit,
    guarded,
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
@guarded
def command(a: str, b: str, store: Store, as_json: bool) -> None:
    """What differs between two runs (keys or beginnings of keys), or between two sweeps (files or names)."""
    if is_sweep(store, a) != is_sweep(store, b):
        raise Wrong(f"{a!r} and {b!r}: give two runs, or two sweeps")
    difference = _sweeps(store, a, b) if is_sweep(store, a) else _runs(store, a, b)
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


def _runs(store: Store, a: str, b: str) -> dict[str, Any]:
    keys = [store.find(a), store.find(b)]
    records = [store.run(key).record() or {} for key in keys]
    identities, configs = ([r[part] for r in records] for part in ("identity", "config"))
    return {
        "a": keys[0],
        "b": keys[1],
        "same_run": keys[0] == keys[1],
        "differences": [
            {**d, "in_key": d["field"] in {x["field"] for x in differences(*identities)}}
            for d in differences(*configs)
        ],
    }


def _sweeps(store: Store, a: str, b: str) -> dict[str, Any]:
    from orchestrator.language.expansion import expand

    (first,), (second,) = specs_of(store, [a]), specs_of(store, [b])
    keys = [{point.key for point in expand(spec)} for spec in (first, second)]
    return {
        "a": first.name,
        "b": second.name,
        "differences": differences(first.snapshot(), second.snapshot()),
        "shared": len(keys[0] & keys[1]),
        "only_a": sorted(keys[0] - keys[1]),
        "only_b": sorted(keys[1] - keys[0]),
    }


def differences(a: Any, b: Any, path: str = "") -> list[dict[str, Any]]:
    """``[{"field": dotted path, "a": value, "b": value}]`` of two JSON values; None where one lacks the
    field."""
    if isinstance(a, dict) and isinstance(b, dict):
        names = [*a, *(k for k in b if k not in a)]
        return [d for k in names for d in differences(a.get(k), b.get(k), f"{path}.{k}" if path else str(k))]
    return [] if a == b else [{"field": path, "a": a, "b": b}]


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
