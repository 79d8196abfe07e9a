"""`crossover logs`."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.commands.common import emit, errors_as_messages, json_option, store_option
from orchestrator.store.store import Store, UnknownRun


@click.command("logs")
@click.argument("key")
@click.option("-n", "--last", type=click.IntRange(1), metavar="N", help="Print only the last N events.")
@store_option
@json_option
@errors_as_messages
def command(key: str, last: int | None, store: Store, as_json: bool) -> None:
    """Print what a run has committed, event by event, and how its failed attempts ended."""
    key = _key(store, key)
    run = store.run(key)
    events = sorted([*run.history(), *run.telemetry()], key=lambda e: e["step"])
    events = [{k: v for k, v in e.items() if k not in ("scores", "sequence_tokens")} for e in events]
    failures = (store.logs.read(f"{key}.log") or b"").decode()
    if as_json:
        emit({"run": key, "events": events[-last:] if last else events, "failures": failures})
        return
    lines = [line for e in events if (line := _line(e))]
    for line in lines[-last:] if last else lines:
        click.echo(line)
    if failures:
        click.echo(failures.rstrip())


def _key(store: Store, prefix: str) -> str:
    """A run by prefix; one that failed before it had a folder has a log all the same."""
    try:
        return store.find(prefix)
    except UnknownRun:
        logs = [name.removesuffix(".log") for name in store.logs.names() if name.endswith(".log")]
        matches = [key for key in logs if key.startswith(prefix.split("-")[0])]
        if len(matches) != 1:
            raise
        return matches[0]


def _line(event: dict[str, Any]) -> str:
    where = f"step {event['step']:>7}  tokens {event.get('tokens', 0):>10}"
    match event["event"]:
        case "start":
            return (
                f"start     N={event['N']} U={event['unique_tokens']} tokens, {event['sequences']} sequences"
            )
        case "train":
            return f"{where}  train {event['loss']:.4f}"
        case "evaluation":
            a, b, kind = event["a"]["nll"], event["b"]["nll"], event["kind"].replace("_", " ")
            return f"{where}  validation A {a:.4f}  B {b:.4f}  ({kind})"
        case "attempt":
            numerics = event["numerics"]
            return f"attempt   {event['attempt']} on {numerics['model']}, class {numerics['class']}"
        case "diverged":
            return f"step {event['step']:>7}  diverged"
        case _:
            return ""
