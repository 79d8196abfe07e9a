"""Runs small enough for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.config import RunConfig

SMALL = {"corpus": {"name": "markov", "documents_held": 500}}


@pytest.fixture
def tiny() -> Callable[..., RunConfig]:
    """A run config of a model that takes a millisecond a step; fields as given."""
    torch.set_num_threads(1)
    return tiny_config


def tiny_config(**fields: Any) -> RunConfig:
    """Some 10k parameters, 16 positions, batch 4, some 15 evaluations by step 40."""
    defaults: dict[str, Any] = {
        "model": {"name": "transformer", "width": 16, "layers": 1, "ffn": 32},
        "data": {**SMALL, "unique_bytes": 3000, "context": 16, **fields.pop("data", {})},
        "evaluation": {"sequences": 4, "draws": 2, "spacing": 1.3, "first": 4},
        "batch_size": 4,
        "steps": 40,
    }
    return RunConfig.model_validate({**defaults, **fields})
