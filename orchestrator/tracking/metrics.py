"""A run's folder in MLflow's words: names, params, tags and points. Pure; the same folder always gives the
same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

START = (
    "N",
    "N_embedding",
    "N_extra",
    "N_active",
    "N_objective",
    "unique_bytes",
    "unigram_entropy",
    "flops_per_token",
)


@dataclass(frozen=True)
class Point:
    """One value of one metric at one step."""

    key: str
    value: float
    step: int


def points(history: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, Point]]:
    """(index of the event, point) of every point that a run's history gives. What is not finite is left out.

    ``val/nll`` is half B, the half to report; ``val/nll_a`` is half A, by which ``val/best_so_far`` selects.
    A loss that is no likelihood is ``val/loss_not_a_likelihood``, and has no best. Metrics of evaluation
    tasks are ``task/<task>/<metric>``, of half B. ``N``, ``U``, ``D`` and
    ``C`` are metrics, not params: scatter plots need numbers, and D and C grow when a run is extended.
    """
    best: tuple[float, float] | None = None
    for index, event in enumerate(history):
        values: dict[str, Any] = {}
        step = int(event.get("step", 0))
        match event["event"]:
            case "start":
                values = {key: event.get(key) for key in START} | {"U": event.get("unique_tokens")}
            case "train":
                values = {"train/loss": event.get("loss"), "optim/lr": event.get("lr")}
                values["optim/grad_norm"] = event.get("grad_norm")
                terms = event.get("terms") or {}
                values |= {f"train/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
                metrics = event.get("metrics") or {}
                values |= {f"model/{name}": value for name, value in metrics.items()}
            case "evaluation":
                a, b = event["a"], event["b"]
                if event["kind"] in ("exact", "upper_bound"):
                    if best is None or a["nll"] < best[0]:
                        best = (a["nll"], b["nll"])
                    values = {
                        "val/nll": b["nll"],
                        "val/nll_a": a["nll"],
                        "val/nll_se": b["se"],
                        "val/best_so_far": best[1],
                    }
                    values |= {"val/nll_mc_se": b["mc_se"]} if b.get("mc_se") else {}
                else:
                    values = {"val/loss_not_a_likelihood": b["nll"]}
                amounts = {"tokens": event["tokens"], "epochs": event["epochs"], "flops": event["flops"]}
                values |= amounts | {"D": event["tokens"], "C": event["flops"]}
            case "task":
                values = _of_task(event)
        for key, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                yield index, Point(key, float(value), step)


def speeds(telemetry: Iterable[Mapping[str, Any]]) -> Iterator[Point]:
    """Tokens a second over steps, as measured. A function of the committed telemetry."""
    for event in telemetry:
        value = event.get("tokens_per_second")
        if event.get("event") == "speed" and isinstance(value, int | float) and math.isfinite(value):
            yield Point("speed/tokens_per_second", float(value), int(event["step"]))


def added(event: Mapping[str, Any]) -> Iterator[Point]:
    """Points of what was added to a run after training: an evaluation with more Monte-Carlo draws, or an
    evaluation task that was asked of kept weights."""
    if event["event"] == "task":
        values = _of_task(event)
    else:
        values = {"val/nll_precise": event["b"]["nll"], "val/nll_precise_mc_se": event["b"].get("mc_se")}
    for key, value in values.items():
        if isinstance(value, int | float) and math.isfinite(value):
            yield Point(key, float(value), int(event["step"]))


def _of_task(event: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of an evaluation task, half B under their own names."""
    values = {f"task/{event['task']}/{name}": value for name, value in event["b"].items()}
    return values | {f"task/{event['task']}/{name}_a": value for name, value in event["a"].items()}


def params(identity: Mapping[str, Any]) -> dict[str, str]:
    """What is in the training key, flat: ``{"objective": "masked_diffusion", "objective.epsilon": "0.001",
    ...}``."""
    flat: dict[str, str] = {}

    def walk(path: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                walk(path if name == "name" and path else f"{path}.{name}" if path else str(name), inner)
        else:
            flat[path] = _text(value)

    walk("", identity)
    return flat


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
