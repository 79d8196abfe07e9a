"""A study's crossovers: the result of `locate`, with everything that follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.crossover.fronts.meeting import ComputeOptimal, compute_optimal
from analysis.crossover.gaps.benchmark_scores import Benchmarks, benchmarks
from analysis.crossover.gaps.horizontal import HorizontalRatio, HorizontalRatios, horizontal_ratios
from analysis.crossover.gaps.horizontal_fronts import compute_gaps
from analysis.crossover.gaps.interaction import Interaction, interactions
from analysis.crossover.limits import not_shown
from analysis.crossover.place import record
from analysis.crossover.places.censored_law import CensoredLaw, crossing_law
from analysis.crossover.same_n.aa_control import Control, control, rates
from analysis.crossover.same_n.arm import UNITS
from analysis.crossover.same_n.efficiency import EfficiencyRatio, by_cell, data_efficiency, losses
from analysis.crossover.same_n.location import SameNCrossovers, locate_same_n
from analysis.crossover.same_n.metrics import Better
from analysis.crossover.same_n.outcome import DEFINITIONS, Minima
from analysis.crossover.summary import blocks
from analysis.crossover.surfaces.fits_of_arms import ArmLaws, arm_laws
from analysis.crossover.verdict import Verdict
from analysis.tables.json_values import plain
from analysis.tables.keywords import checked_keywords, unknown
from analysis.tables.shown import Block, Shown, room
from analysis.tables.tables import Source, TableError, Tables
from analysis.tables.wording import words

if TYPE_CHECKING:
    from analysis.plots.drawing import Drawing
    from analysis.reporting import Report


@dataclass(frozen=True, kw_only=True, repr=False)
class Crossovers(SameNCrossovers, Shown):
    """A study's crossovers, of all three kinds, with what they do and do not show.

    ``print(crossovers)`` and a notebook show them. Same-N crossovers are in ``crossings``; the rest is
    computed when it is first read: ``fronts`` (compute-optimal), ``arm_laws`` (law against law), ``verdict``,
    ``controls`` (the A/A control), ``ratios`` (data efficiency), ``horizontal`` and ``compute_gaps``
    (compute, tokens and time at equal loss), ``losses`` and ``not_shown``.
    """

    @cached_property
    def laws(self) -> dict[tuple[str, str], CensoredLaw | None]:
        """(definition, unit) -> the law of the crossing's place; None where too few places were seen."""
        return {(d, u): crossing_law(self, d, u) for d in DEFINITIONS for u in UNITS}

    @cached_property
    def verdict(self) -> Verdict:
        """The study in words."""
        return Verdict.of(self, self.laws, self.controls)

    @cached_property
    def controls(self) -> list[Control]:
        """How often replicates of one objective seem to cross each other."""
        return control(self)

    @cached_property
    def ratios(self) -> list[EfficiencyRatio]:
        """How many times the unique data the first arm needs for the second's best value, cell by cell."""
        return data_efficiency(self)

    @cached_property
    def horizontal(self) -> tuple[HorizontalRatios, ...]:
        """How many times the FLOPs, tokens or seconds the second arm needs to be as good, level by level."""
        return horizontal_ratios(self)

    @cached_property
    def benchmarks(self) -> Benchmarks:
        """Crossings on every metric of the evaluation tasks, adjusted for their number."""
        return benchmarks(self)

    @cached_property
    def interactions(self) -> tuple[Interaction, ...]:
        """How quality, noise and architecture move each arm's best value, and what share of the gap they
        close."""
        return interactions(self)

    @cached_property
    def compute_gaps(self) -> tuple[HorizontalRatio, ...]:
        """The same of FLOPs between the arms' Pareto fronts."""
        return compute_gaps(self, self.fronts)

    @cached_property
    def losses(self) -> pd.DataFrame:
        """One row a run: its best and its final loss, and where they were."""
        return losses(self)

    @cached_property
    def fronts(self) -> ComputeOptimal:
        """Crossovers between the arms' Pareto fronts."""
        return compute_optimal(self)

    @cached_property
    def arm_laws(self) -> ArmLaws:
        """The laws fitted to each arm, and where they meet."""
        return arm_laws(self)

    @cached_property
    def not_shown(self) -> list[str]:
        """What the results do not show, a sentence each."""
        return not_shown(self, self.controls, self.fronts)

    def table(self, definition: str | None = None, unit: str | None = None) -> pd.DataFrame:
        """The same-N crossovers, one a row, axes in columns of their own.

        Args:
            definition: keep those under it, ``raw`` or ``best_so_far``; by default both.
            unit: keep those in it, ``tokens``, ``epochs`` or ``flops``; by default all.
        """
        self._check(definition, unit)
        rows = self.frame()
        if definition is not None and len(rows):
            rows = rows[rows["definition"] == definition]
        if unit is not None and len(rows):
            rows = rows[rows["unit"] == unit]
        return rows.reset_index(drop=True)

    def law(self, definition: str = "raw", unit: str = "tokens", *, cure: bool = False) -> CensoredLaw | None:
        """How the place of the crossing moves with U, N and the study's other axes.

        Args:
            definition: ``raw`` curves, or ``best_so_far``.
            unit: ``tokens``, ``epochs`` or ``flops``.
            cure: also test whether some cells never cross.

        Returns:
            The law; None where fewer than three places in two cells were seen.

        Raises:
            TableError: there is no such definition or unit.
        """
        self._check(definition, unit)
        return crossing_law(self, definition, unit, cure=True) if cure else self.laws[definition, unit]

    def plot(self, figure: str | None = None) -> Drawing:
        """One figure of the study.

        Args:
            figure: its name, such as ``crossover_map`` (the default, where a study has several cells),
                ``loss_curves`` or ``compute_fronts``.

        Raises:
            TableError: the study has no such figure; the message names those that it has.
        """
        drawings: dict[str, Drawing] = room("plots").draw(self)
        if figure is None:
            several = len(self.cells) > 1 and "crossover_map" in drawings
            figure = "crossover_map" if several else next(iter(drawings), "")
        if figure not in drawings:
            raise TableError(
                unknown("figure", figure, drawings) if drawings else "no figure: no cell to draw"
            )
        return drawings[figure]

    def report(self, folder: str | Path, **options: Any) -> Report:
        """Write the report.

        Args:
            folder: where to; it is made where it is missing.
            options: as for :func:`analysis.reporting.write`.
        """
        report: Report = room("reporting").write(folder, self, **options)
        return report

    def json(self) -> dict[str, Any]:
        """Plain values: crossovers first, in the schema of ``report --json``."""
        false = {d: r.json() for d, r in rates(self.controls, self.confidence).items()}
        rows: dict[str, Any] = plain(
            {
                "crossovers": [{**record(c), "false_crossings": false[c.definition]} for c in self.crossings],
                "compute_optimal": self.fronts.records,
                "compute_optimal_refused": list(self.fronts.refused),
                "law_against_law": [record(m) for m in self.arm_laws.meetings],
                "law_against_law_refused": self.arm_laws.why,
                "headline": self.verdict.headline,
                "verdict": self.verdict.json(),
                "laws": [law.json() for law in self.laws.values() if law is not None],
                "control": [c.json() for c in self.controls],
                "data_efficiency": [record(r) for r in self.ratios],
                "horizontal_ratios": [
                    record(r) for r in (*(r for h in self.horizontal for r in h.ratios), *self.compute_gaps)
                ],
                "interactions": [i.json(self.names) for i in self.interactions],
                "benchmarks": [record(b) for b in self.benchmarks.crossings],
                "horizontal_trends": [record(t) for h in self.horizontal for t in h.trends],
                "losses": [
                    {"definition": v, **row}
                    for v in (("best", "final") if len(self.losses) else ())
                    for row in by_cell(self.losses, v).to_dict("records")
                ],
                "runs": [] if self.losses.empty else self.losses.to_dict("records"),
                "excluded": self.excluded,
                "notes": list(self.notes),
                "not_shown": self.not_shown,
                "pair": list(self.pair),
                "metric": self.metric,
                "better": self.better,
                "confidence": self.confidence,
            }
        )
        return rows

    def _check(self, definition: str | None, unit: str | None) -> None:
        if definition is not None and definition not in DEFINITIONS:
            raise TableError(unknown("definition", definition, DEFINITIONS))
        if unit is not None and unit not in UNITS:
            raise TableError(unknown("unit", unit, UNITS))

    def text(self, unit: str = "tokens") -> str:
        """The study as a page of plain text, its places in one unit.

        Raises:
            TableError: there is no such unit.
        """
        self._check(None, unit)
        return "\n".join(b if isinstance(b, str) else b.text() for b in blocks(self, unit))

    def blocks(self) -> Sequence[Block]:
        return blocks(self, "tokens")

    def __repr__(self) -> str:
        return str(self)


