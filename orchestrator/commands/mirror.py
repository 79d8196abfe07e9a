"""`crossover mirror`."""

from __future__ import annotations

import shutil

import click

from orchestrator.commands.common import existing, guarded, say, store_option
from orchestrator.store.store import Store


@click.command("mirror")
@click.option("--rebuild", is_flag=True, help="Write every run again, whatever MLflow is believed to have.")
@store_option
@guarded
def command(rebuild: bool, store: Store) -> None:
    """Write to MLflow whatever the run folders hold and it lacks.

    Use it after MLflow was unreachable, after its database was lost, or in a copied store.
    """
    from orchestrator.planning.standing import standing_of
    from orchestrator.store.leases import Session
    from orchestrator.tracking.experiment import Tracker, markers
    from orchestrator.tracking.mirror import MirroredRun, mirror_run

    existing(store)
    if rebuild:
        shutil.rmtree(markers(store), ignore_errors=True)
    members: dict[str, set[str]] = {}
    for name in store.sweep_names():
        for key in store.members(name):
            members.setdefault(key, set()).add(name)
    tracker = Tracker(store)
    observer = Session(store.leases)
    written = 0
    for key in store.run_keys():
        commit = store.run(key).last_commit()
        leased = observer.holder(f"run-{key}") is not None
        state = standing_of(None, commit, leased=leased, failure=store.failure(key))
        written += mirror_run(store, lambda: tracker, key, MirroredRun(members.get(key, set()), state))
    for name in store.sweep_names():
        with store.sweep(name).reading() as path:
            tracker.summarise(name, path, {}, {})
    say(f"{written} runs written, {len(store.run_keys()) - written} were up to date")
