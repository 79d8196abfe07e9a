"""What runs are called, for people."""

from __future__ import annotations

import functools

from analysis.tables.wording import human
from trainers.config import RunConfig


def title(config: RunConfig) -> str:
    """A readable name of a run, by what tells runs apart, and nothing that changes: ``AR d64x3 U=10kB
    s0``."""
    model, data = config.model, config.data
    words = [config.objective.short]
    width, layers = getattr(model, "width", None), getattr(model, "layers", None)
    words.append(f"d{width}x{layers}" if width and layers else model.name)
    heads = getattr(model, "kv_heads", None)
    words += [f"kv{heads}"] if heads else []
    if data.unique_bytes is not None:
        words.append(f"U={human(data.unique_bytes)}B")
    elif data.unique_tokens is not None:
        words.append(f"U={human(data.unique_tokens)}")
    usual = _usual()
    words += [data.quality.name] if data.quality.name != usual.data.quality.name else []
    words += [config.schedule.name] if config.schedule.name != usual.schedule.name else []
    words.append(
        f"s{config.seed}" if config.seed == data.subset_seed else f"s{config.seed}/{data.subset_seed}"
    )
    return " ".join(words)


@functools.cache
def _usual() -> RunConfig:
    """A run of nothing but defaults: what it has goes without saying."""
    return RunConfig(steps=1)
