"""YAML read with positions: every value knows its file, line and key path, and YAML's traps are errors.

PyYAML alone reads ``1e18`` as text, ``on`` as true, ``010`` as 8, ``1:30`` as 90, and lets the last of two
equal keys win. Here a scalar is a number, ``true``/``false``, null or text, and what could be meant in two
ways is an error that names the fix.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from trainers.components.errors import UserError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Issue:
    """One error of a file: where, under which key, and what is wrong, what is allowed."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class SpecError(UserError):
    """All errors of one or more files at once, in the order of their lines."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = sorted(set(issues))
        super().__init__("\n".join(map(str, self.issues)))


@dataclass(frozen=True)
class Node:
    """A YAML value with its place. ``value`` is a scalar, a list of nodes or a dict of nodes; ``path`` as it
    was written."""

    value: Any
    file: str = ""
    line: int = 0
    path: KeyPath = ()

    @classmethod
    def of(cls, value: Any, file: str = "", path: KeyPath = ()) -> Node:
        """Plain Python values as nodes, each at its key path. Tuples are lists; other values are left to
        whoever checks them."""
        if isinstance(value, Mapping):
            inner = {str(key): cls.of(child, file, (*path, str(key))) for key, child in value.items()}
            return cls(inner, file, 0, path)
        if isinstance(value, list | tuple):
            return cls([cls.of(child, file, (*path, i)) for i, child in enumerate(value)], file, 0, path)
        return cls(os.fspath(value) if isinstance(value, os.PathLike) else value, file, 0, path)

    @property
    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    @property
    def key(self) -> str:
        """The written key path, ``axes.model.size[2]``."""
        return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path).removeprefix(".")

    def issue(self, message: str) -> Issue:
        """An issue at this place; a scalar or a short list is shown, unless the message shows it already."""
        shown = repr(self.plain)
        said = f"not {shown}" in message or (isinstance(self.value, str) and shown in message)
        short = not isinstance(self.value, dict) and len(shown) <= 80 and not said
        return Issue(self.file, self.line, self.key, message + (f" (found {shown})" if short else ""))

    def at(self, path: Sequence[str | int]) -> Node:
        """The deepest node that exists along ``path``."""
        node = self
        for part in path:
            value = node.value
            known = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
            if part not in known:
                break
            node = value[part]
        return node

    def find(self, dotted: str) -> Node | None:
        """The node under a dotted name, if there is one."""
        node: Node | None = self
        for part in dotted.split("."):
            node = node.get(part) if node is not None else None
        return node

    def get(self, name: str) -> Node | None:
        """The child of that name, if this is a mapping that has one."""
        return self.value.get(name) if isinstance(self.value, dict) else None

    def items(self) -> Iterator[tuple[str, Node]]:
        """Children of a mapping, sorted by name, so that the order of keys in a file decides nothing."""
        return iter(sorted(self.value.items()) if isinstance(self.value, dict) else ())

    def put(self, name: str, child: Node) -> Node:
        """This mapping with one more child, or another one."""
        return replace(self, value={**self.value, name: child})


def read(file: Path | str, issues: list[Issue] | None = None, kind: str = "a sweep") -> Node:
    """The mapping in a YAML file, of which ``kind`` says what it is. Raises SpecError (also where the file is
    missing or no mapping); YAML's traps go to ``issues`` instead, if given."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SpecError([Issue(str(file), 0, "", f"cannot be read: {reason}")]) from None
    node = parse(text, str(file), issues)
    if not isinstance(node.value, dict):
        wrong = Issue(str(file), 1, "", f"{kind} is a mapping of keys to values")
        raise SpecError(issues or [wrong])
    return node


def parse(text: str, file: str, issues: list[Issue] | None = None) -> Node:
    """The value that YAML ``text`` holds, with ``file`` as the name in messages. Raises SpecError with every
    error found; those that leave a value to go on with (traps) go to ``issues`` instead, if given."""
    try:
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError([Issue(file, line, "", f"no valid YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        raise SpecError([Issue(file, 1, "", f"no valid YAML: {error}")]) from None
    traps: list[Issue] = []
    node = Node(None, file, 1) if document is None else _convert(document, file, (), traps, ())
    if issues is not None:
        issues += traps
    elif traps:
        raise SpecError(traps)
    return node


def _convert(
    parsed: yaml.Node, file: str, path: KeyPath, issues: list[Issue], above: tuple[int, ...]
) -> Node:
    place = Node(None, file, parsed.start_mark.line + 1, path)
    if id(parsed) in above:
        issues.append(place.issue("an alias must not hold itself"))
        return place
    above = (*above, id(parsed))
    if not parsed.tag.startswith("tag:yaml.org,2002:") or "python" in parsed.tag:
        issues.append(place.issue(f"tag {parsed.tag!r} is not allowed"))
        return place
    if isinstance(parsed, yaml.SequenceNode):
        items = [_convert(item, file, (*path, i), issues, above) for i, item in enumerate(parsed.value)]
        return replace(place, value=items)
    if isinstance(parsed, yaml.MappingNode):
        children: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key, value in parsed.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                issues.append(Issue(file, line, place.key, "a key must be text"))
                continue
            name = key.value
            inner = (*path, name)
            if name == "<<":
                issues.append(
                    Issue(
                        file,
                        line,
                        place.key,
                        "merge keys are not supported; use `extends`, or an alias as a whole value",
                    )
                )
            elif name in children:
                message = (
                    f"duplicate key {name!r}, first on line {lines[name]}; YAML would silently keep the last"
                )
                issues.append(Issue(file, line, Node(None, path=inner).key, message))
            else:
                child = _convert(value, file, inner, issues, above)
                children[name] = replace(child, line=line) if isinstance(child.value, dict | list) else child
                lines[name] = line
        return replace(place, value=children)
    if getattr(parsed, "style", None) is not None:
        return replace(place, value=parsed.value)
    try:
        return replace(place, value=scalar(parsed.value))
    except ValueError as error:
        place = replace(place, value=parsed.value)
        issues.append(place.issue(str(error)))
        return place


_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")


def scalar(text: str) -> Any:
    """What plain (unquoted) text stands for: null, a bool, an int, a float, or text. ValueError where it is
    ambiguous."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("yes", "no", "on", "off"):
        truth = "true" if text.lower() in ("yes", "on") else "false"
        raise ValueError(f"YAML 1.1 reads this as {truth}; write {truth}, or '{text}' in quotes for the word")
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if re.fullmatch(r"[-+]?0[0-9_]+", text):
        raise ValueError("a leading zero means octal in YAML 1.1; drop it, or put it in quotes for text")
    if re.fullmatch(r"[-+]?\.(inf|nan)", text, re.IGNORECASE):
        raise ValueError("a finite number is needed")
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text
