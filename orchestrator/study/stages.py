"""A `run` from end to end: plan, train, score precisely what verdicts rest on, report, mirror."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.execution import tasks
from orchestrator.execution.backends import Backend
from orchestrator.execution.driver import Driver, RoundResult
from orchestrator.execution.live import NullView, View
from orchestrator.execution.scheduler import ScheduledTask, State
from orchestrator.language.expansion import Expansion
from orchestrator.language.spec import SweepSpec
from orchestrator.planning.drafting import expanded, make_plan
from orchestrator.planning.plans import Plan
from orchestrator.planning.standing import Standing
from orchestrator.results.records import Records
from orchestrator.store.leases import Session
from orchestrator.store.store import Store
from orchestrator.study import stopping
from orchestrator.study.followups import follow_up
from orchestrator.study.studies import Study
from orchestrator.tracking.mirror import Mirror
from trainers.components.source import SpecError


@dataclass
class RunSummary:
    """How a `run` went. ``reports``: sweep -> its page; ``behind``: what MLflow has not got yet."""

    plan: Plan
    ending: RoundResult
    reports: dict[str, str] = field(default_factory=dict)
    headlines: dict[str, str] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, 1 (some runs failed, or could not start), or 130 (stopped, by Ctrl-C or `crossover cancel`)."""
        if self.ending.interrupted or State.STOPPED in self.ending.states.values():
            return 130
        blocked = any(row.state is Standing.BLOCKED for row in self.plan.rows)
        return 1 if self.ending.failed or self.ending.halted or blocked else 0


def carry_out(
    store: Store,
    sweeps: Sequence[SweepSpec | Expansion],
    backend: Backend,
    *,
    view: View | None = None,
    serial: bool = False,
    mlflow: bool = True,
    report: bool = True,
    only_runs: set[str] | None = None,
    spacing: float | None = None,
    announce: Callable[[Plan], None] = lambda plan: None,
) -> RunSummary:
    """Train what is not done of these sweeps, and report.

    ``only_runs`` restricts it to these training keys (and what they need), however they failed before. With
    ``spacing``, crossings' brackets are evaluated inside, to that ratio. ``announce`` is called with the plan
    before anything starts.
    """
    view = view or NullView()
    clock = _Clock()
    expansions = expanded(sweeps)
    names = [expansion.spec.name for expansion in expansions]
    refuse_lacking(store, expansions)
    store.open_for_writing()
    with Session(store.leases) as session:
        for name in names:
            _take_sweep(session, name, view)
        plan = make_plan(_final(expansions), store)
        announce(plan)
        _record(store, plan)
        for key in only_runs or ():
            store.record_failure(key, None)
        mirror = _mirror(store, plan, session, view) if mlflow else None
        clock.lap("plan")
        with Driver(
            store,
            plan.trainings,
            backend,
            session,
            title=" ".join(names),
            mirror=mirror,
            view=view,
            serial=serial,
        ) as driver:
            records = Records(store)
            plan, ending = _train(driver, store, plan, records, only_runs)
            clock.lap("train")
            studies = [Study(store, plan, name, records) for name in names]
            if not ending.interrupted and not ending.halted:
                for study in studies:
                    follow_up(driver, study, spacing)
            clock.lap("precise")
            ending = replace(ending, interrupted=driver.interrupted or ending.interrupted)
        summary = RunSummary(plan, ending, seconds=clock.seconds)
        if report and not ending.interrupted:
            for study in studies:
                _report(study, summary, mirror, view)
        clock.lap("report")
        if mirror is not None:
            summary.behind = mirror.close()
        clock.lap("mirror")
        for name in names:
            store.sweep(name).write("timing.json", json.dumps(clock.seconds))
    return summary


def refuse_lacking(store: Store, expansions: Sequence[Expansion]) -> None:
    """Raise SpecError where runs that are left to train need packages that are not installed."""
    lacking = {p.run: p.lacking for expansion in expansions for p in expansion.points if p.lacking}
    if lacking:
        todo = {task.run for task in make_plan(expansions, store).tasks}
        issues = [issue for run, lacks in lacking.items() if run in todo for issue in lacks]
        if issues:
            raise SpecError(issues)


def _final(expansions: Sequence[Expansion]) -> list[Expansion]:
    """The sweeps with final keys: remote corpora whose content is not known yet are fetched, and sweeps that
    use them are expanded again."""
    final, corpora = [], []
    for expansion in expansions:
        pending = [p.config.data.corpus for p in expansion.points]
        pending = [corpus for corpus in dict.fromkeys(pending) if corpus.digest().startswith("pending-")]
        for corpus in pending:
            if corpus not in corpora:
                corpora.append(corpus)
                corpus.resolve()
        final.append(Expansion.of(expansion.spec) if pending else expansion)
    return final


