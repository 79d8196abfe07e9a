"""A sweep file laid over those it extends, and `--set` laid over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.language import fields, layers
from trainers.components.coercion import anchored
from trainers.components.source import Issue, KeyPath, Node, SpecError, parse, read


def extended(path: Path, above: tuple[Path, ...], issues: list[Issue], content: Node | None = None) -> Node:
    """A file laid over those it extends; paths that a file names are relative to it. ``content``: what it
    holds, where it is read already or is no file."""
    node = anchored(content or read(path, issues), path.parent, fields.locations())
    extends = node.get("extends")
    if extends is None:
        return node
    parents = extends.value if isinstance(extends.value, list) else [extends]
    lower: Node | None = None
    for parent in parents:
        if not isinstance(parent.value, str):
            continue
        file = path.parent / parent.value
        if file.resolve() in {p.resolve() for p in (*above, path)}:
            issues.append(parent.issue("a sweep must not extend itself"))
            continue
        if not file.is_file():
            issues.append(parent.issue("no such file"))
            continue
        layer = extended(file, (*above, path), issues)
        layer = replace(layer, value={k: v for k, v in layer.value.items() if k not in ("name", "extends")})
        lower = layer if lower is None else overlay(lower, layer, issues)
    return node if lower is None else overlay(lower, node, issues)


def overlay(lower: Node, upper: Node, issues: list[Issue]) -> Node:
    """One file over another: runs merge, axes by name (null removes one), `analysis` by key; every other key
    is replaced."""
    done = dict(lower.value)
    for key, child in upper.value.items():
        old = done.get(key)
        if old is None or not isinstance(old.value, dict) or not isinstance(child.value, dict):
            done[key] = child
        elif key == "axes":
            done[key] = replace(child, value={**old.value, **child.value})
        elif key in ("base", "resources"):
            done[key] = layers.merge(layers.undot(old, issues), layers.undot(child, issues))
        else:
            done[key] = replace(child, value={**old.value, **child.value})
    return replace(upper, value=done)


def _placed(node: Node, path: KeyPath) -> Node:
    """``node`` and all in it under a key path of the command line, which has no lines."""
    value = node.value
    if isinstance(value, dict):
        value = {name: _placed(child, (*path, name)) for name, child in value.items()}
    elif isinstance(value, list):
        value = [_placed(child, (*path, i)) for i, child in enumerate(value)]
    return replace(node, value=value, line=0, path=path)


def setting(text: str, issues: list[Issue]) -> Node:
    """``KEY.PATH=VALUE`` of ``--set`` as a one-value file; the value is YAML."""
    key, equals, value = (part.strip() for part in text.partition("="))
    place = Node({}, f"--set {text}")
    if not equals or not key:
        issues.append(place.issue("write --set KEY=VALUE, for example --set base.optimizer.lr=1e-3"))
        return place
    top, _, rest = key.partition(".")
    traps: list[Issue] = []
    try:
        node = _placed(parse(value, place.file, traps), tuple(key.split(".")))
    except SpecError as error:
        issues += [Issue(place.file, 0, key, issue.message) for issue in error.issues]
        return place
    issues += [Issue(place.file, 0, key, trap.message) for trap in traps]
    if rest and top == "axes":
        node = Node({rest: node}, place.file, 0, (top,))
    else:
        for part in reversed(rest.split(".") if rest else []):
            node = Node({part: node}, place.file, 0, (top,))
    return replace(place, value={top: node})
