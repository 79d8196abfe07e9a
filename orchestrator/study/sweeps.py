"""A sweep from Python: from a file or a dictionary to a plan, to a study."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.language.expansion import EndPoint, Expansion
from orchestrator.language.extension import FILE
from orchestrator.language.loading import load
from orchestrator.language.spec import SweepSpec
from orchestrator.planning.drafting import make_plan
from orchestrator.planning.plans import Plan
from orchestrator.store.comparison import differences
from orchestrator.store.store import Store
from orchestrator.study.stopping import recorded
from trainers.components.errors import UserError
from trainers.components.source import Issue, Node, SpecError, parse

if TYPE_CHECKING:
    from orchestrator.study.studies import Study

Address = Store | str | os.PathLike[str] | None


def in_store(spec: SweepSpec, store: Store) -> SweepSpec:
    """The sweep as far as the store extends it, or has stopped its runs."""
    with store.sweep(spec.name).reading() as path:
        spec = spec.with_extensions(path / FILE)
    return recorded(spec, store.sweep(spec.name))


def is_sweep(store: Store, name: str) -> bool:
    """Whether this is a sweep's file, or the name of a sweep that the store has run."""
    return Path(name).is_file() or _kept(store, name)


def named(
    store: Store, names: Sequence[str], set: Sequence[str] = (), only: Sequence[str] = ()
) -> list[SweepSpec]:
    """Sweeps by file, or by the names of sweeps that the store has run, as far as the store extends them.

    Raises `UserError` with the names that there are, and `SpecError` with every error of the files.
    """
    specs = load([_source(store, name) for name in names], set, only)
    return [in_store(spec, store) for spec in specs]


def _kept(store: Store, name: str) -> bool:
    return name not in (".", "..") and "/" not in name and store.sweep(name).has("sweep.yaml")


def _source(store: Store, name: str) -> Path | Node:
    """The file of a sweep, or its content where the store that has run it is on no disk."""
    if Path(name).is_file():
        return Path(name)
    if _kept(store, name):
        if store.local:
            return store.root / "sweeps" / name / "sweep.yaml"
        content = (store.sweep(name).read("sweep.yaml") or b"").decode()
        return parse(content, f"{store}/sweeps/{name}/sweep.yaml")
    known = store.sweep_names()
    hint = f"it has run {', '.join(known)}" if known else "it has run none yet"
    near = difflib.get_close_matches(name, known, n=1)
    raise UserError(
        f"sweep {name!r}: no such file, and no sweep of the store {store}; {hint}"
        + (f". Did you mean {near[0]!r}?" if near else "")
    )


