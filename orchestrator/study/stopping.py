"""The stop rule: an end point ends early once its pair has crossed for certain, and a margin beyond.

Runs are trained in rounds, each a factor of 1.41 longer than the one before; after each the crossings are
located, and the twins that are past theirs are left where they are. Where a run was stopped is recorded with
the sweep in the store, and is its end point's horizon from then on. It is no part of the run: another sweep,
or this one without the rule, trains it further. Only runs whose weights do not depend on their end can stop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.language.expansion import Expansion

if TYPE_CHECKING:
    from analysis.crossover import Crossovers
    from orchestrator.language.spec import SweepSpec
    from orchestrator.store.store import Folder

FILE = "stopped.json"
ROUNDS = tuple(2 ** (-k / 2) for k in range(6, -1, -1))
"""Shares of the horizon at which crossings are looked for."""


def recorded(spec: SweepSpec, folder: Folder) -> SweepSpec:
    """The sweep with the ends that its stop rule set, as ``folder`` records them. Another rule starts
    anew."""
    record = folder.read_json(FILE)
    rule = spec.analysis.stop
    if record is None or rule is None or record["rule"] != rule.model_dump(mode="json"):
        return spec
    return replace(spec, limits={run: int(step) for run, step in record["runs"].items()})


def record(spec: SweepSpec, folder: Folder) -> None:
    """Keep where the runs of a sweep were stopped."""
    if spec.analysis.stop is not None:
        rule = spec.analysis.stop.model_dump(mode="json")
        text = json.dumps({"rule": rule, "runs": dict(sorted(spec.limits.items()))}, indent=1)
        folder.write(FILE, text)


def until(expansion: Expansion, share: float) -> Expansion:
    """The sweep with every run that is not stopped yet, and can be, ended at ``share`` of its horizon."""
    if expansion.spec.analysis.stop is None:
        return expansion
    furthest: dict[str, int] = {}
    for point in expansion.unlimited:
        if not point.config.schedule.depends_on_end:
            furthest[point.run] = max(furthest.get(point.run, 0), point.config.steps)
    limits = {run: math.ceil(share * steps) for run, steps in furthest.items()}
    return expansion.limited({**limits, **expansion.spec.limits})


def stopped(expansion: Expansion, crossovers: Crossovers, reached: Mapping[str, int]) -> Expansion:
    """The sweep with the runs that are past their crossings now ended at the steps that they ``reached``."""
    rule = expansion.spec.analysis.stop
    if rule is None:
        return expansion
    ends = {run: reached[run] for run in past(crossovers, rule.after_crossing) if run in reached}
    return expansion.limited({**ends, **expansion.spec.limits})


def past(crossovers: Crossovers, margin: float) -> set[str]:
    """Runs all of whose pairs have a robust raw crossing, and have ``margin`` times its tokens behind
    them."""
    done: dict[str, bool] = {}
    for cell in crossovers.cells:
        for arms, outcome in zip(cell.arms, cell.outcomes["raw"], strict=True):
            crossed = outcome.censored is None and outcome.robust
            behind = crossed and all(arm.x["tokens"][-1] >= margin * outcome.x["tokens"] for arm in arms)
            for arm in arms:
                done[arm.run] = done.get(arm.run, True) and behind
    return {run for run, over in done.items() if over}
