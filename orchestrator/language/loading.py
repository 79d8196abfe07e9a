"""The sweep language: a YAML file (and what it extends) to a `SweepSpec`. Strict, and all errors of a file at
once::

    (spec,) = load(["sweeps/quickstart.yaml"], set=["base.optimizer.lr=1e-3"], only=["model.size=d64"])
    for end_point in orchestrator.language.expansion.expand(spec): ...

`docs/sweeps.md` is the manual; `sweepfile.SweepFile` is the structure, with one sentence a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from orchestrator.language import checks, layers
from orchestrator.language.expansion import expand
from orchestrator.language.overlays import extended, overlay, setting
from orchestrator.language.spec import SweepSpec, read_extensions
from orchestrator.language.sweepfile import AnalysisSpec, structured
from trainers.components.numbers import count
from trainers.components.source import Issue, Node, SpecError, parse


def load(
    sources: Sequence[str | Path | Node], set: Sequence[str] = (), only: Sequence[str] = ()
) -> list[SweepSpec]:
    """The sweeps in these files; a `Node` is the content of one.

    ``set``: ``"base.optimizer.lr=1e-3"``, laid over each file; ``only``: ``"axis=value"`` or
    ``"axis=value,value"``, cells kept.
    Raises SpecError with every error of every file.
    """
    specs: list[SweepSpec] = []
    issues: list[Issue] = []
    for source in sources:
        try:
            spec, wrong, traps = _one(source, set, only)
        except SpecError as error:
            issues += error.issues
            continue
        if wrong:
            try:
                expand(spec)
            except SpecError as error:
                wrong += error.issues
            said = {(trap.file, trap.key) for trap in traps}
            issues += traps + [issue for issue in wrong if (issue.file, issue.key) not in said]
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
    source: str | Path | Node, settings: Sequence[str], only: Sequence[str]
) -> tuple[SweepSpec, list[Issue], list[Issue]]:
    """A file's spec without what is wrong in it, what is wrong, and what of that was wrong on reading."""
    issues: list[Issue] = []
    content = source if isinstance(source, Node) else None
    path = Path(content.file if content is not None else source)  # type: ignore[arg-type]
    source = extended(path, (), issues, content)
    options = [*(f"--set {quote(s)}" for s in settings), *(f"--only {quote(s)}" for s in only)]
    for text in settings:
        source = overlay(source, setting(text, issues), issues)
    traps = list(issues)
    source = structured(source, issues)
    kept = [node for text in only if (node := _only(text, issues)) is not None]

    def part(name: str, empty: Any) -> Node:
        return source.get(name) or Node(empty, source.file, source.line, (name,))

    base = layers.undot(checks.known(part("base", {}), issues), issues)
    resources = source.get("resources")
    if resources is not None:
        layer = layers.nest("resources", resources, base)
        twice = layers.overlap(base, layer)
        if twice is not None:
            issues.append(twice.issue("`resources` at the top level sets the same field"))
        base = layers.merge(base, checks.known(layer, issues))
    spec = SweepSpec(
        name=(source.get("name") or Node(path.stem)).value,
        file=str(path),
        description=str(part("description", "").value),
        base=base,
        axes=checks.axes(source.get("axes"), issues),
        zip=[points for group in part("zip", []).value if (points := checks.points(group, issues))],
        exclude=[
            known
            for node in part("exclude", []).value
            if len((known := checks.condition(node, issues)).value) == len(node.value)
        ],
        when=_when(part("when", []).value, issues),
        seeds=_seeds(source.get("seeds"), issues),
        analysis=AnalysisSpec.model_validate(part("analysis", {}).plain),
        only=tuple(kept),
        extend=read_extensions(part("extend", []).value, issues),
        source=source,
        command=" ".join([quote(str(path)), *options]),
    )
    checks.clashes(spec.axes, spec.zip, [(over, axes) for _, over, axes in spec.when], issues)
    checks.comparison(spec.analysis, source.get("analysis"), spec.axis_names, issues)
    return spec, issues, traps


def conditions(only: Sequence[str]) -> list[Node]:
    """What each ``AXIS=VALUE[,VALUE]`` says, as a condition. Raises SpecError."""
    issues: list[Issue] = []
    nodes = [node for text in only if (node := _only(text, issues)) is not None]
    if issues:
        raise SpecError(issues)
    return nodes


def _when(nodes: Sequence[Node], issues: list[Issue]) -> list[tuple[Node, Node, dict[str, list[Node]]]]:
    """The entries of ``when``: condition, what it sets, its axes; less those whose condition is wrong."""
    conditional = []
    for node in nodes:
        place = Node({}, node.file, node.line, node.path)
        match, over = node.get("match") or place, node.get("set") or place
        known = checks.condition(match, issues)
        over = layers.undot(checks.known(over, issues), issues)
        for name in checks.SEEDS:
            if (own := over.find(name)) is not None:
                checks.is_seed(name, own, issues)
        axes = checks.axes(node.get("axes"), issues)
        if node.get("match") is not None and len(known.value) == len(match.value):
            conditional.append((known, over, axes))
    return conditional


def _seeds(node: Node | None, issues: list[Issue]) -> tuple[int, ...]:
    """The replicates: as listed, or as many."""
    if node is None:
        return (0,)
    seeds = tuple(map(count, node.plain)) if isinstance(node.value, list) else tuple(range(count(node.value)))
    if len({*seeds}) < len(seeds):
        issues.append(node.issue("a seed is listed twice"))
    return seeds


def _only(text: str, issues: list[Issue]) -> Node | None:
    """``AXIS=VALUE[,VALUE]`` of ``--only`` as a condition."""
    key, equals, value = text.partition("=")
    place = Node({}, f"--only {text}")
    if not equals or not key.strip():
        issues.append(place.issue("write --only AXIS=VALUE, for example --only objective=autoregressive"))
        return None
    values = parse(f"[{value}]", place.file)
    node = Node({key.strip(): replace(values, line=0)}, place.file, 0)
    return node if checks.known(node, issues, conditions=True).value else None
