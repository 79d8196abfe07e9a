"""The cells of a sweep: what each has on a field, whether it meets a condition, and what tables call it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from orchestrator.language import fields, layers
from orchestrator.language.derived.numbers import exact
from orchestrator.language.spec import SweepSpec
from trainers.components.coercion import registry_of
from trainers.components.numbers import number
from trainers.components.source import Node


@dataclass(frozen=True)
class Cell:
    """A point of the axes before it is resolved: the layers' sum, what the axes were set to, and the
    conditions of ``when`` that it met."""

    run: Node
    set: dict[str, Node]
    met: tuple[Node, ...] = ()


def cells(spec: SweepSpec) -> Iterator[Cell]:
    """The product of axes and zip groups, conditional axes included, laid over the base; `when` applies in
    its order."""
    axes = [[{name: node} for node in values] for name, values in sorted(spec.axes.items())]
    for combination in product(*axes, *spec.zip):
        point = {name: node for part in combination for name, node in part.items()}
        yield from _conditional(_lay(Cell(spec.base, {}), point), spec.when)


def _conditional(cell: Cell, rest: list[tuple[Node, Node, dict[str, list[Node]]]]) -> Iterator[Cell]:
    if not rest:
        yield cell
        return
    (condition, over, axes), *others = rest
    if not matches(condition, cell):
        yield from _conditional(cell, others)
        return
    run = layers.merge(cell.run, over)
    for values in product(*([(name, node) for node in nodes] for name, nodes in sorted(axes.items()))):
        yield from _conditional(_lay(Cell(run, cell.set, (*cell.met, condition)), dict(values)), others)


def _lay(cell: Cell, point: Mapping[str, Node]) -> Cell:
    """Axis values over a cell. A component's name goes before its options, whatever the order they are
    written in."""
    run = cell.run
    for name, node in sorted(point.items(), key=lambda item: item[0].count(".")):
        run = layers.merge(run, layers.nest(layers.canonical(name), node, run))
    return Cell(run, {**cell.set, **point}, cell.met)


def written(cell: Cell, name: str) -> Node:
    """What a cell has at a dotted name: the axis's value, else the run's as written, else the default."""
    if name in cell.set:
        return cell.set[name]
    node = cell.run
    for part in layers.canonical(name).split("."):
        child = node.get(part)
        if child is None:
            if part == "name" and isinstance(node.value, str):
                return node
            return Node(_default(cell, name))
        node = child
    return node


def _default(cell: Cell, name: str) -> Any:
    """The default of a field as it would be written; None for an option that the cell's component, being of
    another kind, does not have."""
    owner, _, option = name.rpartition(".")
    owned = fields.field(owner)
    registry = registry_of(owned) if owned is not None else None
    if registry is None or option == "name":
        return fields.default(name)
    component = cell.run.at(owner.split("."))
    named = component.get("name") or component
    kind = named.value if named.value in registry.names() else fields.default(owner)
    info = registry[kind].model_fields.get(option)
    return None if info is None or info.is_required() else info.get_default(call_default_factory=True)


def matches(condition: Node, cell: Cell, skip: str = "") -> bool:
    """Whether a cell has every value that a condition names; a list means any of its values."""
    return all(name == skip or value_matches(name, allowed, cell) for name, allowed in condition.items())


def value_matches(name: str, allowed: Node, cell: Cell) -> bool:
    """Whether a cell has this value, or one of these, on a field; a component also by its bare name."""
    value = written(cell, name).plain
    options = allowed.plain if isinstance(allowed.plain, list) else [allowed.plain]
    own = label(name, value)
    bare = value.get("name") if isinstance(value, Mapping) else None
    return any(label(name, option) == own or (bare is not None and option == bare) for option in options)


def options(spec: SweepSpec, name: str) -> set[str]:
    """The options that any value of an axis sets, where those are mappings."""
    values = [*spec.axes.get(name, ())]
    values += [point[name] for group in spec.zip for point in group if name in point]
    values += [node for _, _, axes in spec.when for node in axes.get(name, ())]
    return {option for node in values for option, _ in node.items()} - {"name", "rule"}


def shown(cell: Cell, name: str, varied: set[str]) -> Any:
    """A cell's value on an axis, of which ``varied`` are the options that any of its values sets: where the
    axis does not set it, what the run has of those."""
    value = written(cell, name).plain
    if name not in cell.set and (varied or isinstance(value, Mapping)):
        inherited = value if isinstance(value, Mapping) else {"name": value}
        value = {key: inherited.get(key, _default(cell, f"{name}.{key}")) for key in varied}
        if inherited.get("name") not in (None, _default(cell, name)):
            value["name"] = inherited["name"]
    return label(name, value, varied)


def label(name: str, value: Any, varied: Collection[str] = ()) -> Any:
    """A value as a table shows it: numbers read, a component by its name and options. Where those are all
    that vary, begin with one word and have one value, they are told at once (``dropout_*=0.1``)."""
    if isinstance(value, Mapping):
        kind = value.get("name", value.get("rule", ""))
        told = {k: text(label(f"{name}.{k}", v)) for k, v in value.items() if k not in ("name", "rule")}
        words = {option.partition("_")[0] for option in told}
        if len(told) > 1 and told.keys() == {*varied} and len(words) == len({*told.values()}) == 1:
            told = {f"{words.pop()}_*": min(told.values())}
        inside = ",".join(f"{k}={v}" for k, v in sorted(told.items()))
        return f"{kind}({inside})" if inside else kind
    if isinstance(value, list):
        return f"[{','.join(text(v) for v in value)}]"
    if isinstance(value, str) and fields.numeric(name):
        try:
            return number(value)
        except ValueError:
            return value
    return int(value) if isinstance(value, float) and value.is_integer() and fields.numeric(name) else value


def text(value: Any) -> str:
    """A label as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return exact(value)
    return "none" if value is None else str(value)


def cell_name(axes: Mapping[str, Any]) -> str:
    """A cell's labels by axis, sorted, in one line; axes by the last part of their names where that tells
    them apart, less those that the cell has nothing on."""
    last = {name: name.rpartition(".")[2] for name in axes}
    names = {name: short if [*last.values()].count(short) == 1 else name for name, short in last.items()}
    told = [(names[name], value) for name, value in sorted(axes.items()) if value is not None]
    return " ".join(f"{name}={text(value)}" for name, value in told) or "base"
