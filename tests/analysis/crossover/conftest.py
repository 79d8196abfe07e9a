"""A study that several modules read."""

from __future__ import annotations

import pytest

from analysis.crossover import locate
from tests.analysis.synthetic import study


@pytest.fixture(scope="session")
def located():
    """What ``locate`` says of two sizes at two budgets; the true places; the tables."""
    tables, truth = study(budgets=(5_000, 20_000))
    return locate(*tables), truth, tables
