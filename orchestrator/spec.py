"""The sweep language: a YAML file (and what it extends) to a `SweepSpec`. Strict, and all errors of a file at
once.

    spec, = load(["sweeps/quickstart.yaml"], set=["base.optimizer.lr=1e-3"],
    only=["objective=autoregressive"]) for end_point in orchestrator.expand.expand(spec): ...

`docs/sweeps.md` is the manual; `sweepfile.SweepFile` is the structure, with one sentence a key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from pydantic import ValidationError

from orchestrator import fields, layers
from orchestrator.extension import Extension
from orchestrator.ladders import size
from orchestrator.numbers import count, number
from orchestrator.overlay import extended, overlay, setting
from orchestrator.source import Issue, KeyPath, Node, SpecError, parse, read
from orchestrator.sweepfile import AnalysisSpec, SweepFile
from trainers.component import problems, unknown
from trainers.objectives.base import objectives


@dataclass(frozen=True)
class SweepSpec:
    """A valid sweep: its layers, with positions, and what is wanted of it. `orchestrator.expand` makes runs
    of it."""

    name: str
    file: str
    description: str
    base: Node
    axes: dict[str, list[Node]]
    zip: list[list[dict[str, Node]]]
    exclude: list[Node]
    when: list[tuple[Node, Node, dict[str, list[Node]]]]
    seeds: tuple[int, ...]
    analysis: AnalysisSpec
    only: tuple[Node, ...]
    extend: tuple[Extension, ...]
    source: Node
    """The whole file, `extends` and `--set` applied."""
    command: str = ""
    """What follows `crossover run` for this sweep: the file and its `--set` and `--only`."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Training key -> the step that a stop rule ended it at."""

    @property
    def axis_names(self) -> list[str]:
        """Every field that varies, sorted, seeds left out."""
        zipped = {name for group in self.zip for point in group for name in point}
        conditional = {name for _, _, axes in self.when for name in axes}
        return sorted({*self.axes, *zipped, *conditional})

    def snapshot(self) -> dict[str, Any]:
        """The sweep as plain values, self-contained: what was read, `extends` and `--set` applied."""
        return {
            "name": self.name,
            **{k: v for k, v in self.source.plain.items() if k not in ("name", "extends")},
        }

    def with_extensions(self, file: Path) -> SweepSpec:
        """This sweep with the entries of an ``extend.yaml``, if there is one, after its own. Raises
        SpecError."""
        if not file.is_file():
            return self
        issues: list[Issue] = []
        node = read(file)
        try:
            SweepFile.model_validate(node.plain)
        except ValidationError as error:
            issues += [node.at(p.path).issue(p.message) for p in problems(error, SweepFile)]
            raise SpecError(issues) from None
        held = self.source.get("extend") or Node([], self.source.file, self.source.line, ("extend",))
        own = [item.plain for item in held.value]
        added = [item for item in (node.get("extend") or Node([])).value if item.plain not in own]
        extensions = _extensions(added, issues)
        if issues:
            raise SpecError(issues)
        source = self.source.put("extend", replace(held, value=[*held.value, *added]))
        return replace(self, extend=(*self.extend, *extensions), source=source)


def load(paths: Sequence[str | Path], set: Sequence[str] = (), only: Sequence[str] = ()) -> list[SweepSpec]:
    """The sweeps in these files.

    ``set``: ``"base.optimizer.lr=1e-3"``, laid over each file; ``only``: ``"axis=value"`` or
    ``"axis=value,value"``, cells kept.
    Raises SpecError with every error of every file.
    """
    from orchestrator.expand import expand

    specs: list[SweepSpec] = []
    issues: list[Issue] = []
    for path in paths:
        try:
            spec, found, traps = _one(Path(path), set, only)
        except SpecError as error:
            issues += error.issues
            continue
        if found:
            try:
                expand(spec)
            except SpecError as error:
                found += error.issues
            said = {(trap.file, trap.key) for trap in traps}
            issues += traps + [issue for issue in found if (issue.file, issue.key) not in said]
        specs.append(spec)
    names = [spec.name for spec in specs]
    for spec in specs:
        if names.count(spec.name) > 1:
            issues.append(
                spec.source.issue(f"two of the sweeps are named {spec.name!r}; give one another `name`")
            )
    if issues:
        raise SpecError(issues)
    return specs


