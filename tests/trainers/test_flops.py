"""FLOPs by convention, against what torch itself counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainers import models
from trainers.config import RunConfig
from trainers.flops import matmul_flops, six_nd
from trainers.objectives.base import Corruption


@pytest.mark.parametrize("kv_heads", [None, 1])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("attention", ["causal", "full"])
def test_matmul_convention_is_what_a_step_multiplies(
    kv_heads: int | None, tied: bool, attention: str
) -> None:
    config = RunConfig(
        model={
            "name": "transformer",
            "width": 64,
            "layers": 2,
            "heads": 2,
            "kv_heads": kv_heads,
            "tied": tied,
        }
    )
    model = models.build(config).double()
    B, T = 2, config.data.context
    ids = torch.arange(B * T).view(B, T) % model.vocab
    corruption = Corruption(ids, ids, torch.ones(B, T).double(), torch.tensor(1.0), attention)
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        model.weighted_cross_entropy(corruption).backward()
    assert counter.get_total_flops() == matmul_flops(config) * B * T


def test_counts_of_the_pocket_model() -> None:
    """Both conventions written out for the pocket model."""
    config = RunConfig(model={"name": "transformer", "width": 64, "layers": 3, "ffn": 192})
    matrices = 3 * (4 * 64**2 + 3 * 64 * 192) + 256 * 64
    assert matmul_flops(config) == 6 * matrices + 12 * 3 * 128 * 64
    counted = matrices + 256 * 64 + 3 * (2 * 64 + 2 * 32) + 64
    assert six_nd(config, 1000) == 6 * counted * 1000
