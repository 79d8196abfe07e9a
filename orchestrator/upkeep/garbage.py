"""What a store can do without: files that killed attempts left, and checkpoints that nobody needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestrator.store.leases import Session
from orchestrator.store.store import Store

Keep = Literal["evals", "branches", "last"]
"""Which checkpoints stay: those of every evaluation; where a branch or a child starts; where one is still to
start."""


@dataclass(frozen=True)
class Freed:
    """Bytes that were freed, or would be: training key -> bytes. ``busy``: the sweeps whose driver kept every
    checkpoint where it is."""

    runs: dict[str, int]
    busy: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(self.runs.values())


def collect(store: Store, keep: Keep | None = None, *, dry_run: bool = False) -> Freed:
    """Delete what killed attempts left, and with ``keep`` the checkpoints that it does not keep.

    A checkpoint stays that a branch, a child or an evaluation of the store's sweeps still needs, and a run's
    newest and best ones. Runs that another process is working on are left alone.
    """
    from trainers.state import folder

    freed: dict[str, int] = {}
    busy: tuple[str, ...] = ()
    with Session(store.leases) as session:
        for key in store.run_keys():
            with _lease(session, f"run-{key}") as ours:
                if ours:
                    run = store.run(key)
                    freed[key] = sum(folder.garbage(run).values()) if dry_run else folder.collect(run)
        if keep is not None:
            busy = _delete_checkpoints(store, session, keep, dry_run, freed)
    return Freed({key: n for key, n in freed.items() if n}, busy)


def _delete_checkpoints(
    store: Store, session: Session, keep: Keep, dry_run: bool, freed: dict[str, int]
) -> tuple[str, ...]:
    """Delete the checkpoints that nobody needs, of the runs that nobody else works on; add to ``freed``.
    Where a sweep is being run, none is deleted, and the sweep is returned."""
    from orchestrator.study.sweeps import named
    from orchestrator.upkeep.disk_usage import needs
    from trainers.state.retention import RetentionPolicy, retain

    names = [name for name in store.sweep_names() if store.sweep(name).has("sweep.yaml")]
    with contextlib.ExitStack() as stack:
        for name in names:
            if not stack.enter_context(_lease(session, f"sweep-{name}")):
                return (name,)
        needed = needs(store, named(store, names), started=keep != "last")
        for key in store.run_keys():
            with _lease(session, f"run-{key}") as ours:
                if ours:
                    run, policy = store.run(key), needed.get(key, RetentionPolicy())
                    commit = run.last_commit()
                    if commit is not None and keep == "evals":
                        policy |= RetentionPolicy(weights=frozenset(commit.checkpoints))
                    freed[key] = freed.get(key, 0) + retain(run, policy, dry_run=dry_run)
    return ()


@contextlib.contextmanager
def _lease(session: Session, name: str) -> Iterator[bool]:
    """Hold a lease; false where somebody else does."""
    ours = session.acquire(name)
    try:
        yield ours
    finally:
        if ours:
            session.release(name)
