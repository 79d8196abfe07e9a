"""Which failed runs are to be trained again, and the sweeps that they are trained with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.language.spec import SweepSpec
from orchestrator.store.store import Store, UnknownRun
from orchestrator.study.sweeps import is_sweep, named


@dataclass(frozen=True)
class Retry:
    """Failed runs, and sweeps that have them."""

    sweeps: tuple[SweepSpec, ...]
    runs: frozenset[str]

    @classmethod
    def of(cls, store: Store, what: Sequence[str]) -> Retry:
        """The failed runs of sweeps (files or names), and single runs (keys or beginnings of keys), failed or
        not. Raises `UnknownRun`."""
        failed = {key for key, _ in store.failures()}
        names = [item for item in what if is_sweep(store, item)]
        specs = {spec.name: spec for spec in named(store, names)}
        runs = failed & {key for name in specs for key in store.members(name)}
        for item in what:
            if item not in names:
                key = _run(store, item, failed)
                owners = store.sweeps_of(key)
                if not owners:
                    raise UnknownRun(f"run {item!r}: no sweep of the store {store} has it")
                runs.add(key)
                if not specs.keys() & {*owners}:
                    specs |= {spec.name: spec for spec in named(store, owners[:1])}
        return cls(tuple(specs.values()), frozenset(runs))


def _run(store: Store, prefix: str, failed: set[str]) -> str:
    """A run by the beginning of its key; one that failed before it had a folder is a run all the same."""
    return next((key for key in sorted(failed) if key.startswith(prefix.split("-")[0])), None) or store.find(
        prefix
    )
