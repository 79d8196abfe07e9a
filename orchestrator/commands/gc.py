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
    help="Delete checkpoints too. `evals` keeps the weights of every evaluation, and an optimizer state only "
    "where another run starts (a branch, or a child). `branches` keeps weights only there as well. `last` "
    "keeps them only where a run is still to start. Example: a finished run with 20 evaluations and no "
    "branches keeps 20 sets of weights with `evals`, and two with `last`: the newest and the best.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be deleted, and delete nothing.")
@store_option
@json_option
@guarded
def command(keep: str | None, dry_run: bool, store: Store, as_json: bool) -> None:
    """Delete the files that killed attempts left behind.

    With --keep, gc deletes checkpoints as well. It never deletes a checkpoint that a branch, a child or an
    evaluation of the store's sweeps still needs, nor a run's newest or best one. It leaves runs alone that
    another process is working on.
    """
    from trainers.state.folder import collect, garbage

    existing(store)
    freed: dict[str, int] = {}
    with Session(store.leases) as session:
        for key in store.run_keys():
            with _lease(session, f"run-{key}") as ours:
                if ours:
                    run = store.run(key)
                    freed[key] = sum(garbage(run).values()) if dry_run else collect(run)
        if keep is not None:
            _delete_checkpoints(store, session, keep, dry_run, freed)
    freed = {key: n for key, n in freed.items() if n}
    if as_json:
        emit({"bytes": sum(freed.values()), "runs": freed, "removed": not dry_run})
    else:
        verb = "would free" if dry_run else "freed"
        click.echo(f"{verb} {size(sum(freed.values()))} in {len(freed)} runs")


def _delete_checkpoints(
    store: Store, session: Session, keep: str, dry_run: bool, freed: dict[str, int]
) -> None:
    """Delete the checkpoints that nobody needs, of the runs that nobody else works on; add to ``freed``."""
    from orchestrator.upkeep.disk_usage import needs
    from trainers.state.retention import RetentionPolicy, retain

    names = [name for name in store.sweep_names() if store.sweep(name).has("sweep.yaml")]
    with contextlib.ExitStack() as stack:
        for name in names:
            if not stack.enter_context(_lease(session, f"sweep-{name}")):
                say(f"sweep {name} is being run; its checkpoints stay")
                return
        needed = needs(store, specs_of(store, names) if names else [], started=keep != "last")
        for key in store.run_keys():
            with _lease(session, f"run-{key}") as ours:
                if ours:
                    run, policy = store.run(key), needed.get(key, RetentionPolicy())
                    commit = run.last_commit()
                    if commit is not None and keep == "evals":
                        policy |= RetentionPolicy(weights=frozenset(commit.checkpoints))
                    freed[key] = freed.get(key, 0) + retain(run, policy, dry_run=dry_run)


@contextlib.contextmanager
def _lease(session: Session, name: str) -> Iterator[bool]:
    """Hold a lease; false where somebody else does."""
    ours = session.acquire(name)
    try:
        yield ours
    finally:
        if ours:
            session.release(name)
