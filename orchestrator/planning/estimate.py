"""What a run will cost: seconds (evaluations included), memory and disk. Estimates for planning, never part
of a result.

Speed comes from the store's own telemetry where a run of that shape has been trained; else from the nearest
shape there, by FLOPs; else from a quick measurement of this machine's matrix products, and a share model
fitted to the transformer on a CPU. No torch.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from trainers.components.component import digest
from trainers.config import EvaluationConfig, RunConfig
from trainers.evaluation.grid import evaluation_grid, resume_points
from trainers.flops import matmul_flops, six_nd
from trainers.machine.memory import training_bytes
from trainers.models.base import Parameters
from trainers.state.retention import Keep, RetentionPolicy

PROCESS_BYTES = 500e6
"""Resident memory of a training process on a CPU before its model, measured with torch 2.13."""
FLOPS_PER_ACTIVATION_BYTE = 100.0
"""What is no matrix product takes as long as this many FLOPs of one a byte of activations (measured: widths
32 and 64)."""
NO_STEPS: frozenset[int] = frozenset()
CARD_FLOPS = {"float32": 20e12, "bfloat16": 200e12}
"""Assumed useful FLOP/s of one card, until a run of the store says better."""


@dataclass(frozen=True)
class Speed:
    """Seconds a trained token and seconds a scored token, and where they come from."""

    train: float
    score: float
    source: str


@dataclass(frozen=True)
class Sample:
    """What telemetry says of one run."""

    shape: str
    flops_per_token: float
    train: float
    score: float | None
    memory: float | None


def shape(config: RunConfig) -> str:
    """What a run's speed depends on: model, objective, batch, context, arithmetic and resources."""
    resources = config.resources
    return digest(
        [
            config.model.identity(),
            config.objective.identity(),
            config.data.context,
            config.data.tokenizer.vocab,
            config.batch_size,
            config.dtype,
            [resources.device, resources.threads, resources.micro_batch, resources.gpus, resources.compile],
            resources.n_workers,
        ]
    )


def scored_tokens(config: RunConfig, evaluation: EvaluationConfig) -> int:
    """Tokens that one evaluation scores: both halves, each draw; an exact likelihood needs one draw."""
    draws = 1 if config.objective.likelihood == "exact" else evaluation.draws
    return 2 * evaluation.sequences * draws * config.data.context


def tokens_with_tasks(config: RunConfig) -> float:
    """Tokens that one evaluation of the run scores, with the tasks that are asked at a part of them."""
    evaluation = config.evaluation
    tokens = float(scored_tokens(config, evaluation))
    for task in evaluation.tasks:
        draws = 1 if config.objective.likelihood == "exact" else task.draws
        share = min(1.0, math.log(evaluation.spacing) / math.log(max(task.spacing, 1.01)))
        tokens += share * draws * task.scored_tokens(config.data.context)
    return tokens


def sample(config: RunConfig, telemetry: Iterable[dict[str, Any]]) -> Sample | None:
    """Speed of a run from its telemetry; None where there is not enough of it. The first part, with its
    warm-up, is left out."""
    speeds = [e for e in telemetry if e.get("event") == "speed" and e.get("train_seconds", 0) > 0]
    used = speeds[1:] or speeds
    tokens = sum(e["tokens_per_second"] * e["train_seconds"] for e in used)
    if tokens <= 0:
        return None
    scoring = [e["evaluation_seconds"] for e in used if e.get("evaluation_seconds", 0) > 0]
    per_evaluation = scored_tokens(config, config.evaluation)
    return Sample(
        shape(config),
        matmul_flops(config),
        sum(e["train_seconds"] for e in used) / tokens,
        statistics.median(scoring) / per_evaluation if scoring else None,
        max((e["peak_memory_bytes"] for e in used if e.get("peak_memory_bytes")), default=None),
    )


@dataclass(frozen=True)
class Kind:
    """What all runs have in common that differ only in data, seed, length and optimizer."""

    parameters: Parameters
    flops_per_token: float
    six_n: float
    """Training FLOPs a token by the ``6ND`` convention."""
    speed: Speed
    tokens_per_step: int
    scored_tokens: float
    """Tokens that one evaluation scores, with the tasks that are asked at a part of them."""
    memory_bytes: int
    """Peak memory of each worker."""

    def training_seconds(self, steps: int) -> float:
        """Seconds that ``steps`` steps train, evaluations not counted."""
        return steps * self.tokens_per_step * self.speed.train

    def evaluation_seconds(self, count: int) -> float:
        """Seconds that ``count`` evaluations take."""
        return count * self.scored_tokens * self.speed.score