@checked_keywords
def locate(
    runs: Source | Tables,
    curves: Source | None = None,
    scores: Source | None = None,
    *,
    items: Source | None = None,
    pair: tuple[str, str] | None = None,
    pair_over: Iterable[str] = (),
    axes: Iterable[str] | None = None,
    metric: str = "nll",
    better: Better | None = None,
    chance: float | None = None,
    minima: Minima = "each",
    confidence: float = 0.95,
    columns: Mapping[str, str] | None = None,
) -> Crossovers:
    """Locate where the second objective of ``pair`` passes the first, cell by cell.

    Args:
        runs: one row a run (a DataFrame, or a CSV or Parquet file), or all tables, already checked.
        curves: one row an evaluation.
        scores: one row a validation sequence of an evaluation; without them the errors of a difference of
            twins are unpaired, and so too wide.
        items: one row an item of an evaluation task, see :data:`analysis.tables.columns.ITEMS`; for a metric
            of a task they give paired errors, and its curve where ``curves`` lacks it.
        pair: the objective that is ahead early, then the one expected to pass it. By default autoregressive
            and masked diffusion, or the only two that there are.
        pair_over: axes that may differ within a pair, such as a learning rate tuned for each objective.
        axes: columns of runs that tell cells apart; by default all that vary and are no facts.
        columns: {name in the files: name here}; see :func:`analysis.tables.tables.load`.
        metric: ``nll``, or any pair of columns ``<metric>_a`` and ``<metric>_b`` of curves, such as
            ``continuation_accuracy``.
        better: whether ``lower`` or ``higher`` values of the metric are better. By default as the table of
            curves declares it, in ``curves.attrs["better"]``; of ``nll``, lower.
        chance: what guessing scores on the metric: crossings count once both arms are better by three
            standard errors. By default one over the choices of the items, for an accuracy.
        minima: the arms whose best value must be bracketed before a crossing of best values counts: ``each``,
            or only the one that is ``passed``.
        confidence: coverage of the intervals.

    Returns:
        The crossovers. ``print`` shows them; ``.table()``, ``.law()``, ``.plot()`` and ``.report(folder)``
        go on from there.

    Raises:
        TableError: a table or an argument cannot be used; the message says which, and what is allowed.
    """
    located = locate_same_n(
        runs,
        curves,
        scores,
        items=items,
        pair=pair,
        pair_over=pair_over,
        axes=axes,
        metric=metric,
        better=better,
        chance=chance,
        minima=minima,
        confidence=confidence,
        columns=columns,
    )
    return Crossovers(**{f.name: getattr(located, f.name) for f in fields(located)})


def cell_titles(crossovers: Crossovers) -> dict[str, str]:
    """Cells as people read them, by their names in tables."""
    return {cell.pair.name: words(cell.pair.axes) for cell in crossovers.cells}
