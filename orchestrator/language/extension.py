"""Longer horizons for some cells of a sweep: the runs that are there go on, and no end is ever moved back.

A sweep's ``extend`` lists them, and so does ``extend.yaml`` beside the sweep in the store, which `crossover
extend` writes: everything that reads the sweep from that store then reads it to the later end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from orchestrator.language.derived.numbers import significant
from trainers.components.numbers import count, number
from trainers.components.source import Issue, Node
from trainers.config import RunConfig

FILE = "extend.yaml"
FORMS = "a multiple of the horizon such as 4x, or tokens such as 2.4M"
HEAD = (
    "# Written by `crossover extend`. Without an entry the sweep reads its cells to their own ends again.\n"
)


@dataclass(frozen=True)
class Extension:
    """Cells that match train on to ``to``, a multiple of the sweep's own horizon or a number of tokens."""

    match: Node
    to: Node


@dataclass(frozen=True)
class Extent:
    """``4x``: ``factor`` 4; ``2.4M``: ``tokens``."""

    factor: float | None = None
    tokens: int | None = None

    @classmethod
    def of(cls, written: Any) -> Extent:
        """What ``4x`` or ``2.4M`` means. ValueError with what is allowed."""
        text = str(written).strip()
        try:
            if isinstance(written, str) and re.fullmatch(r"[0-9.]+\s?x", text):
                extent = cls(factor=float(number(text[:-1].strip())))
            else:
                extent = cls(tokens=count(written))
        except ValueError:
            raise ValueError(f"write {FORMS}") from None
        if (extent.factor or extent.tokens or 0) <= 0:
            raise ValueError(f"must be positive: {FORMS}")
        return extent

    def steps(self, config: RunConfig) -> int:
        """Where a run of this config ends, never before its own end."""
        if self.factor is not None:
            end = significant(self.factor * config.steps)
        else:
            end = significant((self.tokens or 0) / config.tokens_per_step)
        return max(config.steps, round(end))


def extensible(config: RunConfig) -> bool:
    """Whether a run can go on from where it is: under a constant rate, or on the trunk of a WSD run."""
    return not config.schedule.depends_on_end or config.trunk() is not None


def extended(
    config: RunConfig,
    extensions: Iterable[Extension],
    matches: Callable[[Node], bool],
    issues: list[Issue],
) -> RunConfig:
    """``config`` with the furthest end that an extension asks for; an issue if its schedule cannot go on."""
    own, steps = config, config.steps
    for extension in extensions:
        if not matches(extension.match):
            continue
        if not extensible(own):
            name = own.schedule.name
            issues.append(
                extension.to.issue(f"a {name} run cannot be extended: its weights depend on its end")
            )
            return own
        steps = max(steps, Extent.of(extension.to.plain).steps(own))
    return own if steps == own.steps else own.model_copy(update={"steps": steps})


def written(entries: Iterable[dict[str, Any]], before: str | bytes | None) -> str:
    """Content of ``extend.yaml`` with these entries (``{"match": ..., "to": ...}``) after those of
    ``before``, its content so far (None where there is none)."""
    kept = (yaml.safe_load(before or b"") or {}).get("extend", [])
    kept += [entry for entry in entries if entry not in kept]
    return HEAD + yaml.safe_dump({"extend": kept}, sort_keys=False, allow_unicode=True)
