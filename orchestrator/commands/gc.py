"""`crossover gc`."""

from __future__ import annotations

import click

from orchestrator.commands.common import emit, guarded, json_option, size, store_option
from orchestrator.store import Store


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@store_option
@json_option
@guarded
def command(dry_run: bool, folder: str | None, as_json: bool) -> None:
    """Remove objects that no commit names: what killed attempts left. Nothing that a run, branch or evaluation needs goes."""
    from orchestrator.leases import Session
    from trainers.folder import collect, garbage

    store = Store.at(folder)
    observer = Session(store.leases)
    freed: dict[str, int] = {}
    for key in store.run_keys():
        if observer.holder(f"run-{key}") is None:
            run = store.run(key)
            freed[key] = sum(garbage(run).values()) if dry_run else collect(run)
    freed = {key: n for key, n in freed.items() if n}
    if as_json:
        emit({"bytes": sum(freed.values()), "runs": freed, "removed": not dry_run})
    else:
        click.echo(f"{'would free' if dry_run else 'freed'} {size(sum(freed.values()))} in {len(freed)} runs")
