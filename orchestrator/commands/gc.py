"""`crossover gc`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from orchestrator.commands.common import (
    emit,
    existing,
    guarded,
    json_option,
    say,
    size,
    specs_of,
    store_option,
)
from orchestrator.store.leases import Session
from orchestrator.store.store import Store


@click.command("gc")
@click.option(
    "--keep",
    type=click.Choice(["evals", "branches", "last"]),
    help="Also drop checkpoints. evals: states stay only where branches and children start; branches: so do "
    "weights; last: states only where branches and children are still to start.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@store_option
@json_option
@guarded
def command(keep: str | None, dry_run: bool, folder: str | None, as_json: bool) -> None:
    """Remove objects that no commit names: what killed attempts left.

    With --keep, also checkpoints. What a branch, a child or an evaluation of the store's sweeps still needs
    never goes; nor does a run's newest checkpoint, nor its best. Runs in use are left alone.
    """
    from trainers.state.folder import collect, garbage

    store = existing(folder)
    freed: dict[str, int] = {}
    with Session(store.leases) as session:
        for key in store.run_keys():
            with _held(session, f"run-{key}") as ours:
                if ours:
                    run = store.run(key)
                    freed[key] = sum(garbage(run).values()) if dry_run else collect(run)
        if keep is not None:
            _tighten(store, session, keep, dry_run, freed)
    freed = {key: n for key, n in freed.items() if n}
    if as_json:
        emit({"bytes": sum(freed.values()), "runs": freed, "removed": not dry_run})
    else:
        verb = "would free" if dry_run else "freed"
        click.echo(f"{verb} {size(sum(freed.values()))} in {len(freed)} runs")


def _tighten(store: Store, session: Session, keep: str, dry_run: bool, freed: dict[str, int]) -> None:
    """Drop the checkpoints that nobody needs, of the runs that nobody else works on."""
    from orchestrator.upkeep.disk_usage import Needs, needs
    from trainers.state.folder import RunFolder
    from trainers.state.retention import retain

    names = [name for name in store.sweep_names() if (store.sweep(name) / "sweep.yaml").is_file()]
    with contextlib.ExitStack() as stack:
        for name in names:
            if not stack.enter_context(_held(session, f"sweep-{name}")):
                say(f"sweep {name} is being run; checkpoints stay")
                return
        wanted = needs(store, specs_of(store, names) if names else [], started=keep != "last")
        for key in store.run_keys():
            with _held(session, f"run-{key}") as ours:
                if ours:
                    run, need = RunFolder(store.run(key)), wanted.get(key, Needs())
                    commit = run.last_commit()
                    kept = set(commit.checkpoints) if commit is not None and keep == "evals" else set()
                    freed[key] += retain(run, kept | need.weights, need.states, dry_run=dry_run)


@contextlib.contextmanager
def _held(session: Session, lease: str) -> Iterator[bool]:
    """Hold a lease; false where somebody else does."""
    ours = session.acquire(lease)
    try:
        yield ours
    finally:
        if ours:
            session.release(lease)
