"""Horizons solved: exactly one of steps, tokens, epochs, FLOPs or tokens per parameter is given, the others
follow.

Also the values given by rule. Everything derived is rounded to 6 significant digits before use, so keys are
the same on any machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.language.derived.numbers import significant
from orchestrator.language.derived.rules import Rule, rule
from orchestrator.language.fields import HORIZONS
from trainers.components.component import unknown
from trainers.components.numbers import number
from trainers.config import RunConfig
from trainers.flops import matmul_flops

CONVENTIONS = ("matmul", "6ND")
PARAMETERS = ("total", "non_embedding")


@dataclass(frozen=True)
class Horizon:
    """Where training ends: one of the five kinds and its value, and how FLOPs and parameters are counted."""

    kind: str
    value: Any
    convention: str = "matmul"
    parameters: str = "total"


class BudgetError(ValueError):
    """A budget that cannot be solved; ``path`` is the key within the run that is at fault."""

    def __init__(self, message: str, *path: str) -> None:
        super().__init__(message)
        self.path = path


def horizon(written: Any) -> Horizon | None:
    """The horizon that a ``budget`` mapping writes, None for none. Raises BudgetError."""
    if written is None:
        return None
    if not isinstance(written, Mapping):
        raise BudgetError(f"a budget is a mapping with one of {', '.join(HORIZONS)}", "budget")
    given = [kind for kind in HORIZONS if written.get(kind) is not None]
    extra = [key for key in written if key not in (*HORIZONS, "convention", "parameters")]
    if extra:
        raise BudgetError(
            unknown("budget", extra[0], [*HORIZONS, "convention", "parameters"]), "budget", extra[0]
        )
    if len(given) != 1:
        present = " and ".join(given) or "none"
        raise BudgetError(f"exactly one of {', '.join(HORIZONS)} is given; found {present}", "budget")
    for key, allowed in (("convention", CONVENTIONS), ("parameters", PARAMETERS)):
        if key in written and written[key] not in allowed:
            raise BudgetError(f"one of {', '.join(allowed)}", "budget", key)
    parsed(written[given[0]], "budget", given[0])
    return Horizon(
        given[0], written[given[0]], **{k: written[k] for k in ("convention", "parameters") if k in written}
    )


def unique_tokens(config: RunConfig) -> int | None:
    """U in tokens as far as it is known before the data are prepared: as requested, or converted from bytes
    where every token has equally many."""
    data, size = config.data, config.data.tokenizer.bytes_per_token
    if data.unique_tokens is not None or data.unique_bytes is None or size is None:
        return data.unique_tokens
    return round(data.unique_bytes / size)


def unique_bytes(config: RunConfig) -> float | None:
    """U in bytes as far as it is known before the data are prepared; see :func:`unique_tokens`."""
    data, size = config.data, config.data.tokenizer.bytes_per_token
    if data.unique_bytes is not None or data.unique_tokens is None or size is None:
        return data.unique_bytes
    return data.unique_tokens * size


def quantities(config: RunConfig) -> dict[str, float]:
    """What rules may depend on, D left out; a quantity that is not known yet is missing."""
    counted = config.counts
    known: dict[str, float | None] = {
        "N": counted.total,
        "N_non_embedding": counted.non_embedding,
        "U": unique_tokens(config),
        "U_bytes": unique_bytes(config),
        "width": getattr(config.model, "width", None),
        "layers": getattr(config.model, "layers", None),
        "context": config.data.context,
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def parsed(written: Any, *path: str) -> Rule | float:
    """A rule, or a positive number, as written. Raises BudgetError at ``path``."""
    try:
        value = rule(written) if isinstance(written, Mapping) else number(written)
    except ValueError as error:
        raise BudgetError(str(error), *path) from None
    if not isinstance(value, Rule) and not value > 0:
        raise BudgetError(f"must be positive, not {value}", *path)
    return value


def evaluate(written: Any, known: Mapping[str, float], target: str, *path: str) -> float:
    """A number, or a rule's value. Raises BudgetError at ``path``."""
    value = parsed(written, *path)
    try:
        result = value.value(known, target) if isinstance(value, Rule) else value
    except KeyError as error:
        raise BudgetError(
            f"this rule needs {error.args[0]}, which is not known here; {_remedy(error.args[0])}", *path
        ) from None
    except ValueError as error:
        raise BudgetError(str(error), *path) from None
    except OverflowError:
        result = math.inf
    if not 0 < result < math.inf:
        raise BudgetError(f"must be positive and finite, not {result}", *path)
    return significant(result)


def _remedy(name: str) -> str:
    if name in ("U", "U_bytes"):
        return "give data.unique_tokens (or data.unique_bytes with the bytes tokenizer)"
    return (
        "give the budget in tokens, epochs, FLOPs or tokens per parameter"
        if name == "D"
        else "give the value itself"
    )


def tokens(ends: Horizon, config: RunConfig, known: Mapping[str, float]) -> float | None:
    """D that a horizon asks for; None where it is given in steps."""
    value = evaluate(ends.value, known, ends.kind, "budget", ends.kind)
    if ends.kind == "steps":
        return None
    if ends.kind == "tokens":
        return value
    parameters = known["N" if ends.parameters == "total" else "N_non_embedding"]
    if ends.kind == "tokens_per_parameter":
        return value * parameters
    if ends.kind == "flops":
        per_token = matmul_flops(config) if ends.convention == "matmul" else 6 * parameters
        return value / per_token
    if "U" not in known:
        raise BudgetError(f"epochs need U: {_remedy('U')}", "budget", "epochs")
    return value * known["U"]


def solve(config: RunConfig, ends: Horizon | None, batch_size: Any = None, lr: Any = None) -> RunConfig:
    """``config`` with its horizon, and with batch size and learning rate where they are given by rule.

    Tokens come first, then the batch (a rule may depend on D), then steps (the nearest whole number, at least
    1), then the rate.
    Raises BudgetError; pydantic's ValidationError where a rule gives a value that the field refuses.
    """
    known = quantities(config)
    seen = tokens(ends, config, known) if ends is not None else None
    if seen is not None and ends is not None:
        if seen == math.inf:
            raise BudgetError("more tokens than there are numbers", "budget", ends.kind)
        known["D"] = significant(seen)
    data: dict[str, Any] = {}
    if batch_size is not None:
        data["batch_size"] = max(1, round(evaluate(batch_size, known, "batch_size", "batch_size")))
    per_step = data.get("batch_size", config.batch_size) * config.data.context
    if seen is not None:
        data["steps"] = max(1, round(significant(seen / per_step)))
    elif ends is not None:
        by_rule = isinstance(ends.value, Mapping)
        steps = evaluate(ends.value, known, "steps", "budget", "steps") if by_rule else number(ends.value)
        if not by_rule and steps != round(steps):
            raise BudgetError("steps are a whole number", "budget", "steps")
        data["steps"] = max(1, round(steps))
    known.setdefault("D", float(data.get("steps", config.steps) * per_step))
    solved = config.model_copy(update=data)
    if lr is not None:
        rate = evaluate(lr, known, "lr", "optimizer", "lr")
        solved = solved.model_copy(update={"optimizer": solved.optimizer.model_copy(update={"lr": rate})})
    return solved