def _one(
    path: Path, settings: Sequence[str], only: Sequence[str]
) -> tuple[SweepSpec, list[Issue], list[Issue]]:
    """A file's spec without what is wrong in it, what is wrong, and what of that was wrong on reading."""
    issues: list[Issue] = []
    source = extended(path, (), issues)
    options = [*(f"--set {quote(s)}" for s in settings), *(f"--only {quote(s)}" for s in only)]
    traps = list(issues)
    for text in settings:
        source = overlay(source, setting(text, issues), issues)
    source = _structure(source, issues)
    conditions = [node for text in only if (node := _only(text, issues)) is not None]

    def part(name: str, empty: Any) -> Node:
        return source.get(name) or Node(empty, source.file, source.line, (name,))

    base = layers.undot(_known(part("base", {}), issues), issues)
    resources = source.get("resources")
    if resources is not None:
        layer = layers.nest("resources", resources, base)
        twice = layers.overlap(base, layer)
        if twice is not None:
            issues.append(twice.issue("`resources` at the top level sets the same field"))
        base = layers.merge(base, _known(layer, issues))
    when = []
    for node in part("when", []).value:
        written = node.get("match") or Node({})
        match = _condition(written, issues)
        over = layers.undot(
            _known(node.get("set") or Node({}, node.file, node.line, node.path), issues), issues
        )
        if (own := over.get("seed")) is not None:
            _is_seed("seed", own, issues)
        axes = _axes(node.get("axes"), issues)
        if len(match.value) == len(written.value):
            when.append((match, over, axes))
    seeds = source.get("seeds")
    numbers = (
        tuple(range(count(seeds.value)) if not isinstance(seeds.value, list) else map(count, seeds.plain))
        if seeds
        else (0,)
    )
    if len({*numbers}) < len(numbers) and seeds:
        issues.append(seeds.issue("a seed is listed twice"))
    spec = SweepSpec(
        name=(source.get("name") or Node(path.stem)).value,
        file=str(path),
        description=str(part("description", "").value),
        base=base,
        axes=_axes(source.get("axes"), issues),
        zip=[points for group in part("zip", []).value if (points := _points(group, issues))],
        exclude=[
            known
            for node in part("exclude", []).value
            if len((known := _condition(node, issues)).value) == len(node.value)
        ],
        when=when,
        seeds=numbers,
        analysis=AnalysisSpec.model_validate(part("analysis", {}).plain),
        only=tuple(conditions),
        extend=_extensions(part("extend", []).value, issues),
        source=source,
        command=" ".join([quote(str(path)), *options]),
    )
    _clashes(spec, issues)
    _comparison(spec.analysis, source.get("analysis"), issues)
    return spec, issues, traps


def _comparison(analysis: AnalysisSpec, node: Node | None, issues: list[Issue]) -> None:
    """Objectives of ``pair`` and fields of ``pair_over`` that there are not."""
    if node is None:
        return
    known = {"pair": ("objective", objectives.names()), "pair_over": ("field", sorted(fields.table()))}
    for key, (kind, names) in known.items():
        for i, name in enumerate(getattr(analysis, key)):
            if name not in names:
                text = unknown(kind, name, list(names))
                issues.append(node.at((key, i)).issue(text if len(names) < 25 else text.split(" Known:")[0]))


def _extensions(nodes: Sequence[Node], issues: list[Issue]) -> tuple[Extension, ...]:
    """The entries of ``extend`` whose conditions name fields that there are."""
    found = []
    for node in nodes:
        written = node.get("match") or Node({}, node.file, node.line, node.path)
        match = _condition(written, issues)
        if len(match.value) == len(written.value):
            found.append(Extension(match, node.at(("to",))))
    return tuple(found)


def _structure(source: Node, issues: list[Issue]) -> Node:
    """The source less the top-level keys that are wrong; each error is an issue."""
    try:
        SweepFile.model_validate(source.plain)
    except ValidationError as error:
        whole = source
        for problem in problems(error, SweepFile):
            node = whole.at(problem.path)
            message = problem.message
            if message.startswith("unknown field"):
                message = message.replace("unknown field", "unknown key")
            if problem.path[0] == "axes" and "list" in message:
                message = "an axis is a list of values"
            if problem.path[0] == "zip":
                message = _ZIP
            issues.append(node.issue(message))
            source = _prune(source, problem.path)
    return source


def _prune(source: Node, path: KeyPath) -> Node:
    """``source`` less what an error is about: one axis, else the whole top-level key."""
    top = str(path[0]) if path else ""
    child = source.get(top)
    if child is None:
        return source
    if top == "axes" and len(path) > 1 and isinstance(child.value, dict):
        return source.put(top, replace(child, value={k: v for k, v in child.value.items() if k != path[1]}))
    return replace(source, value={k: v for k, v in source.value.items() if k != top})


_ZIP = "zip is a list of groups, each a mapping of fields to lists of equal length, or a list of points"


def _only(text: str, issues: list[Issue]) -> Node | None:
    """``AXIS=VALUE[,VALUE]`` of ``--only`` as a condition."""
    key, equals, value = text.partition("=")
    place = Node(None, f"--only {text}")
    if not equals or not key.strip():
        issues.append(place.issue("write --only AXIS=VALUE, for example --only objective=autoregressive"))
        return None
    values = parse(f"[{value}]", place.file)
    node = Node({key.strip(): replace(values, line=0)}, place.file, 0)
    return node if _known(node, issues, conditions=True).value else None


def _condition(node: Node, issues: list[Issue]) -> Node:
    """A condition less unknown fields; a value that its field can never have is an issue too, for it would
    silently match nothing."""
    node = _known(node, issues, conditions=True)
    for name, child in node.items():
        if _is_seed(name, child, issues):
            continue
        for option in child.value if isinstance(child.value, list) else [child]:
            try:
                _possible(name, option.value)
            except ValueError as error:
                issues.append(option.issue(str(error)))
    return node


