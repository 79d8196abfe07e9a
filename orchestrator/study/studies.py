"""A sweep and what its runs have shown so far: how they stand, their tables, crossovers and report."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.planning.plans import Plan
from orchestrator.results import tables
from orchestrator.results.records import Records, RunRecord
from orchestrator.store.origin import provenance
from orchestrator.store.store import Store, writable
from orchestrator.study.status import RunStatus, run_statuses

if TYPE_CHECKING:
    from analysis.crossover import Crossovers
    from analysis.reporting import Report
    from analysis.tables.tables import Tables
    from orchestrator.language.expansion import EndPoint
    from orchestrator.language.spec import SweepSpec


class Study:
    """One sweep of a plan and the store that holds its runs.

    Each run is read once, and again only when it has a newer commit; crossovers are located again only when a
    run has changed.
    """

    def __init__(
        self, store: Store, plan: Plan, sweep: str | None = None, records: Records | None = None
    ) -> None:
        """``sweep``: which of the plan's sweeps; needed only where there are several."""
        specs = {spec.name: spec for spec in plan.specs}
        if sweep is None and len(specs) > 1:
            raise ValueError(f"name one of the plan's sweeps: {', '.join(specs)}")
        self.store, self.plan = store, plan
        self.spec: SweepSpec = specs[sweep] if sweep is not None else plan.specs[0]
        self._records = records or Records(store)
        self._located: tuple[list[RunRecord], Crossovers] | None = None

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.spec.name

    def end_points(self) -> tuple[EndPoint, ...]:
        """The sweep's end points."""
        return self.plan.end_points(self.name)

    def status(self) -> list[RunStatus]:
        """How each run of the sweep stands now."""
        return run_statuses(self.store, self.plan, self.name)

    def tables(self) -> Tables:
        """Runs, curves and scores, from what run folders hold now."""
        return tables.of_sweep(self.store, self.end_points(), self._records)

    def crossovers(self) -> Crossovers:
        """Where the curves of the sweep's pairs cross. Raises `analysis.tables.tables.TableError` where there
        is nothing to compare."""
        from analysis.crossover import locate

        read = tables.records_of(self.end_points(), self._records)
        if self._located is None or self._located[0] != read:
            runs, spec = self.tables(), self.spec.analysis
            located = locate(runs.runs, runs.curves, runs.scores, pair=spec.pair, pair_over=spec.pair_over)
            self._located = read, located
        return self._located[1]

    def report(self, to: str | Path | None = None) -> Report:
        """Draw the report into the sweep's folder of the store, or into ``to``. Raises
        `analysis.tables.tables.TableError` where there is nothing to compare."""
        from analysis import reporting

        points = self.end_points()
        keys = {p.run for p in points} | {p.trunk.training_key for p in points if p.trunk is not None}
        with contextlib.ExitStack() as stack:
            if to is None:
                to = stack.enter_context(self.store.sweep(self.name).writing()) / "report"
            return reporting.write(
                writable(Path(to)),
                self.crossovers(),
                decoding=tables.decoding(self.store, keys),
                spec={**self.spec.snapshot(), "question": self.spec.description},
                provenance=flat(provenance()),
                command=f"crossover run {self.spec.command or self.spec.file}",
            )

    def __repr__(self) -> str:
        counts: dict[str, int] = {}
        for run in self.status():
            counts[run.state] = counts.get(run.state, 0) + 1
        states = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
        return f"Study {self.name!r} in {self.store}: {states or 'no runs'}"


def flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Nested facts as one level, for a table of two columns."""
    out: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            out |= {f"{key} {inner}": v for inner, v in value.items()}
        elif value is not None:
            out[key] = value
    return out
