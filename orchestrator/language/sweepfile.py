"""The structure of a sweep file: its keys and what may stand under them, one sentence each.

What the values mean together (fields that exist, cells, budgets) is `orchestrator.language.checks`' and
`orchestrator.language.expansion`'s to check.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from orchestrator.language.extension import Extent
from trainers.components.component import Frozen, problems
from trainers.components.numbers import count
from trainers.components.source import Issue, KeyPath, Node

MOST_SEEDS = 10_000
"""More replicates than that are a slip of the suffix."""

Partial = dict[str, Any]
Seed = Annotated[int, BeforeValidator(count), Field(ge=0)]
Seeds = Annotated[list[Seed], Field(min_length=1)]


class Stop(Frozen):
    """When a pair's runs end before their horizon."""

    after_crossing: float = Field(
        ge=1, description="Tokens at which both stop, as a multiple of a robust raw crossing's."
    )


class AnalysisSpec(Frozen):
    """What the report compares."""

    pair: tuple[str, str] = Field(
        ("autoregressive", "masked_diffusion"), description="The two objectives of a pair, baseline first."
    )
    pair_over: tuple[str, ...] = Field(
        (),
        description="Axes in which the two of a pair may differ: fields tuned for each; the best is taken.",
    )
    metric: Literal["nll"] = Field("nll", description="What is compared: NLL, nats per token.")
    x: tuple[Literal["tokens", "epochs", "flops"], ...] = Field(
        ("tokens", "epochs", "flops"),
        description="Units that crossovers are given in; figures use the first.",
    )
    stop: Stop | None = Field(
        None, description="End runs early once they have crossed; not with a schedule that has an end."
    )
    decoding: Annotated[int, BeforeValidator(count)] = Field(
        8,
        ge=0,
        description="Sequences on which a bound that loses is scored exactly under decoding orders; 0: none.",
    )


class When(Frozen):
    """What holds only for the cells that match."""

    match: Partial = Field(description="Field or axis -> value, or a list of values; all must match.")
    set: Partial = Field(default_factory=dict, description="A partial run laid over the matching cells.")
    axes: dict[str, list[Any]] = Field(
        default_factory=dict, description="Further axes, of the matching cells alone."
    )


def _extent(value: Any) -> Any:
    Extent.of(value)
    return value


class Extend(Frozen):
    """Cells that train on beyond the sweep's horizon; their runs are continued."""

    match: Partial = Field(
        default_factory=dict, description="Field or axis -> value, or a list of values; all must match."
    )
    to: Annotated[Any, BeforeValidator(_extent)] = Field(
        description="A multiple of the cell's own horizon (4x), or tokens (2.4M). Never moves an end back."
    )


class SweepFile(Frozen):
    """One sweep file."""

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Name of the sweep; the file's, if left out.",
    )
    description: str = Field("", description="The question it asks, for the report.")
    extends: str | list[str] = Field(
        default_factory=list, description="Sweep files that this one is laid over, relative to it."
    )
    base: Partial = Field(default_factory=dict, description="A partial run, common to all.")
    axes: dict[str, list[Any] | None] = Field(
        default_factory=dict, description="Field -> values; the sweep is their product."
    )
    zip: list[dict[str, list[Any]] | list[Partial]] = Field(
        default_factory=list,
        description="Groups of fields that vary together: lists of equal length, or a list of points.",
    )
    exclude: list[Partial] = Field(
        default_factory=list, description="Cells that are left out: all of a mapping's fields match."
    )
    when: list[When] = Field(default_factory=list, description="What holds only for some cells.")
    extend: list[Extend] = Field(
        default_factory=list, description="Cells that train on beyond their horizon, to 4x or 2.4M."
    )
    seeds: Annotated[int, BeforeValidator(count), Field(ge=1, le=MOST_SEEDS)] | Seeds = Field(
        default_factory=lambda: [0],
        description="Replicates, or their number: each moves seed and data.subset_seed together.",
    )
    resources: Partial = Field(
        default_factory=dict, description="How each run is executed; short for base.resources."
    )
    analysis: AnalysisSpec = Field(default_factory=AnalysisSpec, description="What the report compares.")


NAME = "a name has letters, digits, '_', '.' and '-', and begins with a letter or digit"
ZIP = "zip is a list of groups, each a mapping of fields to lists of equal length, or a list of points"


def structured(source: Node, issues: list[Issue]) -> Node:
    """The mapping ``source`` less what cannot stand where it does; each error is an issue. What is left is
    valid, so that the rest of it can be checked too."""
    try:
        SweepFile.model_validate(source.plain)
    except ValidationError as error:
        wrong: set[KeyPath] = set()
        for problem in problems(error, SweepFile):
            missing = problem.message.endswith("is required")
            place = _place(source, problem.path[:-1] if missing else problem.path)
            if place is None:
                continue
            message = problem.message.replace("unknown field", "unknown key", 1)
            if place[0] == "axes" and message == "expected a list":
                message = "an axis is a list of values"
            message = {"zip": ZIP, "name": NAME}.get(str(place[0]), message)
            issues.append(source.at(place).issue(message))
            # An entry of `when` or `extend` that lacks a key has others to be checked.
            if not (missing and place[0] in ("when", "extend")):
                wrong.add(place[: _WHOLE.get(str(place[0]))])
        source = _without(source, wrong)
    return source


_WHOLE = {"seeds": 1, "extends": 1, "analysis": 2, "exclude": 2, "zip": 2}
"""Depth below which what is wrong takes with it what it stands in."""


def _place(source: Node, path: KeyPath) -> KeyPath | None:
    """Where the value stands that an error is about. pydantic's path also has the arm of a union that it
    tried; None where another arm was meant."""
    place: KeyPath = ()
    for part in path:
        node = source.at(place)
        if source.at((*place, part)) is not node:
            place = (*place, part)
        elif isinstance(node.value, list) != str(part).startswith("list["):
            return None
    return place


def _without(node: Node, wrong: set[KeyPath], path: KeyPath = ()) -> Node:
    """``node`` less what stands at these places."""
    value = node.value
    if isinstance(value, dict):
        kept = {k: child for k, child in value.items() if (*path, k) not in wrong}
        return replace(node, value={k: _without(child, wrong, (*path, k)) for k, child in kept.items()})
    if isinstance(value, list):
        items = [_without(item, wrong, (*path, i)) for i, item in enumerate(value) if (*path, i) not in wrong]
        return replace(node, value=items)
    return node
