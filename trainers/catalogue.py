"""Every registry by the kind of component that it holds: what can be named in a config, plug-ins included."""

from __future__ import annotations

from typing import Any

from trainers.components.component import Registry
from trainers.components.optimizer import optimizers
from trainers.components.schedule import schedules
from trainers.data.base import corpora, orders, qualities, tokenizers
from trainers.evaluation.tasks.base import tasks
from trainers.models.base import models
from trainers.models.network.blocks.base import blocks
from trainers.objectives.base import objectives
from trainers.objectives.sampler import samplers

registries: dict[str, Registry[Any]] = {
    registry.kind: registry
    for registry in (
        models, blocks, objectives, samplers, optimizers, schedules, corpora, tokenizers, qualities, orders,
        tasks,
    )
}  # fmt: skip
