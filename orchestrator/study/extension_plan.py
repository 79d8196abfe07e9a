"""Cells of a sweep that are to train beyond their horizon: which, what it takes, the file that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.language.extension import FILE, Extent, written
from orchestrator.language.loading import conditions
from orchestrator.planning.drafting import make_plan
from orchestrator.planning.plans import Plan, PlanRow
from orchestrator.store.store import Store
from trainers.components.errors import UserError
from trainers.components.source import parse

if TYPE_CHECKING:
    from analysis.crossover.same_n.outcome import Definition
    from orchestrator.study.studies import Study


@dataclass(frozen=True)
class ExtensionPlan:
    """What it takes to extend cells of a sweep. ``plan`` is that of the sweep with its later ends."""

    store: Store
    sweep: str
    plan: Plan
    matches: tuple[dict[str, Any], ...]
    """The cells, each as a condition."""
    rows: tuple[PlanRow, ...]
    """The end points that it adds."""
    text: str
    """What the store will keep."""

    def keep(self) -> None:
        """Keep the later ends with the sweep in the store. Everything that reads the sweep from there then
        reads it to them, and `Sweep.run` trains what is new."""
        self.store.sweep(self.sweep).write(FILE, self.text)


def plan_extension(
    study: Study, to: str | float, only: Sequence[str] = (), censored: Definition | None = None
) -> ExtensionPlan:
    """As of `orchestrator.study.studies.Study.extend`."""
    if censored and only:
        raise UserError("give censored or only, not both: each says which cells are extended")
    try:
        Extent.of(to)
    except ValueError as error:
        raise UserError(f"to {to}: {error}") from None
    match = {name: value for node in conditions(only) for name, value in node.plain.items()}
    matches = _censored(study, censored) if censored else [match]
    store, spec = study.store, study.spec
    text = written([{"match": match, "to": to} for match in matches], store.sweep(spec.name).read(FILE))
    longer = make_plan([spec.with_entries(parse(text, f"{store}/sweeps/{spec.name}/{FILE}"))], store)
    before = {point.key for point in study.end_points()}
    rows = tuple(row for row in longer.rows if row.key not in before)
    return ExtensionPlan(store, spec.name, longer, tuple(matches), rows, text)


def _censored(study: Study, definition: Definition) -> list[dict[str, Any]]:
    """The cells of which a replicate had not crossed where it ended, each as a condition."""
    axes = {point.key: point.written for point in study.end_points()}
    matches: list[dict[str, Any]] = []
    for cell in study.crossovers().cells:
        if any(outcome.censored == "right" for outcome in cell.outcomes[definition]):
            for row in cell.pair.rows:
                drop = () if study.spec.analysis.pair_over else ("objective",)
                match = {name: value for name, value in axes[row["key"]].items() if name not in drop}
                matches += [match] if match not in matches else []
    return matches
