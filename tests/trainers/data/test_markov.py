"""The synthetic corpus: its entropy rate is exact, and shuffling documents does not change it."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.config import DataConfig
from trainers.data import prepare


@pytest.fixture(scope="module")
def chain():
    return DataConfig(corpus={"name": "markov", "documents_held": 8000}).corpus


def test_rows_are_distributions_and_newline_never_repeats(chain):
    assert chain.transitions.sum(1) == pytest.approx(np.ones(64))
    assert chain.transitions[0, 0] == 0
    assert chain.stationary @ chain.transitions == pytest.approx(chain.stationary)


def test_cross_entropy_of_the_true_model_is_the_entropy_rate(chain, tmp_path):
    data = prepare(DataConfig(corpus=chain), tmp_path)
    ids = data.tokens.astype(int)
    states = np.where(ids == 10, 0, ids - 47)
    nll = -np.log(chain.transitions[states[:-1], states[1:]])
    assert np.isfinite(nll).all(), (
        "no transition that the chain cannot make, so documents may be joined in any order"
    )
    assert nll.mean() == pytest.approx(chain.entropy_rate, abs=5 * nll.std() / len(nll) ** 0.5)
    assert data.unigram_entropy == pytest.approx(chain.unigram_entropy, abs=0.01)
    assert chain.entropy_rate < chain.unigram_entropy - 1


def test_sharpness_zero_is_uniform_noise():
    noise = DataConfig(corpus={"name": "markov", "sharpness": 0}).corpus
    assert noise.entropy_rate == pytest.approx(np.log(64), abs=0.02)
