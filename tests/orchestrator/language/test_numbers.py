"""Human numbers are exact, and what is none is refused with the nearest form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.tables.wording import human
from orchestrator.language.derived.numbers import exact, significant
from trainers.components.numbers import count, number


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.5B", 1_500_000_000),
        ("96e9", 96 * 10**9),
        ("1e18", 10**18),
        ("25M", 25_000_000),
        ("10k", 10_000),
        ("0.5 B", 500_000_000),
        ("1_000", 1000),
        (1e18, 10**18),
        ("1.1B", 1_100_000_000),
        ("2T", 2 * 10**12),
    ],
)
def test_a_count_is_exact(written: object, value: int) -> None:
    found = count(written)
    assert found == value and isinstance(found, int)


@pytest.mark.parametrize("written", [True, None, "lots", "1.5X", "", "k", "1.2.3", [1], "nan", float("inf")])
def test_what_is_no_number_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="expected a number such as"):
        number(written)


def test_a_count_has_no_fraction_and_a_small_letter_gets_a_hint() -> None:
    with pytest.raises(ValueError, match="whole number"):
        count("1.5")
    with pytest.raises(ValueError, match="did you mean '25M'"):
        count("25m")


@given(st.integers(1, 10**15))
def test_any_whole_number_survives_any_form(value: int) -> None:
    assert count(value) == count(str(value)) == count(f"{value}e0") == count(f"{value / 1000!r}k")


def test_derived_numbers_have_six_digits() -> None:
    assert significant(1 / 3) == 0.333333
    assert significant(123456789.0) == 123457000.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(950, "950"), (10_000, "10k"), (1_250_000, "1.25M"), (96e9, "96B"), (6.3e18, "6.3e18"), (0.5, "0.5")],
)
def test_numbers_are_shown_short(value: float, text: str) -> None:
    assert human(value) == text


@given(st.one_of(st.integers(-(10**21), 10**21), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_in_a_name_loses_nothing(value: float) -> None:
    assert type(value)(number(exact(value))) == value
    assert len(exact(value)) <= len(repr(value)) + 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5000, "5k"),
        (24743247, "24743247"),
        (3 * 10**18, "3e18"),
        (0.001, "0.001"),
        (5e-324, "5e-324"),
        (0, "0"),
    ],
)
def test_a_number_in_a_name_is_short_where_it_can_be(value: float, text: str) -> None:
    assert exact(value) == text
