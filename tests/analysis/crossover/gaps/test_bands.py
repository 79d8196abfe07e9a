"""The band of a crossing: between the place by a bound and the place by a tighter value."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.crossover import locate
from analysis.crossover.gaps.bands import crossing_bands, tight_place
from analysis.crossover.place import record
from analysis.reporting import write
from tests.analysis.synthetic import one

SHIFT = 0.1


@pytest.fixture(scope="module")
def located():
    return locate(*one(sequences=12, draws=2, jitter=0.0)[0])


def tighter(located, shift=SHIFT, keep=slice(None)):
    """The bound of every second arm, lower by ``shift`` nats on every sequence."""
    parts = []
    for cell in located.cells:
        for _, arm in cell.arms:
            for k in range(len(arm.step))[keep]:
                values = arm.b.sequences[k] - shift
                at = {
                    "run": arm.run,
                    "step": arm.step[k],
                    "kind": "exact",
                    "sequence": arm.b.names.astype(int),
                }
                parts.append(pd.DataFrame({**at, "nll": values, "tokens": 128}))
    return pd.concat(parts, ignore_index=True)


def test_a_band_reaches_from_the_exact_place_to_the_place_by_the_bound(located):
    (band,) = crossing_bands(located, tighter(located))
    bound = located.select("raw", "tokens")[0]
    assert band.value is None and band.high == bound.high and band.low == band.tight.low
    assert band.tight.value < bound.value and band.low < band.tight.value and band.replicates == 2
    # The curves part by .30 and the slope of the first arm's rise, nats a log token, at their crossing.
    slope = 0.30 + 0.55 * 1.3 * np.log(2.5) ** 0.3
    assert np.log(bound.value / band.tight.value) == pytest.approx(SHIFT / slope, rel=0.25)
    (same,) = crossing_bands(located, tighter(located, 0.0))
    assert same.tight.value == pytest.approx(bound.value, rel=0.03)
    assert record(band)["by"] == "exact" and record(band)["tight_censored"] is None


def test_one_scored_evaluation_is_a_bound_on_its_side(located):
    first, second = located.cells[0].arms[0]

    def place(shift, k):
        rows = tighter(located, shift, slice(k, k + 1))
        return tight_place(first, second, rows[rows["run"] == second.run])

    last = len(second.step) - 1
    assert place(0.0, last).side == "left" and place(0.0, 5).side == "right"
    assert place(0.0, 5).value == pytest.approx(np.log(second.x["tokens"][5]))
    (band,) = crossing_bands(located, tighter(located, 0.0, slice(last, last + 1)))
    assert band.low is None and band.high == located.select("raw", "tokens")[0].high
    assert crossing_bands(located, None) == []


def test_decoders_are_named_and_stand_in_page_and_json(located, tmp_path):
    decoding = tighter(located, keep=slice(-1, None)).drop(columns="kind")
    decoding = decoding.assign(order="left_to_right", tokens_per_step=1)
    (band,) = crossing_bands(located, decoding)
    assert band.by == "decoded left to right, 1 a step"
    report = write(tmp_path, located, decoding=decoding)
    assert report.data["bands"][0]["by"] == band.by
    page = report.html.read_text()
    assert "Crossings as bands" in page and "decoded left to right, 1 a step" in page
