"""What is wrong with the names and values of a sweep file before any cell is made: fields that there are not,
conditions that nothing could meet, axes that set one field twice.

Each function returns what is right, and adds what is not to ``issues``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.language import fields, layers
from orchestrator.language.derived.ladders import size
from orchestrator.language.sweepfile import AnalysisSpec
from trainers.components.coercion import registry_of, scalars
from trainers.components.component import unknown, unknown_option
from trainers.components.numbers import number
from trainers.components.source import Issue, Node
from trainers.objectives.base import objectives

SEEDS = ("seed", "data.subset_seed")
"""What replicates move."""


def condition(node: Node, issues: list[Issue]) -> Node:
    """A condition less unknown fields; a value that its field can never have is an issue too, for it would
    silently match nothing."""
    node = known(node, issues, conditions=True)
    for name, child in node.items():
        if is_seed(name, child, issues):
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
    registry = registry_of(info) if info is not None else None
    if not isinstance(value, str):
        return
    if registry is not None and value not in registry.names():
        raise ValueError(unknown(registry.kind, value, registry.names()))
    if name == "model.size":
        size(value)
    elif info is not None and scalars(info.annotation) <= {int, float} and fields.numeric(name):
        number(value)


def known(node: Node, issues: list[Issue], conditions: bool = False, prefix: str = "") -> Node:
    """A partial run (or condition) less the keys that name no field; each is an issue that names the
    nearest."""
    if not isinstance(node.value, dict):
        return node
    table = fields.table()
    kept = {}
    for key, child in node.value.items():
        dotted = prefix + key
        if conditions and not prefix and dotted == "seed":
            kept[key] = child
        elif dotted not in table:
            issues.append(replace(child, value={}).issue(_unknown(key, prefix, node)))
        elif isinstance(child.value, dict) and "rule" not in child.value and not conditions:
            inner = known(child, issues, prefix=f"{dotted}.")
            if inner.value or not child.value:
                kept[key] = inner
        else:
            kept[key] = child
    return replace(node, value=kept)


def _unknown(key: str, prefix: str, node: Node) -> str:
    """What to say of a key that the mapping ``node`` cannot have: of a component whose kind is named, the
    options of that kind are allowed, else those of all kinds."""
    owner = prefix.removesuffix(".")
    info = fields.field(owner)
    registry = registry_of(info) if info is not None else None
    named = node.get("name")
    if registry is not None and named is not None and named.value in registry.names():
        sugar = fields.SUGAR.get(owner, ())
        return unknown_option(registry[named.value], key, sugar)
    inside = {name[len(prefix) :] for name in fields.table() if name.startswith(prefix)}
    names = sorted(inside if "." in key else {name.partition(".")[0] for name in inside})
    where = f" in {owner}" if owner else ""
    whole = [repr(name) for name in sorted(inside) if name.endswith(f".{key}")]
    if 0 < len(whole) <= 3 and not difflib.get_close_matches(key, names):
        return f"unknown field {key!r}{where}; did you mean {' or '.join(whole)}?"
    return unknown("field", key, names, where)


def axes(node: Node | None, issues: list[Issue]) -> dict[str, list[Node]]:
    """Axis -> values, without unknown names, removed axes and repeated values."""
    if node is None:
        return {}
    done: dict[str, list[Node]] = {}
    for name, child in known(node, issues).items():
        if child.value is None:
            continue
        if is_seed(name, child, issues):
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


def is_seed(name: str, child: Node, issues: list[Issue]) -> bool:
    """Whether a cell would set a seed of its own, which replicates would overwrite; recorded as an issue."""
    if name not in SEEDS:
        return False
    issues.append(child.issue(f"{name} is no axis: use `seeds`, which moves it for replicates"))
    return True


def _meant(name: str, value: Any) -> Any:
    """An axis's value as it is compared: ``10k`` and 10000 are one."""
    try:
        return number(value) if fields.numeric(name) else value
    except ValueError:
        return value


