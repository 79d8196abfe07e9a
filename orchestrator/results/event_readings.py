"""Which evaluations of a run a sweep reads: those scored as it asks, of several the one with most draws.

Sweeps that share a run may ask for other evaluations of it. What each is given lies on the validation
sequences that it names, so that its numbers compare with those of its other runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Event = dict[str, Any]


def readings(
    history: Iterable[Event],
    scores: Iterable[Mapping[str, Any]],
    then: Mapping[str, Any],
    reading: Mapping[str, Any],
) -> tuple[dict[int, Event], dict[int, Event]]:
    """Step -> event, of a run's own evaluations and of those added to it.

    ``history``: its evaluation events, made under the config ``then``; ``scores``: of those added,
    ``{"evaluation", "event"}``; ``reading``: the config to read by. All configs are given by their identity.
    Where nothing was scored on the sequences wanted, the run is read as it was first scored. What another
    config asked for sharpens values that are there, and adds no steps: a best value is one of a grid's.
    """
    scores = list(scores)
    own = {int(event["step"]): event for event in history}
    alike = [s for s in scores if s["evaluation"]["sequences"] == reading["sequences"]]
    if then["sequences"] != reading["sequences"]:
        if not alike:
            return readings(own.values(), scores, then, then)
        own = {}
    added: dict[int, Event] = {}
    for score in alike:
        event, step = score["event"], int(score["event"]["step"])
        known = added.get(step, own.get(step))
        matches = score["evaluation"] == reading
        if matches if known is None else _draws(event) >= _draws(known):
            added[step] = event
    return own, added


def _draws(event: Event) -> int:
    return int(event.get("draws") or 0)
