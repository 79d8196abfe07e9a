"""`crossover status`."""

from __future__ import annotations

from typing import Any

import click

from analysis.tables.wording import human
from orchestrator.commands.common import emit, guarded, json_option, say, specs_of, store_option, table
from orchestrator.store.store import Store


@click.command("status")
@click.argument("sweeps", nargs=-1, metavar="[SWEEP]...")
@store_option
@json_option
@guarded
def command(sweeps: tuple[str, ...], store: Store, as_json: bool) -> None:
    """How the runs of these sweeps stand (all sweeps of the store, if none is named).

    States: new, running, partial (stopped on the way), done, diverged, failed, blocked.
    """
    names = sweeps or tuple(store.sweep_names())
    if not names:
        say(f"no sweep has been run in {store}")
    runs = records(store, names) if names else []
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


def records(store: Store, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """One record a run of these sweeps: position, state and, where it failed, why."""
    from orchestrator.execution import tasks
    from orchestrator.planning.plans import plan
    from orchestrator.planning.standing import Standing, standing_of
    from orchestrator.planning.titles import title
    from orchestrator.store.leases import Session

    planned = plan(specs_of(store, names), store)
    blocked = {row.run for row in planned.rows if row.state is Standing.BLOCKED}
    observer = Session(store.leases)
    out = []
    for key, run in tasks.runs_of(planned).items():
        folder = store.run(key)
        commit, failure = folder.last_commit(), store.failure(key)
        step, steps = (commit.step if commit is not None else 0), run.config.steps
        live = _live(store, key) if observer.holder(f"run-{key}") is not None else None
        state = standing_of(steps, commit, leased=live is not None, failure=failure, blocked=key in blocked)
        reason = None
        if failure and state in (Standing.FAILED, Standing.BLOCKED):
            reason = f"{failure['failure']}: {failure['message'].splitlines()[0]}"
        out.append(
            {
                "run": key,
                "name": title(run.config),
                "sweeps": sorted(run.sweeps),
                "state": state.value,
                "step": max(step, int((live or {}).get("step", 0))),
                "committed": step,
                "steps": steps,
                "tokens_per_second": (live or {}).get("tokens_per_second"),
                "reason": reason,
            }
        )
    return out


def _live(store: Store, key: str) -> dict[str, Any]:
    """What the worker that trains this run last said."""
    return store.control.read_json(f"progress-{key}.json") or {}
