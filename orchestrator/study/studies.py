"""A sweep and what its runs have shown so far: how they stand, their tables, crossovers and report."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.planning.plans import Plan
from orchestrator.results import tables
from orchestrator.results.description import describe
from orchestrator.results.records import Records, RunRecord
from orchestrator.store.origin import provenance
from orchestrator.store.store import Store, writable
from orchestrator.study.extension_plan import ExtensionPlan, plan_extension
from orchestrator.study.status import RunStatus, run_statuses
from trainers.components.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.crossover import Crossovers
    from analysis.crossover.same_n.metrics import Better
    from analysis.crossover.same_n.outcome import Definition
    from analysis.reporting import Report
    from analysis.tables.tables import Tables
    from orchestrator.language.expansion import EndPoint
    from orchestrator.language.spec import SweepSpec

NLL = "nll"


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
        self._located: dict[tuple[str, str | None], tuple[list[RunRecord], Crossovers]] = {}

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

    def failures(self) -> dict[str, dict[str, Any]]:
        """Training key -> what the store recorded of it, for each run whose last attempt failed."""
        members = self.plan.trainings_of(self.name)
        return {key: record for key, record in self.store.failures() if key in members}

    def describe(self, run: str) -> dict[str, Any]:
        """Everything about one run, as plain values; ``run`` is a training key or the beginning of one.
        Raises `orchestrator.store.store.UnknownRun`."""
        return describe(self.store, self.store.find(run))

    def cancel(self) -> str | None:
        """Ask whoever runs the sweep to stop at a checkpoint; who that is, or None where nobody runs it."""
        return self.store.stop_sweep(self.name)

    def extend(
        self, to: str | float, *, only: Sequence[str] = (), censored: Definition | None = None
    ) -> ExtensionPlan:
        """What it takes to train cells beyond their horizon. Nothing changes until the plan's ``keep``.

        ``to`` is a multiple of each cell's horizon (``4x``), or tokens (``2.4M``). ``only`` keeps the cells
        with a value, as of `Sweep.from_file`; ``censored`` those of which a replicate had not crossed where
        it ended, under a definition of crossing. Raises `UserError` where an argument cannot be used, and
        `analysis.tables.tables.TableError` where nothing can be told censored yet.
        """
        return plan_extension(self, to, only, censored)

    def tables(self, mlflow: bool = False) -> Tables:
        """Runs, curves and scores, from what run folders hold now; with ``mlflow`` from the MLflow experiment
        alone, which has no scores."""
        if not mlflow:
            return tables.of_sweep(self.store, self.end_points(), self._records)
        from orchestrator.tracking.experiment import Tracker

        fields = {*self.spec.axis_names, *self.spec.analysis.pair_over} - {"objective", "seed"}
        return tables.of_mlflow(Tracker(self.store), self.name, sorted(fields))

    def crossovers(self, metric: str = NLL, better: Better | None = None) -> Crossovers:
        """Where the curves of the sweep's pairs cross.

        ``metric`` is ``nll``, or a metric of the table of curves, such as ``continuation_accuracy``;
        ``better`` says which of its values are, where the task that gives it does not declare it. Raises
        `analysis.tables.tables.TableError` where there is nothing to compare, or no such metric.
        """
        from analysis.crossover import locate

        read = tables.records_of(self.end_points(), self._records)
        known = self._located.get((metric, better))
        if known is None or known[0] != read:
            study, spec = self.tables(), self.spec.analysis
            located = locate(
                study.runs,
                study.curves,
                study.scores,
                items=study.items if len(study.items) else None,
                pair=spec.pair,
                pair_over=spec.pair_over,
                metric=metric,
                better=better,
            )
            known = self._located[metric, better] = read, located
        return known[1]

    def report(
        self,
        to: str | Path | None = None,
        *,
        metric: str = NLL,
        better: Better | None = None,
        mlflow: bool = False,
    ) -> Report:
        """Draw the report into the sweep's folder of the store, or into ``to``.

        ``metric`` and ``better`` are those of `crossovers`. With ``mlflow`` the curves come from MLflow, and
        can be of the NLL alone. A report of another metric, or of MLflow, has a folder of its own beside the
        other.
        Raises `analysis.tables.tables.TableError` where there is nothing to compare.
        """
        from analysis import reporting

        if mlflow and metric != NLL:
            raise UserError(f"metric {metric!r}: of MLflow's curves only {NLL!r} can be reported")
        with contextlib.ExitStack() as stack:
            if to is None:
                kind = "mlflow" if mlflow else metric
                folder = "report" if kind == NLL else f"report-{kind}"
                to = stack.enter_context(self.store.sweep(self.name).writing()) / folder
            if mlflow:
                return self._report_of_mlflow(writable(Path(to)))
            return reporting.write(
                writable(Path(to)),
                self.crossovers(metric, better),
                decoding=self._decoding() if metric == NLL else None,
                spec={**self.spec.snapshot(), "question": self.spec.description},
                provenance=flat(provenance()),
                command=f"crossover run {self.spec.command or self.spec.file}",
            )

    def _report_of_mlflow(self, to: Path) -> Report:
        from analysis import reporting

        study, settings = self.tables(mlflow=True), self.spec.analysis
        # A field that no run logged is of a component that none of them uses: there is nothing to tune over.
        over = [name for name in settings.pair_over if name in study.runs.columns]
        return reporting.write(
            to, study.runs, study.curves, spec=self.spec.snapshot(), pair=settings.pair, pair_over=over
        )

    def _decoding(self) -> pd.DataFrame:
        points = self.end_points()
        keys = {p.run for p in points} | {p.trunk.training_key for p in points if p.trunk is not None}
        return tables.decoding(self.store, keys)

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
