"""A sweep to its end points: pure; the same file gives the same list and the same keys, whatever the order of
its keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, TypeVar, cast

from orchestrator.language.derived.resolution import resolve
from orchestrator.language.derived.supply import lacking, shortage
from orchestrator.language.extension import extended, extensible
from orchestrator.language.grid import (
    cell_name,
    cells,
    label,
    matches,
    options,
    shown,
    text,
    value_matches,
    written,
)
from orchestrator.language.spec import SweepSpec
from trainers.components.component import Frozen, remembered_identities, unknown
from trainers.components.numbers import count
from trainers.components.source import Issue, Node, SpecError
from trainers.config import RunConfig

F = TypeVar("F", bound=Frozen)
Labels = dict[str, Any]
"""Axis -> value, as a table shows it: a number, a bool or a short text."""

MOST_ISSUES = 40


@dataclass(frozen=True)
class EndPoint:
    """One row of a plan: a run, read up to where this sweep asks for it."""

    sweep: str
    config: RunConfig
    axes: Labels
    """Every axis of the sweep, seeds left out."""
    cell: str
    """The cell's name, which replicates share."""
    written: Mapping[str, Any] = field(compare=False)
    """The same as it would be written in a sweep, as conditions have it."""
    seed: int
    """The replicate, as listed in ``seeds``."""
    subset_pinned: bool = False
    """Whether replicates share one subset, so that intervals are conditional on it."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    lacking: tuple[Issue, ...] = field(default=(), compare=False)
    """Packages that are to be installed before it can be trained."""
    requested: int | None = None
    """The steps that the sweep asks for, where its stop rule ended the run before."""

    @cached_property
    def run(self) -> str:
        """The training key."""
        return self.config.training_key

    @cached_property
    def trunk(self) -> RunConfig | None:
        """The shared constant-rate part of the run, as `RunConfig.trunk`."""
        return self.config.trunk()

    @cached_property
    def key(self) -> str:
        """The end point's key: training key and steps."""
        return f"{self.run}-{self.config.steps}"


@dataclass(frozen=True)
class Expansion:
    """A sweep and its end points. Expanding is what costs; limits of a stop rule are laid over afterwards."""

    spec: SweepSpec
    unlimited: tuple[EndPoint, ...]
    """Every end point at its own horizon: cells by axis (sorted by name, values as listed), replicates
    innermost."""
    warnings: tuple[str, ...] = ()
    """What is to be said of the sweep as a whole."""

    @classmethod
    def of(cls, spec: SweepSpec) -> Expansion:
        """Expand a sweep. Raises SpecError with all errors of all cells."""
        with remembered_identities():
            return _expanded(spec)

    @cached_property
    def points(self) -> tuple[EndPoint, ...]:
        """The end points, each ended by the stop rule where that comes first."""
        limits = self.spec.limits
        if not limits:
            return self.unlimited
        return tuple(_limited(point, limits.get(point.run)) for point in self.unlimited)

    def limited(self, limits: Mapping[str, int]) -> Expansion:
        """The same sweep with other limits (training key -> step)."""
        return replace(self, spec=replace(self.spec, limits=dict(limits)))


def expand(spec: SweepSpec) -> list[EndPoint]:
    """Every end point of the sweep. Raises SpecError with all errors of all cells."""
    return list(Expansion.of(spec).points)


def _expanded(spec: SweepSpec) -> Expansion:
    issues: list[Issue] = []
    points: list[EndPoint] = []
    varied = {name: options(spec, name) for name in spec.axis_names}
    pinned = spec.base.find("data.subset_seed") is not None
    seeds = _replicates(spec, issues)
    met: set[int] = set()
    shared = _Shared()
    for cell in cells(spec):
        excluded = [condition for condition in spec.exclude if matches(condition, cell)]
        met |= {id(condition) for condition in (*cell.met, *excluded)}
        if excluded:
            continue
        met |= {id(e.match) for e in spec.extend if matches(e.match, cell, skip="seed")}
        if not all(matches(condition, cell, skip="seed") for condition in spec.only):
            continue
        before = len(issues)
        config = resolve(cell.run, issues)
        if config is not None and _has_content(config, cell.run, issues):
            config = shared.parts(config)
            lacks = tuple(_about(cell.run.at(path), message) for path, message in lacking(config))
            config = extended(config, spec.extend, partial(matches, cell=cell, skip="seed"), issues)
        if config is None or len(issues) > before:
            if len(issues) > MOST_ISSUES:
                break
            continue
        values = {name: written(cell, name).plain for name in varied}
        axes = {name: shown(cell, name, options) for name, options in varied.items()}
        name, warnings = cell_name(axes), _warnings(config)
        for seed in seeds:
            if all(_seed_matches(condition, seed) for condition in spec.only):
                run = _replicate(config, seed, pinned, shared)
                points.append(EndPoint(spec.name, run, axes, name, values, seed, pinned, warnings, lacks))
    if not points and not issues:
        issues.append(_nothing_left(spec))
    if issues:
        raise SpecError(list(dict.fromkeys(issues)))
    return Expansion(spec, tuple(_without_horizons(points)), tuple(_idle(spec, met)))