class Sweep:
    """A base run, axes, and the analyses wanted. It is expanded once, when it is made.

    A mistake raises `trainers.components.source.SpecError`: every error at once, each with its key, the value
    found, what is allowed and the nearest name.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._expansion = Expansion.of(spec)

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], set: Sequence[str] = (), only: Sequence[str] = ()
    ) -> Sweep:
        """The sweep in a YAML file. ``set`` and ``only`` are as for `crossover run`:
        ``set=["base.optimizer.lr=1e-3"]`` lays a value over it, ``only=["model.size=d64"]`` keeps the cells
        with that value."""
        (spec,) = load([Path(path)], _texts("set", set), _texts("only", only))
        return cls(spec)

    @classmethod
    def from_dict(cls, sweep: Mapping[str, Any], set: Sequence[str] = (), only: Sequence[str] = ()) -> Sweep:
        """The sweep that a dictionary writes, with the keys of a sweep file. Paths in it are relative to the
        current directory."""
        if not isinstance(sweep, Mapping):
            raise SpecError([Issue("sweep", 0, "", f"a sweep is a mapping of keys to values, not {sweep!r}")])
        (spec,) = load([Node.of(sweep, "sweep")], _texts("set", set), _texts("only", only))
        return cls(spec)

    @classmethod
    def from_store(
        cls, name: str, store: Address = None, set: Sequence[str] = (), only: Sequence[str] = ()
    ) -> Sweep:
        """A sweep that a store has run, by its name. Raises `UserError` with the names that there are."""
        (spec,) = named(_opened(store), [name], _texts("set", set), _texts("only", only))
        return cls(spec)

    @property
    def name(self) -> str:
        """Name of the sweep; ``sweep`` where a dictionary gives none."""
        return self._expansion.spec.name

    def end_points(self) -> tuple[EndPoint, ...]:
        """Every run of the sweep, each up to where the sweep reads it."""
        return self._expansion.points

    def plan(self, store: Address = None) -> Plan:
        """What the sweep takes, against what a store (or its address; None: the default one) holds."""
        return make_plan([self._in(_opened(store))], _opened(store))

    def run(
        self,
        store: Address = None,
        *,
        backend: Literal["local", "ray"] = "local",
        cpus: int | None = None,
        mlflow: bool = False,
        report: bool = True,
        quiet: bool = True,
        only_failed: bool = False,
    ) -> Study:
        """Train what is not done, and draw the report; interrupted, the same call goes on.

        ``backend``: ``local`` trains one run after another in this process, ``ray`` many at once on a local
        cluster of ``cpus`` cores. ``mlflow`` mirrors the runs. ``only_failed`` trains the runs whose last
        attempt failed again, and no others. Raises `RuntimeError` where runs failed.
        """
        from orchestrator.execution.backends import Backend, LocalBackend
        from orchestrator.execution.live import view
        from orchestrator.study.stages import carry_out
        from orchestrator.study.studies import Study

        opened = _opened(store)
        workers: Backend = LocalBackend()
        if backend == "ray":
            from orchestrator.execution.backends.ray_core import RayBackend

            workers = RayBackend(opened, cpus=cpus)
        elif backend != "local":
            raise UserError(f"backend {backend!r}: one of local, ray")
        failures = self.study(opened).failures() if only_failed else None
        summary = carry_out(
            opened,
            [self._in(opened)],
            workers,
            view=view(quiet),
            serial=backend == "local",
            mlflow=mlflow,
            report=report,
            only_runs=None if failures is None else {*failures},
        )
        failed = summary.ending.failed
        if failed or summary.ending.halted:
            lines = [f"{key[:8]}: {outcome.failure}: {outcome.message}" for key, outcome in failed.items()]
            raise RuntimeError("\n".join([f"sweep {self.name}: runs failed", *lines]))
        return Study(opened, summary.plan, self.name)

    def difference(self, other: Sweep) -> dict[str, Any]:
        """What differs between two sweeps.

        Plain values: ``differences`` of what they say, a list of ``field``, ``a`` and ``b``; and of their end
        points, how many are ``shared``, and the keys that are ``only_a`` or ``only_b``.
        """
        a, b = ({point.key for point in sweep.end_points()} for sweep in (self, other))
        says, others = (_says(sweep._expansion.spec) for sweep in (self, other))
        return {
            "a": self.name,
            "b": other.name,
            "differences": differences(says, others),
            "shared": len(a & b),
            "only_a": sorted(a - b),
            "only_b": sorted(b - a),
        }

    def study(self, store: Address = None) -> Study:
        """What a store holds of the sweep now; nothing is trained."""
        from orchestrator.study.studies import Study

        return Study(_opened(store), self.plan(store), self.name)

    def _in(self, store: Store) -> Expansion:
        """The sweep as the store extends it; expanded again only where it does."""
        spec = in_store(self._expansion.spec, store)
        if spec is self._expansion.spec:
            return self._expansion
        return Expansion.of(spec)

    def __repr__(self) -> str:
        cells = {point.cell for point in self.end_points()}
        return f"Sweep {self.name!r}: {len(self.end_points())} end points in {len(cells)} cells"


def _says(spec: SweepSpec) -> dict[str, Any]:
    """A sweep as plain values, each field of its base under one name however it is written."""
    written = {key: value for key, value in spec.snapshot().items() if key != "resources"}
    return {**written, "base": spec.base.plain}


def _opened(store: Address) -> Store:
    return store if isinstance(store, Store) else Store.at(store)


def _texts(option: str, values: Sequence[str]) -> list[str]:
    """Several texts; a single one by itself is a mistake that reads as one a character."""
    if isinstance(values, str):
        raise UserError(f"{option}: a list of texts, such as [{values!r}], not {values!r}")
    return list(values)
