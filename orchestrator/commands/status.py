"""`crossover status`."""

from __future__ import annotations

from typing import Any

import click

from analysis.tables.wording import human
from orchestrator.commands.common import (
    emit,
    errors_as_messages,
    json_option,
    say,
    specs_of,
    store_option,
    table,
)
from orchestrator.store.store import Store


@click.command("status")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...")
@store_option
@json_option
@errors_as_messages
def command(sweeps: tuple[str, ...], store: Store, as_json: bool) -> None:
    """How the runs of these sweeps stand (all sweeps of the store, if none is named).

    States: new, running, partial (stopped on the way), done, diverged, failed, blocked.
    """
    names = sweeps or tuple(store.sweep_names())
    if not names:
        say(f"no sweep has been run in {store}")
    runs: list[dict[str, Any]] = []
    if names:
        from orchestrator.planning.drafting import make_plan
        from orchestrator.study.status import run_statuses

        plan = make_plan(specs_of(store, names), store)
        runs = [status.json() for status in run_statuses(store, plan)]
    counts: dict[str, int] = {}
    for run in runs:
        counts[run["state"]] = counts.get(run["state"], 0) + 1
    if as_json:
        emit({"runs": runs, "totals": counts})
        return
    if runs:
        headers = ["run", "name", "sweeps", "step", "of", "tokens/s", "state", ""]
        body = [
            [r["run"][:8], r["name"], " ".join(r["sweeps"]), r["step"], r["steps"],
             human(r["tokens_per_second"]) if r["tokens_per_second"] else "", r["state"], r["reason"] or ""]
            for r in runs
        ]  # fmt: skip
        click.echo(table(headers, body, right=(3, 4, 5)))
        click.echo(", ".join(f"{n} {state}" for state, n in sorted(counts.items())))
