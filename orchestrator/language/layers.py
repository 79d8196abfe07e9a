"""Partial runs laid over each other: what `extends`, `when`, axes and `--set` have in common. Positions are
kept.

Mappings merge, everything else replaces, with three exceptions that a person expects: what is given in one of
several ways
(`budget`, `unique_tokens` or `unique_bytes`) is replaced as one; a component of another name replaces the old
one with its options, but one of the same name, or options without a name, keep them; a `rule` replaces a
rule.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.language.fields import HORIZONS
from trainers.components.source import Issue, KeyPath, Node

ONE_OF: dict[KeyPath, tuple[str, ...]] = {("budget",): HORIZONS, ("data",): ("unique_tokens", "unique_bytes")}
"""Keys of a mapping of which the upper layer's one drops the lower layer's others."""


def nest(dotted: str, node: Node, root: Node) -> Node:
    """``node`` under a dotted name: ``{optimizer: {lr: node}}``."""
    for part in reversed(dotted.split(".")):
        node = Node({part: node}, node.file, node.line, node.path)
    return replace(node, path=root.path)


def canonical(dotted: str) -> str:
    """A field's one name: a run's ``steps`` are its ``budget.steps``."""
    return "budget.steps" if dotted == "steps" else dotted


def undot(node: Node, issues: list[Issue], top: bool = True) -> Node:
    """A partial run with its dotted keys nested. A field written twice, dotted and nested, is an issue."""
    if not isinstance(node.value, dict) or "rule" in node.value:
        return node
    done = replace(node, value={})
    for key, child in sorted(node.value.items(), key=lambda item: item[1].line):
        layer = nest(canonical(key) if top else key, undot(child, issues, top=False), node)
        twice = overlap(done, layer)
        if twice is not None:
            issues.append(
                Issue(
                    child.file, child.line, child.key, f"{twice.key} on line {twice.line} sets the same field"
                )
            )
        done = merge(done, layer)
    return done


def overlap(lower: Node, upper: Node, path: KeyPath = ()) -> Node | None:
    """A node of ``lower`` that ``upper`` would replace, if any."""
    if not (isinstance(lower.value, dict) and isinstance(upper.value, dict)):
        return lower
    for key, child in upper.items():
        rivals = [key, *(k for k in ONE_OF.get(path, ()) if key in ONE_OF[path])]
        for rival in rivals:
            if rival in lower.value:
                below = (
                    lower.value[rival] if rival != key else overlap(lower.value[rival], child, (*path, key))
                )
                if below is not None:
                    return below
    return None


def merge(lower: Node, upper: Node, path: KeyPath = ()) -> Node:
    """``upper`` laid over ``lower``."""
    low, up = lower.value, upper.value
    if isinstance(up, str) and isinstance(low, dict) and _is_component(lower, path):
        same = "name" not in low or low["name"].value == up
        return lower.put("name", upper) if same else upper
    if not isinstance(up, dict) or "rule" in up or path == ("init",):
        return upper
    if isinstance(low, str) and "name" not in up and path != ("init",):
        return upper.put("name", lower)
    if not isinstance(low, dict) or "rule" in low:
        return upper
    if "name" in up and "name" in low and up["name"].value != low["name"].value:
        return upper
    group = ONE_OF.get(path, ())
    kept = low if not set(group) & set(up) else {k: v for k, v in low.items() if k not in group}
    merged = {
        key: merge(kept[key], child, (*path, key)) if key in kept else child for key, child in up.items()
    }
    return Node({**kept, **merged}, upper.file, upper.line, upper.path)


def _is_component(node: Node, path: KeyPath) -> bool:
    return (
        len(path) > 0
        and path not in (("data",), ("budget",), ("init",), ("evaluation",), ("resources",))
        and "rule" not in node.value
    )
