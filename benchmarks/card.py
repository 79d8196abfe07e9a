"""Model FLOPs utilisation on a card: updates in bfloat16, compiled, against the card's own matrix products.

Measures nothing where there is no card. `training_rate` runs on a CPU too, which is how its path is tried.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.figures import figure
from benchmarks.train import Tokens

GROUP = "train"
CONTEXT = 2048
SHAPES: dict[str, tuple[dict[str, Any], int, float]] = {
    "124M": ({"width": 768, "layers": 12, "tied": True}, 32, 0.45),
    "1B": ({"width": 2048, "layers": 18, "heads": 16, "tied": True}, 8, 0.55),
}
"""Model (with GPT-2's vocabulary), batch and target."""
SQUARE = 8192
"""Rows and columns of the product that utilisation is a share of."""


def measure() -> dict[str, dict[str, Any]]:
    """Utilisation of both sizes and objectives."""
    import torch

    figures: dict[str, dict[str, Any]] = {}
    if not torch.cuda.is_available():
        return figures
    peak = gemm_rate("cuda", SQUARE)
    for size, (model, batch, target) in SHAPES.items():
        for name, objective in (("ar", "autoregressive"), ("mdm", "masked_diffusion")):
            rate = training_rate(model, objective, batch, CONTEXT, "cuda")
            figures[f"train.mfu.{name}.{size}"] = figure(rate / peak, "of GEMM", at_least=target)
    return figures


def gemm_rate(device: str, size: int) -> float:
    """FLOP/s of a square product in bfloat16."""
    import torch

    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * size**3 / _seconds(lambda: torch.mm(left, right), device)


def training_rate(
    model: dict[str, Any], objective: str, batch: int, context: int, device: str, compile: str = "on"
) -> float:
    """FLOP/s (`matmul`) of whole updates."""
    from trainers.config import RunConfig
    from trainers.flops import matmul_flops
    from trainers.machine.numerics import configure_process
    from trainers.run.learner import Learner

    config = RunConfig.model_validate(
        {
            "model": {"name": "transformer", **model},
            "objective": objective,
            "data": {"context": context, "tokenizer": "gpt2"},
            "batch_size": batch,
            "dtype": "bfloat16",
            "resources": {"device": device, "compile": compile},
        }
    )
    tokens = Tokens(config.data.tokenizer.vocab, context, 4 * batch)
    learner = Learner(config, tokens, configure_process(config.resources))
    return config.tokens_per_step * matmul_flops(config) / _seconds(learner.update, device)


def _seconds(work: Callable[[], Any], device: str, warm_up: int = 3, rounds: int = 10) -> float:
    """Median wall seconds of a call, the device's work included."""
    import torch

    took = []
    for turn in range(warm_up + rounds):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        took += [time.perf_counter() - began] if turn >= warm_up else []
    return statistics.median(took)
