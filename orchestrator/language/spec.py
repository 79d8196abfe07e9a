"""A sweep as it is read: its layers, with their positions, and what is wanted of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.language import checks
from orchestrator.language.extension import Extension
from orchestrator.language.sweepfile import AnalysisSpec, structured
from trainers.components.source import Issue, Node, SpecError, read


@dataclass(frozen=True)
class SweepSpec:
    """A valid sweep: its layers, with positions, and what is wanted of it.
    `orchestrator.language.expansion` makes runs of it."""

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
        return self.with_entries(read(file)) if file.is_file() else self

    def with_entries(self, extend: Node) -> SweepSpec:
        """This sweep with the entries of ``extend``, the content of an ``extend.yaml``, after its own. Raises
        SpecError."""
        issues: list[Issue] = []
        node = structured(extend, issues)
        entries = self.source.get("extend") or Node([], self.source.file, self.source.line, ("extend",))
        own = [item.plain for item in entries.value]
        added = [item for item in (node.get("extend") or Node([])).value if item.plain not in own]
        extensions = read_extensions(added, issues)
        if issues:
            raise SpecError(issues)
        source = self.source.put("extend", replace(entries, value=[*entries.value, *added]))
        return replace(self, extend=(*self.extend, *extensions), source=source)


def read_extensions(nodes: Sequence[Node], issues: list[Issue]) -> tuple[Extension, ...]:
    """The entries of ``extend`` whose conditions name fields that there are."""
    extensions = []
    for node in nodes:
        written = node.get("match") or Node({}, node.file, node.line, node.path)
        match = checks.condition(written, issues)
        to = node.get("to")
        if to is not None and len(match.value) == len(written.value):
            extensions.append(Extension(match, to))
    return tuple(extensions)
