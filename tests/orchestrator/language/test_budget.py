"""Horizons: five ways to say one thing, and the rules."""

from __future__ import annotations

import pytest

from orchestrator.language.derived.budgets import BudgetError, horizon, solve
from trainers.config import RunConfig
from trainers.flops import matmul_flops, six_nd

CONFIG = RunConfig.model_validate({"data": {"unique_bytes": 10_000, "context": 128}, "batch_size": 32})
N = CONFIG.model.parameters(256, 1)


def steps(**budget: object) -> int:
    return solve(CONFIG, horizon(budget)).steps


def test_the_five_agree() -> None:
    tokens = 100 * CONFIG.tokens_per_step
    assert steps(steps=100) == 100
    assert steps(tokens=tokens) == 100
    assert steps(epochs=tokens / 10_000) == 100
    assert steps(flops=tokens * matmul_flops(CONFIG)) == 100
    assert steps(flops=six_nd(CONFIG, tokens), convention="6ND") == 100
    assert steps(flops=6 * N.non_embedding * tokens, convention="6ND", parameters="non_embedding") == 100
    assert steps(tokens_per_parameter=tokens / N.total) == 100
    assert steps(tokens_per_parameter=tokens / N.non_embedding, parameters="non_embedding") == 100


def test_the_nearest_number_of_steps_and_at_least_one() -> None:
    assert steps(tokens="0.6M") == round(600_000 / 4096)
    assert steps(tokens=1) == steps(steps=1) == 1


@pytest.mark.parametrize(
    "written", [{}, {"tokens": 1, "steps": 1}, {"token": 1}, {"tokens": 1, "convention": "C"}, 5]
)
def test_exactly_one_is_given(written: object) -> None:
    with pytest.raises(BudgetError):
        horizon(written)


def test_epochs_need_unique_tokens() -> None:
    bpe = {"data": {"unique_bytes": 10_000, "tokenizer": {"name": "bpe", "vocab_size": 512}}}
    with pytest.raises(BudgetError, match=r"give data\.unique_tokens"):
        solve(RunConfig.model_validate(bpe), horizon({"epochs": 2}))


def test_rules() -> None:
    power = {"rule": "power", "base": "850k", "of": "U_bytes", "at": "40k", "exponent": 0.5}
    assert steps(tokens=power) == round(425_000 / 4096)
    width = solve(CONFIG, None, lr={"rule": "width", "base": 4e-3, "at": 32})
    assert width.optimizer.lr == 2e-3
    law = solve(CONFIG, horizon({"tokens": "1M"}), {"rule": "step-law"}, {"rule": "step-law"})
    assert law.batch_size == round(0.58 * 1e6**0.571 / 128)
    assert law.optimizer.lr == pytest.approx(1.79 * N.non_embedding**-0.713 * 1e6**0.307, rel=1e-5)
    assert law.steps == round(1e6 / (law.batch_size * 128))
    assert law.optimizer.lr == float(f"{law.optimizer.lr:.5e}")


@pytest.mark.parametrize(
    ("lr", "why"),
    [
        ({"rule": "wdth"}, "did you mean 'width'"),
        ({"rule": "width", "base": 1}, "at"),
        ({"rule": "power", "base": 1, "of": "M", "at": 1, "exponent": 1}, "'N'"),
    ],
)
def test_mistakes_in_rules(lr: object, why: str) -> None:
    with pytest.raises(BudgetError, match=why):
        solve(CONFIG, None, lr=lr)


def test_a_rule_may_depend_on_the_tokens_that_steps_make() -> None:
    rate = solve(CONFIG, horizon({"steps": 100}), lr={"rule": "step-law"}).optimizer.lr
    assert rate == pytest.approx(1.79 * N.non_embedding**-0.713 * (100 * 4096) ** 0.307, rel=1e-5)
    assert solve(CONFIG, None, lr={"rule": "step-law"}).optimizer.lr == pytest.approx(
        1.79 * N.non_embedding**-0.713 * float(CONFIG.steps * 4096) ** 0.307, rel=1e-5
    )


@pytest.mark.parametrize(
    ("budget", "why"),
    [
        ({"tokens": 0}, "must be positive, not 0"),
        ({"steps": 1.5}, "steps are a whole number"),
        ({"tokens": {"rule": "step-law"}}, "step-law gives lr and batch_size, not tokens"),
        (
            {"tokens": {"rule": "power", "base": 1, "of": "N", "at": 1, "exponent": -1000}},
            "and finite, not 0",
        ),
        (
            {"tokens": {"rule": "power", "base": 1, "of": "N", "at": 1, "exponent": 1000}},
            "and finite, not inf",
        ),
        ({"tokens": 1, "convention": "C"}, "one of matmul, 6ND"),
        ({"tokens": 1, "parameters": "all"}, "one of total, non_embedding"),
        ({"toknes": 1}, "did you mean 'tokens'"),
        ({"tokens": 1, "steps": 1}, "found steps and tokens"),
        ({}, "found none"),
    ],
)
def test_mistakes_in_budgets(budget: dict, why: str) -> None:
    with pytest.raises(BudgetError, match=why):
        solve(CONFIG, horizon(budget))