def points(group: Node, issues: list[Issue]) -> list[dict[str, Node]]:
    """The points of a zip group, each field -> value."""
    if isinstance(group.value, list):
        return [
            {n: v for n, v in known(point, issues, conditions=True).items() if not is_seed(n, v, issues)}
            for point in group.value
        ]
    columns = axes(group, issues)
    lengths = {name: len(values) for name, values in columns.items()}
    if len({*lengths.values()}) > 1:
        issues.append(group.issue(f"the lists of a group have equal length; here {lengths}"))
        return []
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def clashes(
    axes: Mapping[str, list[Node]],
    groups: Iterable[Iterable[Mapping[str, Node]]],
    conditional: Iterable[tuple[Node, Mapping[str, list[Node]]]],
    issues: list[Issue],
) -> None:
    """Axes, groups of points and conditional axes that set one field; and fields that ``when`` sets over an
    axis. ``conditional``: what each ``when`` sets, and its axes."""
    conditional = list(conditional)
    seen: dict[str, list[Node]] = {}

    def compare(varied: Mapping[str, list[Node]]) -> None:
        for name, nodes in varied.items():
            for other, first in seen.items():
                if _same_field(name, nodes, other, first):
                    where = f"{first[0].key} on line {first[0].line}"
                    where += f" of {first[0].file}" if first[0].file != nodes[0].file else ""
                    issues.append(nodes[0].issue(f"sets the same field as {where}"))

    for group in [*({name: nodes} for name, nodes in sorted(axes.items())), *map(_columns, groups)]:
        compare(group)
        seen |= group
    for over, further in conditional:
        compare(further)
        for name in seen:
            leaf = over.find(layers.canonical(name))
            if leaf is not None and not isinstance(leaf.value, dict):
                text = f"the axis {name} sets this field; exclude its cells, or zip it with another axis"
                issues.append(leaf.issue(text))


def _columns(group: Iterable[Mapping[str, Node]]) -> dict[str, list[Node]]:
    """A group's points as field -> the values that they have of it."""
    columns: dict[str, list[Node]] = {}
    for point in group:
        for name, node in point.items():
            columns.setdefault(name, []).append(node)
    return columns


def _same_field(a: str, a_values: list[Node], b: str, b_values: list[Node]) -> bool:
    """Whether two axes set one field, or one sets a field within what the other sets. A component's name and
    its options are different fields, unless a value of the former has the latter."""
    a, b = layers.canonical(a), layers.canonical(b)
    rivals = [{".".join(map(str, (*path, key))) for key in keys} for path, keys in layers.ONE_OF.items()]
    if a == b or any({a, b} <= names for names in rivals):
        return True
    outer, inner, values = (a, b, a_values) if len(a) < len(b) else (b, a, b_values)
    if not inner.startswith(f"{outer}."):
        return False
    info = fields.field(outer)
    within = inner.removeprefix(f"{outer}.")
    component = info is not None and registry_of(info) is not None
    return not component or any(node.find(within) is not None for node in values)


def comparison(analysis: AnalysisSpec, node: Node | None, axes: Sequence[str], issues: list[Issue]) -> None:
    """Objectives of ``pair`` that there are not, or twice one, and fields of ``pair_over`` that are no
    axes."""
    if node is None:
        return
    for i, name in enumerate(analysis.pair):
        if name not in objectives.names():
            issues.append(node.at(("pair", i)).issue(unknown("objective", name, objectives.names())))
        elif name in analysis.pair[:i]:
            issues.append(node.at(("pair", i)).issue("a pair has two objectives"))
    for i, name in enumerate(analysis.pair_over):
        if name not in fields.table():
            text = unknown("field", name, sorted(fields.table()))
        elif name not in axes:
            text = f"is no axis of this sweep, which has {', '.join(axes) or 'none'}"
        else:
            continue
        issues.append(node.at(("pair_over", i)).issue(text))
