"""A `run` from end to end: plan, train, score precisely what verdicts rest on, report, mirror."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.execution import tasks
from orchestrator.execution.backends import Backend
from orchestrator.execution.driver import Driver, RoundResult
from orchestrator.execution.live import NullView, View
from orchestrator.execution.scheduler import State
from orchestrator.language.spec import SweepSpec
from orchestrator.planning.plans import Plan, plan
from orchestrator.planning.standing import Standing
from orchestrator.results import tables
from orchestrator.store.leases import Session
from orchestrator.store.origin import provenance
from orchestrator.store.store import Store, writable
from orchestrator.study import refinement as refine
from orchestrator.study import stopping
from orchestrator.tracking.mirror import Mirror
from trainers.components.source import SpecError

if TYPE_CHECKING:
    from orchestrator.language.expansion import EndPoint

PRECISE_ROUNDS = 3
"""Scoring a bracket again can move it by an evaluation, which is then scored in the next round."""


@dataclass
class Result:
    """How it went. ``reports``: sweep -> its page; ``behind``: what MLflow has not got yet."""

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


def end_points(plan: Plan, sweep: str | None = None) -> list[EndPoint]:
    """The end points of one sweep of a plan, or of all."""
    return [p for points in plan.points.values() for p in points if sweep is None or p.sweep == sweep]


def refuse_lacking(store: Store, specs: Sequence[SweepSpec]) -> None:
    """Raise SpecError where runs that are left to train need packages that are not installed."""
    from orchestrator.language.expansion import expand

    lacking = {point.run: point.lacking for spec in specs for point in expand(spec) if point.lacking}
    if lacking:
        todo = {task.run for task in plan(specs, store).tasks}
        issues = [issue for run, found in lacking.items() if run in todo for issue in found]
        if issues:
            raise SpecError(issues)


def resolve_pending(specs: Sequence[SweepSpec]) -> None:
    """Fetch remote corpora whose content is not known yet, so that keys are final before anything is
    trained."""
    from orchestrator.language.expansion import expand

    seen = []
    for spec in specs:
        for point in expand(spec):
            corpus = point.config.data.corpus
            if corpus not in seen:
                seen.append(corpus)
                if corpus.digest().startswith("pending-"):
                    corpus.resolve()


def carry_out(
    store: Store,
    specs: Sequence[SweepSpec],
    backend: Backend,
    *,
    view: View | None = None,
    serial: bool = False,
    mlflow: bool = True,
    report: bool = True,
    only_runs: set[str] | None = None,
    spacing: float | None = None,
    announce: Any = lambda plan: None,
) -> Result:
    """Train what is not done of these sweeps, and report.

    ``only_runs`` restricts it to these training keys (and what they need). With ``spacing``, crossings'
    brackets are evaluated inside, to that ratio. ``announce`` is called with the plan before anything starts.
    """
    view = view or NullView()
    seconds: dict[str, float] = {}
    begin = time.monotonic()
    refuse_lacking(store, specs)
    store.open_for_writing()
    with Session(store.leases) as session:
        for spec in specs:
            _take_sweep(session, spec.name, view)
        resolve_pending(specs)
        made = plan(specs, store)
        announce(made)
        runs = tasks.runs_of(made)
        todo = tasks.of_plan(made, store)
        if only_runs is not None:
            todo = _closure(todo, only_runs)
        _record(store, made, runs)
        leased = lambda key: session.holder(f"run-{key}") is not None  # noqa: E731
        mirror = Mirror(store, warn=view.line, leased=leased) if mlflow else None
        if mirror is not None:
            for key, run in runs.items():
                for sweep in run.sweeps:
                    mirror.follow(key, sweep)
            mirror.start()
        seconds["plan"] = time.monotonic() - begin
        title = " ".join(spec.name for spec in specs)
        with Driver(
            store, runs, backend, session, title=title, mirror=mirror, view=view, serial=serial
        ) as driver:
            specs, made, ending = _train(driver, store, specs, made, todo, only_runs)
            seconds["train"] = time.monotonic() - begin - seconds["plan"]
            if not ending.interrupted and not ending.halted:
                for spec in specs:
                    mine = tasks.runs_of(made, spec.name)
                    if spacing is not None:
                        _refine(driver, store, spec, made, mine, spacing)
                    _score_precisely(driver, store, spec, made, mine)
                    _decode(driver, store, spec, made, mine)
            seconds["precise"] = time.monotonic() - begin - sum(seconds.values())
            if driver.interrupted and not ending.interrupted:
                ending = RoundResult(ending.states, ending.outcomes, True, ending.halted)
        result = Result(made, ending, seconds=seconds)
        if report and not ending.interrupted:
            for spec in specs:
                _report(store, spec, made, result, view)
                if mirror is not None:
                    mirror.summarise(
                        spec.name,
                        store.sweep(spec.name),
                        _summary_tags(spec, result),
                        _summary_values(made, spec),
                    )
        seconds["report"] = time.monotonic() - begin - sum(seconds.values())
        if mirror is not None:
            result.behind = mirror.close()
        seconds["mirror"] = time.monotonic() - begin - sum(seconds.values())
        for spec in specs:
            store.sweep(spec.name).write("timing.json", json.dumps(seconds))
    return result


def _train(
    driver: Driver,
    store: Store,
    specs: Sequence[SweepSpec],
    made: Plan,
    todo: list[Any],
    only_runs: set[str] | None,
) -> tuple[Sequence[SweepSpec], Plan, RoundResult]:
    """Train, in rounds where a sweep has a stop rule; the sweeps and the plan as that leaves them."""
    from analysis.tables.tables import TableError

    if all(spec.analysis.stop is None for spec in specs):
        return specs, made, driver.run(todo)
    ending = RoundResult()
    for share in stopping.ROUNDS:
        part = [stopping.until(spec, share) for spec in specs]
        made = plan(part, store)
        todo = tasks.of_plan(made, store)
        done = driver.run(todo if only_runs is None else _closure(todo, only_runs))
        states, outcomes = {**ending.states, **done.states}, {**ending.outcomes, **done.outcomes}
        ending = RoundResult(states, outcomes, done.interrupted, done.halted)
        if done.interrupted or done.halted:
            break
        for i, (spec, shorter) in enumerate(zip(specs, part, strict=True)):
            with contextlib.suppress(TableError):  # nothing to compare yet
                specs = list(specs)
                specs[i] = stopping.stopped(spec, crossovers(store, shorter, made), shorter.limits)
                stopping.record(specs[i], store.sweep(spec.name))
    made = plan(specs, store)
    _record(store, made, tasks.runs_of(made))
    return specs, made, ending


def _take_sweep(session: Session, name: str, view: View) -> None:
    """Wait until no other driver works on this sweep."""
    told = False
    while not session.acquire(f"sweep-{name}"):
        if not told:
            view.line(f"sweep {name} is being run by {session.who(f'sweep-{name}')}; waiting for it")
            told = True
        time.sleep(1.0)


def _closure(todo: list[Any], wanted: set[str]) -> list[Any]:
    """The tasks of these runs, and what they need."""
    by_key = {task.key: task for task in todo}
    keep: set[str] = set()
    stack = [key for key in by_key if key in wanted]
    while stack:
        key = stack.pop()
        if key not in keep:
            keep.add(key)
            stack += by_key[key].needs
    return [task for task in todo if task.key in keep]


def _record(store: Store, made: Plan, runs: dict[str, tasks.Run]) -> None:
    """Keep the sweeps as they are run, and drop cancellations of earlier runs."""
    import yaml

    for spec in made.specs:
        folder = store.sweep(spec.name)
        snapshot = yaml.safe_dump(spec.snapshot(), sort_keys=False, allow_unicode=True)
        folder.write("sweep.yaml", snapshot)
        rows = [row for row in made.json()["runs"] if spec.name in row["sweeps"]]
        members = sorted({key for key, run in runs.items() if spec.name in run.sweeps})
        folder.write("plan.json", json.dumps({"runs": rows, "members": members}, indent=1))
        store.cancel(spec.name, False)
    for key in runs:
        store.cancel(key, False)


def _score_precisely(
    driver: Driver, store: Store, spec: SweepSpec, made: Plan, runs: dict[str, tasks.Run]
) -> None:
    """Score again what verdicts rest on, until nothing is too coarse."""
    from analysis.crossover import wanted_precision
    from analysis.tables.tables import TableError

    known: set[tuple[str, int]] = set()
    precise = min(point.config.evaluation.precise for point in end_points(made, spec.name))
    for _ in range(PRECISE_ROUNDS):
        try:
            wanted = wanted_precision(crossovers(store, spec, made), precise=precise)
        except TableError:  # nothing to compare; the report says so
            return
        new = [(key, step) for key, step in wanted if (key, step) not in known]
        known |= set(new)
        todo = tasks.to_evaluate(new, runs, store)
        if not todo or driver.interrupted:
            return
        driver.run(todo)


def _refine(
    driver: Driver,
    store: Store,
    spec: SweepSpec,
    made: Plan,
    runs: dict[str, tasks.Run],
    spacing: float,
) -> None:
    """Evaluate inside the brackets of crossings, until none is wider than ``spacing``."""
    from analysis.tables.tables import TableError

    for _ in range(PRECISE_ROUNDS):
        try:
            wanted = refine.unscored(crossovers(store, spec, made), spacing)
        except TableError:  # nothing to compare; the report says so
            return
        todo = tasks.to_evaluate(wanted, runs, store, replay=True)
        if not todo or driver.interrupted:
            return
        driver.run(todo)


def _decode(driver: Driver, store: Store, spec: SweepSpec, made: Plan, runs: dict[str, tasks.Run]) -> None:
    """Score bounds that lose on best values under decoding orders, so that verdicts name what they beat."""
    from analysis.crossover.same_n.decoding import wanted_decoding
    from analysis.tables.tables import TableError

    if not spec.analysis.decoding or driver.interrupted:
        return
    try:
        wanted = wanted_decoding(crossovers(store, spec, made))
    except TableError:  # nothing to compare; the report says so
        return
    todo = tasks.to_decode(wanted, runs, store, spec.analysis.decoding)
    if todo:
        driver.run(todo)


def _report(store: Store, spec: SweepSpec, made: Plan, result: Result, view: View) -> None:
    from analysis.tables.tables import TableError

    try:
        written = write_report(store, spec, made)
    except TableError as error:
        view.line(f"sweep {spec.name}: no report: {error}")
        return
    result.reports[spec.name] = f"{store}/sweeps/{spec.name}/report/{written.html.name}"
    result.headlines[spec.name] = written.headline


def crossovers(store: Store, spec: SweepSpec, made: Plan) -> Any:
    """The sweep's crossovers (`analysis.crossover.Crossovers`) from what folders hold now. Raises
    `analysis.tables.tables.TableError`."""
    from analysis.crossover import locate

    found = tables.of_sweep(store, end_points(made, spec.name))
    return locate(
        found.runs, found.curves, found.scores, pair=spec.analysis.pair, pair_over=spec.analysis.pair_over
    )


def write_report(store: Store, spec: SweepSpec, made: Plan, folder: Path | None = None) -> Any:
    """Draw a sweep's report into its own folder, or another; an `analysis.reporting.Report`. Raises
    `analysis.tables.tables.TableError`."""
    from analysis import reporting as report

    keys = {key for point in end_points(made, spec.name) for key in (point.run, _trunk(point)) if key}
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(store.sweep(spec.name).writing()) / "report"
        return report.write(
            writable(folder),
            crossovers(store, spec, made),
            decoding=tables.decoding(store, keys),
            spec={**spec.snapshot(), "question": spec.description},
            provenance=flat(provenance()),
            command=f"crossover run {spec.command or spec.file}",
        )


def _trunk(point: EndPoint) -> str | None:
    trunk = point.config.trunk()
    return trunk.training_key if trunk is not None else None


def flat(facts: dict[str, Any]) -> dict[str, Any]:
    """Nested facts as one level, for a table of two columns."""
    out: dict[str, Any] = {}
    for key, value in facts.items():
        if isinstance(value, dict):
            out |= {f"{key} {inner}": v for inner, v in value.items()}
        elif value is not None:
            out[key] = value
    return out


def _summary_tags(spec: SweepSpec, result: Result) -> dict[str, str]:
    tags = {"headline": result.headlines.get(spec.name, "")}
    if spec.description:
        tags["mlflow.note.content"] = f"{spec.description}\n\n{tags['headline']}"
    return tags


def _summary_values(made: Plan, spec: SweepSpec) -> dict[str, float]:
    rows = [row for row in made.rows if spec.name in row.sweeps]
    return {
        "runs": float(len({row.run for row in rows})),
        "D": float(sum(row.D for row in rows)),
        "C": sum(row.flops for row in rows),
    }