class _Shared:
    """Equal parts of the cells' configs as one object each, so that what follows of them is computed once."""

    def __init__(self) -> None:
        self._parts: dict[Frozen, Frozen] = {}

    def parts(self, config: RunConfig) -> RunConfig:
        """The same config of shared parts."""
        data = config.data.model_copy(update=self._of(config.data))
        return config.model_copy(update={**self._of(config), "data": data})

    def one(self, part: F) -> F:
        """The part that stands for all that equal it."""
        try:
            return cast(F, self._parts.setdefault(part, part))
        except TypeError:  # a component with a field that cannot be hashed
            return part

    def _of(self, config: Frozen) -> dict[str, Frozen]:
        fields = ((name, getattr(config, name)) for name in type(config).model_fields)
        return {name: self.one(value) for name, value in fields if isinstance(value, Frozen)}


def _replicates(spec: SweepSpec, issues: list[Issue]) -> tuple[int, ...]:
    """The seeds: those listed, or the one that the base sets."""
    seeded = spec.base.get("seed")
    if seeded is None:
        return spec.seeds
    if spec.source.get("seeds") is not None:
        issues.append(seeded.issue("`seeds` sets the seed of every replicate; leave one of them out"))
    try:
        return (count(seeded.value),)
    except ValueError:  # which resolving the cells says
        return spec.seeds


def _about(node: Node, message: str) -> Issue:
    """An issue at this place that is not about the value there."""
    return Issue(node.file, node.line, node.key, message)


def _idle(spec: SweepSpec, met: Collection[int]) -> Iterator[str]:
    """What to say of conditions of the sweep's own file that no cell has met."""
    conditions = [*spec.exclude, *(match for match, _, _ in spec.when), *(e.match for e in spec.extend)]
    for condition in conditions:
        if condition.file == spec.file and condition.value and id(condition) not in met:
            yield f"{condition.key} on line {condition.line} meets no cell"


def _limited(point: EndPoint, limit: int | None) -> EndPoint:
    """The end point, ended by the stop rule where that comes first."""
    steps = point.config.steps
    if limit is None or limit >= steps:
        return point
    return replace(point, config=point.config.model_copy(update={"steps": limit}), requested=steps)


def _without_horizons(points: list[EndPoint]) -> list[EndPoint]:
    """A horizon that follows another axis (zipped with it) is no axis of a cell, where runs do not depend on
    their end."""
    if any(point.config.schedule.depends_on_end for point in points):
        return points
    bare, axes = [], dict[str, tuple[Labels, str]]()
    for point in points:
        if point.cell not in axes:
            left = {k: v for k, v in point.axes.items() if k != "steps" and not k.startswith("budget.")}
            if left.keys() == point.axes.keys():
                return points
            axes[point.cell] = left, cell_name(left)
        labels, cell = axes[point.cell]
        bare.append(replace(point, axes=labels, cell=cell))
    return bare if len({(point.cell, point.seed) for point in bare}) == len(points) else points


def _has_content(config: RunConfig, run: Node, issues: list[Issue]) -> bool:
    """Whether the corpus is there to be told by its content, which keys need, and holds the text that is
    asked for; an issue where not."""
    try:
        config.data.corpus.digest()
        short = shortage(config.data)
    except (ValueError, OSError) as error:
        field, colon, message = str(error).removeprefix("data.corpus.").partition(": ")
        node = run.at(("data", "corpus", field))
        issues.append(node.issue(message if colon and node.path[-1:] == (field,) else str(error)))
        return False
    if short is not None and short.certain:
        issues.append(run.at(("data", short.field)).issue(short.message))
        return False
    return True


def _replicate(config: RunConfig, seed: int, pinned: bool, shared: _Shared) -> RunConfig:
    data = config.data if pinned else shared.one(config.data.model_copy(update={"subset_seed": seed}))
    return config.model_copy(update={"seed": seed, "data": data})


def _warnings(config: RunConfig) -> tuple[str, ...]:
    warnings = []
    if not extensible(config):
        warnings.append(
            f"a {config.schedule.name} run cannot be extended, and the place of its crossover depends on its "
            "horizon (measured for cosine: +18 %)"
        )
    short = shortage(config.data)
    if short is not None:
        warnings.append(f"data.{short.field}: {short.message}")
    warmup = getattr(config.schedule, "warmup", 0)
    if warmup >= config.steps:
        warnings.append(f"runs of {config.steps} steps end within their warm-up of {warmup}")
    if "steps" not in config.model_fields_set:
        warnings.append(
            f"no budget is given: runs end at {config.steps} steps; write `budget: {{tokens: 1M}}`"
        )
    return tuple(warnings)


def _seed_matches(condition: Node, seed: int) -> bool:
    seeds = condition.get("seed")
    return seeds is None or seed in (seeds.plain if isinstance(seeds.plain, list) else [seeds.plain])


def _nothing_left(spec: SweepSpec) -> Issue:
    """Why a sweep has no cell: a condition of --only that nothing meets, or exclusions."""
    everything = list(cells(spec))
    for condition in spec.only:
        for name, allowed in condition.items():
            if name == "seed":
                if not any(_seed_matches(condition, seed) for seed in spec.seeds):
                    why = unknown("value", str(allowed.plain), [str(seed) for seed in spec.seeds])
                    return Issue(condition.file, 0, name, why)
                continue
            if not any(value_matches(name, allowed, cell) for cell in everything):
                values = sorted({text(label(name, written(cell, name).plain)) for cell in everything})
                near = unknown("value", ",".join(map(text, allowed.plain)), values)
                return Issue(condition.file, 0, name, near)
    return spec.source.issue("no cell is left: `exclude`, or --only, leaves all of them out")
