"""What a store's bytes are for: by run, by sweep, by kind; and which checkpoints somebody still needs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.store.store import Folder, Store

if TYPE_CHECKING:
    from orchestrator.language.spec import SweepSpec
    from orchestrator.study.studies import Study
    from trainers.config import RunConfig
    from trainers.state.folder import RunFolder
    from trainers.state.retention import RetentionPolicy

KINDS = ("weights", "states", "events", "scores", "commits", "garbage")
"""Of a run's bytes. ``garbage`` is what killed attempts left, which `crossover gc` removes."""


@dataclass(frozen=True)
class Usage:
    """Bytes of a store. ``runs``: training key -> kind -> bytes; ``sweeps``: name -> its runs' bytes, those
    that it shares with other sweeps included; ``kinds``: of the whole store, data and MLflow among them."""

    runs: dict[str, dict[str, int]]
    sweeps: dict[str, int]
    members: dict[str, list[str]]
    kinds: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    def json(self) -> dict[str, Any]:
        """As plain values."""
        sweeps = {
            key: sorted(name for name, keys in self.members.items() if key in keys) for key in self.runs
        }
        runs = [
            {"run": key, "sweeps": sweeps[key], "bytes": sum(kinds.values()), "kinds": kinds}
            for key, kinds in self.runs.items()
        ]
        return {
            "bytes": self.total,
            "kinds": self.kinds,
            "sweeps": self.sweeps,
            "runs": sorted(runs, key=lambda run: (-run["bytes"], run["run"])),
        }


def usage(store: Store) -> Usage:
    """Bytes of everything in the store."""
    runs = {key: of_run(store.run(key)) for key in store.run_keys()}
    members = {name: [key for key in store.members(name) if key in runs] for name in store.sweep_names()}
    sweeps = {name: sum(sum(runs[key].values()) for key in keys) for name, keys in members.items()}
    kinds: Counter[str] = Counter({kind: 0 for kind in KINDS})
    for parts in runs.values():
        kinds.update(parts)
    whole = Folder(store.storage, "")
    elsewhere = {name: whole.size(name) for name in ("data", "mlflow", "sweeps", "logs")}
    return Usage(runs, sweeps, members, dict(kinds) | elsewhere)


def of_run(folder: RunFolder) -> dict[str, int]:
    """Bytes of a run folder by kind."""
    from trainers.state.folder import garbage

    left = garbage(folder)
    sizes: Counter[str] = Counter({kind: 0 for kind in KINDS})
    sizes["garbage"] = sum(left.values())
    for part, kind in (("events", "events"), ("scores", "scores"), ("commits", "commits"), ("", "commits")):
        for name, size in folder.list(part).items():
            sizes[kind] += size if f"{part}/{name}" not in left else 0
    for name, size in folder.list("objects").items():
        if f"objects/{name}" not in left:
            sizes["states" if ".state." in name else "weights"] += size
    return dict(sizes)


def needs(store: Store, specs: Iterable[SweepSpec], started: bool = True) -> dict[str, RetentionPolicy]:
    """What branches, children, evaluations to come and verdicts need of the runs of a store, by training key.

    ``specs`` are all the sweeps that count. Needed are: steps where branches and children start (not
    ``started``: only of those that have no checkpoint of their own yet); weights of evaluations that are
    asked for and not made yet, and of values that are to be scored more precisely; and the best step of every
    run, for use.
    """
    from orchestrator.planning.drafting import make_plan
    from orchestrator.results.records import Records
    from orchestrator.study.studies import Study
    from trainers.state.folder import step_of
    from trainers.state.retention import RetentionPolicy

    weights: dict[str, set[int]] = defaultdict(set)
    states: dict[str, set[int]] = defaultdict(set)
    plan, records = make_plan(list(specs), store), Records(store)
    runs = plan.trainings
    for key, run in runs.items():
        weights[key] |= set(run.missing)
        if run.trunk is not None:  # a branch may be evaluated on what its trunk keeps
            weights[run.trunk] |= set(run.missing)
    for spec in plan.specs:
        for key, step in _coarse(Study(store, plan, spec.name, records)):
            weights[key].add(step)
    stored = {key: store.run(key) for key in store.run_keys()}
    configs = {key: folder.config() for key, folder in stored.items()}
    for key, config in {**configs, **{key: run.config for key, run in runs.items()}}.items():
        commit = stored[key].last_commit() if key in stored else None
        if started or commit is None or not commit.checkpoints:
            for origin, step in _origins(config):
                states[origin].add(step)
    for key, folder in stored.items():
        evaluations = [e for e in folder.history() if e["event"] == "evaluation"]
        if evaluations:
            weights[key].add(step_of(min(evaluations, key=lambda e: e["a"]["nll"])))
    return {
        key: RetentionPolicy(frozenset(weights[key]), frozenset(states[key]))
        for key in weights.keys() | states.keys()
    }


def _origins(config: RunConfig) -> Iterator[tuple[str, int]]:
    """The runs that a run starts from, by key, and the steps: its trunk, its parent."""
    from trainers.config import Parent

    trunk = config.trunk()
    if trunk is not None:
        yield trunk.training_key, trunk.steps
    if isinstance(config.init, Parent):
        yield config.init.run, config.init.step


def _coarse(study: Study) -> list[tuple[str, int]]:
    """Values that verdicts rest on and that are not precise yet."""
    from analysis.crossover import wanted_precision
    from analysis.tables.tables import TableError

    try:
        return wanted_precision(study.crossovers())
    except TableError:
        return []
