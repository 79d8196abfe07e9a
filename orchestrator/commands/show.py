"""`crossover show`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import emit, errors_as_messages, json_option, size, store_option, table
from orchestrator.store.store import Store


@click.command("show")
@click.argument("key")
@store_option
@json_option
@errors_as_messages
def command(key: str, store: Store, as_json: bool) -> None:
    """Everything about one run; KEY is a training key or the beginning of one."""
    from orchestrator.results.description import describe

    about = describe(store, store.find(key))
    if as_json:
        emit(about)
        return
    evaluations = about.pop("evaluations")
    config = about.pop("config")
    about["bytes"] = size(about["bytes"])
    for name, value in about.items():
        if value not in (None, [], {}):
            click.echo(f"{name:16} {_line(value)}")
    click.echo("\nconfig")
    for path, value in _flat(config):
        click.echo(f"  {path:32} {value}")
    if evaluations:
        click.echo("\nevaluations (nats per token)")
        rows = [
            [
                e["step"],
                e["tokens"],
                f"{e['epochs']:.3g}",
                *(f"{e[k]:.4f}" for k in ("a", "b", "b_se")),
                "precise" if e["precise"] else "",
            ]
            for e in evaluations
        ]
        click.echo(table(["step", "tokens", "epochs", "half A", "half B", "se", ""], rows, right=range(6)))


def _line(value: Any) -> str:
    if isinstance(value, list):
        shown = " ".join(map(str, value[:12]))
        return f"{shown} ... ({len(value)})" if len(value) > 12 else shown
    if isinstance(value, dict):
        return "; ".join(f"{k} {v}" for k, v in value.items() if v and k != "traceback")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in _flat(v, f"{path}.{k}" if path else k)]
    return [(path, value)]