def _train(
    driver: Driver, store: Store, plan: Plan, records: Records, only_runs: set[str] | None
) -> tuple[Plan, RoundResult]:
    """Train, in rounds where a sweep has a stop rule; the plan as that leaves it, and how it ended."""
    from analysis.tables.tables import TableError

    def run(plan: Plan) -> RoundResult:
        todo = tasks.of_plan(plan, store)
        return driver.run(todo if only_runs is None else _closure(todo, only_runs))

    if all(spec.analysis.stop is None for spec in plan.specs):
        return plan, run(plan)
    ending, expansions = RoundResult(), list(plan.expansions)
    for share in stopping.ROUNDS:
        part = make_plan([stopping.until(expansion, share) for expansion in expansions], store)
        done = run(part)
        states, outcomes = {**ending.states, **done.states}, {**ending.outcomes, **done.outcomes}
        ending = RoundResult(states, outcomes, done.interrupted, done.halted)
        if done.interrupted or done.halted:
            break
        for i, (whole, shorter) in enumerate(zip(expansions, part.expansions, strict=True)):
            with contextlib.suppress(TableError):  # nothing to compare yet
                crossovers = Study(store, part, shorter.spec.name, records).crossovers()
                expansions[i] = stopping.stopped(whole, crossovers, shorter.spec.limits)
                stopping.record(expansions[i].spec, store.sweep(whole.spec.name))
    plan = make_plan(expansions, store)
    _record(store, plan)
    return plan, ending


def _mirror(store: Store, plan: Plan, session: Session, view: View) -> Mirror:
    """A mirror at work that follows every run of the plan."""
    mirror = Mirror(store, warn=view.line, leased=lambda key: session.holder(f"run-{key}") is not None)
    for key, training in plan.trainings.items():
        for sweep in training.sweeps:
            mirror.follow(key, sweep)
    mirror.start()
    return mirror


def _take_sweep(session: Session, name: str, view: View) -> None:
    """Wait until no other driver works on this sweep."""
    waiting = False
    while not session.acquire(f"sweep-{name}"):
        if not waiting:
            view.line(f"sweep {name} is being run by {session.who(f'sweep-{name}')}; waiting for it")
            waiting = True
        time.sleep(1.0)


def _closure(todo: list[ScheduledTask], runs: set[str]) -> list[ScheduledTask]:
    """The tasks of these runs, and what they need."""
    by_key = {task.key: task for task in todo}
    keep: set[str] = set()
    stack = [key for key in by_key if key in runs]
    while stack:
        key = stack.pop()
        if key not in keep:
            keep.add(key)
            stack += by_key[key].needs
    return [task for task in todo if task.key in keep]


def _record(store: Store, plan: Plan) -> None:
    """Keep the sweeps as they are run, and drop cancellations of earlier runs."""
    import yaml

    rows = plan.json()["runs"]
    for spec in plan.specs:
        folder = store.sweep(spec.name)
        snapshot = yaml.safe_dump(spec.snapshot(), sort_keys=False, allow_unicode=True)
        folder.write("sweep.yaml", snapshot)
        own = [row for row in rows if spec.name in row["sweeps"]]
        members = sorted(key for key, training in plan.trainings.items() if spec.name in training.sweeps)
        folder.write("plan.json", json.dumps({"runs": own, "members": members}, indent=1))
        store.cancel(spec.name, False)
    for key in plan.trainings:
        store.cancel(key, False)


def _report(study: Study, summary: RunSummary, mirror: Mirror | None, view: View) -> None:
    """Draw a sweep's report, and bring its summary in MLflow up to date."""
    from analysis.tables.tables import TableError

    name, description = study.name, study.spec.description
    try:
        report = study.report()
    except TableError as error:
        view.line(f"sweep {name}: no report: {error}")
    else:
        summary.reports[name] = f"{study.store}/sweeps/{name}/report/{report.html.name}"
        summary.headlines[name] = report.headline
    if mirror is None:
        return
    tags = {"headline": summary.headlines.get(name, "")}
    if description:
        tags["mlflow.note.content"] = f"{description}\n\n{tags['headline']}"
    rows = [row for row in summary.plan.rows if name in row.sweeps]
    values = {
        "runs": float(len({row.run for row in rows})),
        "D": float(sum(row.D for row in rows)),
        "C": sum(row.flops for row in rows),
    }
    mirror.summarise(name, study.store.sweep(name), tags, values)


class _Clock:
    """Seconds of each stage, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._mark = time.monotonic()

    def lap(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage], self._mark = now - self._mark, now
