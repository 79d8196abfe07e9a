"""The memory prediction: what it must grow with. How far it is off is measured by `make bench`."""

from __future__ import annotations

from trainers.config import RunConfig
from trainers.machine.memory import training_bytes


def of(**fields: object) -> int:
    return training_bytes(RunConfig(**fields))


def test_memory_follows_what_is_held() -> None:
    wide = {"name": "transformer", "width": 256, "layers": 6}
    base = of(model=wide)
    assert of(model=wide, batch_size=64) > 1.8 * base - 100e6
    assert of(model=wide, resources={"micro_batch": 8}) < base
    assert of(model=wide, resources={"checkpoint_activations": True}) < 0.5 * base
    assert of(model=wide, dtype="bfloat16") < base
    weights = 4 * RunConfig(model=wide).model.parameters(256, 1).total
    assert of(model=wide, ema=0.99) - base >= 2 * weights
    assert of(model=wide, resources={"micro_batch": 64}) == base
