"""A cell as it is written to the config of its runs: sizes, architectures, budgets and rules resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import ValidationError

from orchestrator.language import fields
from orchestrator.language.derived.architectures import reshape
from orchestrator.language.derived.budgets import BudgetError, horizon, parsed, solve
from orchestrator.language.derived.ladders import SIZES, size
from orchestrator.language.derived.matching import Match, matched
from trainers.components.coercion import coerce, placed, validated
from trainers.components.component import problems
from trainers.components.source import Issue, Node, SpecError
from trainers.config import RunConfig


def resolve(run: Node, issues: list[Issue]) -> RunConfig | None:
    """A partial run, with sugar, as a config; None where it is wrong, with the issues."""
    before = len(issues)
    run, sugar = _without_sugar(run)
    data = coerce(run, RunConfig, issues)
    if sugar.size is not None:
        try:
            named = size(sugar.size.plain)
        except ValueError as error:
            issues.append(sugar.size.issue(str(error)))
        else:
            model = data.get("model", {})
            data["model"] = {**named, **(model if isinstance(model, dict) else {"name": model})}
            data["model"].setdefault("name", fields.default("model"))
    ends = None
    try:
        ends = horizon(sugar.budget.plain if sugar.budget is not None else None)
    except BudgetError as error:
        issues.append(_blame(error, run, sugar).issue(str(error)))
    for node in (node for node in (sugar.batch_size, sugar.lr) if node is not None):
        try:
            parsed(node.plain)
        except BudgetError as error:
            issues.append(node.issue(str(error)))
    try:
        config = RunConfig.model_validate(data)
    except ValidationError as error:
        for problem in problems(error, RunConfig):
            message = problem.message
            if problem.path == ("model",) and isinstance(problem.value, str) and problem.value in SIZES:
                message = f"a size is written `model.size: {problem.value}`"
            issues.append(placed(run, problem.path, message))
        return None
    if len(issues) > before:
        return None
    try:
        if sugar.architecture is not None:
            model = reshape(config.model, sugar.architecture.plain)
            config = config.model_copy(update={"model": model})
    except ValueError as error:
        issues.append(sugar.architecture.issue(str(error)))  # type: ignore[union-attr]
        return None
    if sugar.match is not None:
        try:
            config = matched(config, validated(sugar.match, Match))
        except SpecError as error:
            issues += error.issues
            return None
        except ValueError as error:
            issues.append(sugar.match.issue(str(error)))
            return None
    try:
        return solve(
            config, ends, *(node.plain if node is not None else None for node in (sugar.batch_size, sugar.lr))
        )
    except BudgetError as error:
        issues.append(_blame(error, run, sugar).issue(str(error)))
        return None


@dataclass(frozen=True)
class _Sugar:
    size: Node | None
    architecture: Node | None
    match: Node | None
    budget: Node | None
    batch_size: Node | None
    lr: Node | None


def _without_sugar(run: Node) -> tuple[Node, _Sugar]:
    """A partial run less what the language adds to its fields, and that."""

    def take(*path: str, only_rules: bool = False) -> Node | None:
        nonlocal run
        parent = run if len(path) == 1 else run.get(path[0])
        child = parent.get(path[-1]) if parent is not None else None
        if (
            child is None
            or parent is None
            or (only_rules and not (isinstance(child.value, dict) and "rule" in child.value))
        ):
            return None
        rest = replace(parent, value={k: v for k, v in parent.value.items() if k != path[-1]})
        run = rest if len(path) == 1 else run.put(path[0], rest)
        return child

    taken = _Sugar(
        take("model", "size"),
        take("model", "architecture"),
        take("model", "match"),
        take("budget"),
        take("batch_size", only_rules=True),
        take("optimizer", "lr", only_rules=True),
    )
    return run, taken


def _blame(error: BudgetError, run: Node, sugar: _Sugar) -> Node:
    """The node that a budget error is about."""
    if error.path[0] == "budget" and sugar.budget is not None:
        return sugar.budget.at(error.path[1:])
    if error.path[0] == "batch_size" and sugar.batch_size is not None:
        return sugar.batch_size
    return sugar.lr if sugar.lr is not None else run