@dataclass
class Estimator:
    """Prices runs. ``samples`` calibrate it; without any it measures this machine once, when it must."""

    samples: list[Sample] = field(default_factory=list)
    gemm: float | None = None
    """FLOP/s of one core's matrix products; None until measured."""
    _kinds: dict[Any, Kind] = field(default_factory=dict, init=False, repr=False)

    def kind(self, config: RunConfig) -> Kind:
        """What this run has in common with others, computed once for all of them."""
        data = config.data
        parts = (config.model, config.objective, data.tokenizer, data.context, data.attend, config.dtype)
        key = (*parts, config.batch_size, config.ema is None, config.resources, config.evaluation)
        try:
            if key not in self._kinds:
                self._kinds[key] = self._kind(config)
            return self._kinds[key]
        except TypeError:  # a component with a field that cannot be hashed
            return self._kind(config)

    def _kind(self, config: RunConfig) -> Kind:
        return Kind(
            config.counts,
            matmul_flops(config),
            six_nd(config, 1),
            self.speed(config),
            config.tokens_per_step,
            tokens_with_tasks(config),
            self.memory_bytes(config),
        )

    def speed(self, config: RunConfig) -> Speed:
        """Seconds a token of this run."""
        own = shape(config)
        same = [s for s in self.samples if s.shape == own]
        if same:
            train = statistics.median(s.train for s in same)
            scores = [s.score for s in same if s.score is not None]
            return Speed(train, statistics.median(scores) if scores else train / 3, "measured")
        flops = matmul_flops(config)
        model = self._model(config)
        if self.samples and not on_card(config):
            near = min(self.samples, key=lambda s: abs(math.log(s.flops_per_token / flops)))
            if 0.1 < near.flops_per_token / flops < 10:
                train = near.train * flops / near.flops_per_token
                return Speed(train, train / 3, "scaled")
        return Speed(model, model / 3, "assumed" if on_card(config) else "modelled")

    def _model(self, config: RunConfig) -> float:
        flops = matmul_flops(config)
        if on_card(config):
            return flops / (CARD_FLOPS[config.dtype] * max(1.0, config.resources.gpus))
        if self.gemm is None:
            self.gemm = gemm_rate()
        rate = self.gemm * config.resources.threads * config.resources.n_workers
        values = (
            config.model.activation_bytes(config.data.tokenizer.vocab, config.data.context, 1, 4)
            / config.data.context
        )
        return (flops + FLOPS_PER_ACTIVATION_BYTE * values) / rate

    def memory_bytes(self, config: RunConfig) -> int:
        """Peak memory of each worker: as measured for that shape; else as `trainers.machine.memory`
        predicts for its share of the batch, and the process."""
        own = shape(config)
        measured = [s.memory for s in self.samples if s.shape == own and s.memory]
        if measured:
            return int(max(measured))
        share = config.model_copy(update={"batch_size": config.batch_size // config.resources.n_workers})
        return int(training_bytes(share) + PROCESS_BYTES)


def on_card(config: RunConfig) -> bool:
    """Whether a run asks for a GPU."""
    return config.resources.gpus > 0 or config.resources.device.startswith("cuda")


def disk_bytes(
    config: RunConfig, parameters: Parameters, steps: int, start: int = 0, branches: frozenset[int] = NO_STEPS
) -> int:
    """Bytes of a run's folder once trained from ``start`` (where it left its trunk) to ``steps``: the
    checkpoints that `keep` keeps, those that ``branches`` start from among them, and the events."""
    stored = parameters.stored
    weights = 4 * stored * (1 + (config.ema is not None))
    evaluation = config.evaluation
    draws = 1 if config.objective.likelihood == "exact" else evaluation.draws
    points, scored, whole = _kept(tuple(evaluation_grid(config)), config.keep, steps, start, branches)
    events = points * (400 + 2 * evaluation.sequences * draws * 21) + 150 * (
        100 + 90 * max(0, math.log10(steps / 100))
    )
    return int(scored * weights + whole * 8 * stored + events)


@lru_cache(maxsize=4096)
def _kept(
    grid: tuple[int, ...],
    keep: Keep,
    steps: int,
    start: int,
    branches: frozenset[int],
) -> tuple[int, int, int]:
    """Evaluations up to ``steps``, checkpoints kept by then, and those of them that training can go on
    from."""
    points = [step for step in grid if step <= steps]
    own = [step for step in points if step > start]
    policy = RetentionPolicy.of(keep, own, set(own) & resume_points(points), branches)
    scored, whole = policy.up_to(steps)
    return len(points), len(scored), len(whole)


def gemm_rate() -> float:
    """FLOP/s of one core in float32 matrix products: the best of a few, in about 10 ms.

    64 x 64 x 64 is small enough for OpenBLAS to stay on one thread, whatever the environment says (on a busy
    machine its threads wait for each other), and runs at nearly the rate of larger products.
    """
    import numpy as np

    size, repeats = 64, 20
    left, right = np.ones((size, size), np.float32), np.ones((size, size), np.float32)
    out = left @ right
    best = math.inf
    for _ in range(20):
        begin = time.perf_counter()
        for _ in range(repeats):
            np.matmul(left, right, out=out)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 * repeats / best
