"""A sweep from Python: from a file or a dictionary to a plan, to a study."""

from __future__ import annotations

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
from orchestrator.store.store import Store
from orchestrator.study.stopping import recorded
from trainers.components.source import Node

if TYPE_CHECKING:
    from orchestrator.study.studies import Study

Address = Store | str | os.PathLike[str] | None


def in_store(spec: SweepSpec, store: Store) -> SweepSpec:
    """The sweep as far as the store extends it, or has stopped its runs."""
    with store.sweep(spec.name).reading() as path:
        spec = spec.with_extensions(path / FILE)
    return recorded(spec, store.sweep(spec.name))


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
        (spec,) = load([Path(path)], set, only)
        return cls(spec)

    @classmethod
    def from_dict(cls, sweep: Mapping[str, Any], set: Sequence[str] = (), only: Sequence[str] = ()) -> Sweep:
        """The sweep that a dictionary writes, with the keys of a sweep file. Paths in it are relative to the
        current directory."""
        (spec,) = load([Node.of(sweep, "sweep")], set, only)
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
    ) -> Study:
        """Train what is not done, and draw the report; interrupted, the same call goes on.

        ``backend``: ``local`` trains one run after another in this process, ``ray`` many at once on a local
        cluster of ``cpus`` cores. ``mlflow`` mirrors the runs. Raises `RuntimeError` where runs failed.
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
            raise ValueError(f"backend {backend!r}: one of local, ray")
        summary = carry_out(
            opened,
            [self._in(opened)],
            workers,
            view=view(quiet),
            serial=backend == "local",
            mlflow=mlflow,
            report=report,
        )
        failed = summary.ending.failed
        if failed or summary.ending.halted:
            lines = [f"{key[:8]}: {outcome.failure}: {outcome.message}" for key, outcome in failed.items()]
            raise RuntimeError("\n".join([f"sweep {self.name}: runs failed", *lines]))
        return Study(opened, summary.plan, self.name)

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


def _opened(store: Address) -> Store:
    return store if isinstance(store, Store) else Store.at(store)