def _possible(name: str, value: Any) -> None:
    """ValueError where ``value`` names no component, size or number that the field ``name`` can have."""
    info = fields.field(name)
    registry = fields.registry_of(info) if info is not None else None
    if not isinstance(value, str):
        return
    if registry is not None and value not in registry.names():
        raise ValueError(unknown(registry.kind, value, registry.names()))
    if name == "model.size":
        size(value)
    elif info is not None and fields.scalars(info.annotation) <= {int, float} and fields.numeric(name):
        number(value)


def _known(node: Node, issues: list[Issue], conditions: bool = False, prefix: str = "") -> Node:
    """A partial run (or condition) less the keys that name no field; each is an issue that names the
    nearest."""
    if not isinstance(node.value, dict):
        return node
    known = fields.table()
    kept = {}
    for key, child in node.value.items():
        dotted = prefix + key
        if conditions and not prefix and dotted == "seed":
            kept[key] = child
        elif dotted not in known:
            siblings = {name[len(prefix) :] for name in known if name.startswith(prefix)}
            near = sorted(siblings if "." in key else {s.split(".")[0] for s in siblings})
            message = unknown("field", key, near)
            where = f" in {prefix.removesuffix('.')}" if prefix else ""
            text = message if len(near) < 25 else message.split(" Known:")[0]
            issues.append(
                replace(child, value={}).issue(text.replace("unknown field", f"unknown field{where}", 1))
            )
        elif isinstance(child.value, dict) and "rule" not in child.value and not conditions:
            kept[key] = _known(child, issues, prefix=f"{dotted}.")
        else:
            kept[key] = child
    return replace(node, value=kept)


def _axes(node: Node | None, issues: list[Issue]) -> dict[str, list[Node]]:
    """Axis -> values, without unknown names, removed axes and repeated values."""
    if node is None:
        return {}
    done: dict[str, list[Node]] = {}
    for name, child in _known(node, issues).items():
        if child.value is None:
            continue
        if _is_seed(name, child, issues):
            continue
        if not child.value:
            issues.append(child.issue("an axis needs at least one value"))
        else:
            meant = [_meant(name, item.plain) for item in child.value]
            for i, item in enumerate(child.value):
                if meant[i] in meant[:i]:
                    issues.append(item.issue("this value is listed twice"))
            done[name] = list(child.value)
    return done


def _is_seed(name: str, child: Node, issues: list[Issue]) -> bool:
    """Whether a cell would set a seed of its own, which replicates would overwrite; recorded as an issue."""
    if name not in ("seed", "data.subset_seed"):
        return False
    issues.append(child.issue(f"{name} is no axis: use `seeds`, which moves it for replicates"))
    return True


def _meant(name: str, value: Any) -> Any:
    """An axis's value as it is compared: ``10k`` and 10000 are one."""
    try:
        return number(value) if fields.numeric(name) else value
    except ValueError:
        return value


def _points(group: Node, issues: list[Issue]) -> list[dict[str, Node]]:
    """The points of a zip group, each field -> value."""
    if isinstance(group.value, list):
        return [
            {n: v for n, v in _known(point, issues, conditions=True).items() if not _is_seed(n, v, issues)}
            for point in group.value
        ]
    axes = _axes(group, issues)
    lengths = {name: len(values) for name, values in axes.items()}
    if len({*lengths.values()}) > 1:
        issues.append(group.issue(f"the lists of a group have equal length; here {lengths}"))
        return []
    return [dict(zip(axes, values, strict=True)) for values in zip(*axes.values(), strict=True)]


def _clashes(spec: SweepSpec, issues: list[Issue]) -> None:
    """Axes that set one field, or one within another's that is no component (whose name goes before its
    options)."""
    seen: dict[str, Node] = {}
    groups = [{name: values[0]} for name, values in sorted(spec.axes.items())]
    groups += [{name: node for point in group for name, node in point.items()} for group in spec.zip]
    for group in groups:
        for name, node in group.items():
            for other, first in seen.items():
                if _same_field(layers.canonical(name), layers.canonical(other)):
                    issues.append(node.issue(f"sets the same field as {first.key} on line {first.line}"))
        seen |= group
    for _, over, _ in spec.when:
        for name in seen:
            leaf: Node | None = over
            for part in layers.canonical(name).split("."):
                leaf = leaf.get(part) if leaf is not None else None
            if leaf is not None and not isinstance(leaf.value, dict):
                issues.append(
                    leaf.issue(
                        f"the axis {name} sets this field; exclude its cells, or zip it with another axis"
                    )
                )


def _same_field(a: str, b: str) -> bool:
    if {a.partition(".")[0], b.partition(".")[0]} == {"budget"}:
        return True
    outer, inner = sorted((a, b), key=len)
    info = fields.field(outer)
    component = info is not None and fields.registry_of(info) is not None
    return a == b or (inner.startswith(f"{outer}.") and not component)
