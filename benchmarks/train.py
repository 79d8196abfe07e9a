"""Figures of the trainer: speed as a share of this machine's matrix products and beside plain torch, and
memory against its prediction.

Speed is of whole updates (noise, forward, backward, clipping, AdamW) of `trainers.run.learner.Learner` on one
thread, in CPU time, in rounds that alternate with the matrix product that they are a share of: 4096 x d by d
x 4 d in float32.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.figures import figure

VOCAB, CONTEXT, BATCH = 256, 128, 32
SHAPES = {"d64": {"width": 64, "layers": 3}, "d192": {"width": 192, "layers": 6}}
TARGETS = {"d64": 0.58, "d192": 0.78}
OBJECTIVES = {"ar": "autoregressive", "mdm": "masked_diffusion"}
ROUNDS, ROUND_SECONDS, WARM_UP = 9, 0.5, 3
PAIRS = 21

MEMORY_SHAPES = {
    "pocket": ({"width": 64, "layers": 3}, 32),
    "weights": ({"width": 512, "layers": 8}, 4),
    "activations": ({"width": 128, "layers": 6}, 256),
}
"""Model and batch: a pocket run, one whose memory is weights, and one of more than 1 GB of activations."""


class Tokens:
    """Random tokens in place of a prepared data set."""

    def __init__(self, vocab: int = VOCAB, context: int = CONTEXT, sequences: int = 512) -> None:
        import torch

        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(0, vocab, (sequences, context), generator=generator)

    def batch(self, step: int, batch_size: int, seed: int) -> Any:
        """Batch of a step."""
        import torch

        from trainers.batch import Batch

        counters = torch.arange(step * batch_size, (step + 1) * batch_size)
        tokens = self.tokens[counters % len(self.tokens)]
        return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), counters)


def measure() -> dict[str, dict[str, object]]:
    """Figure -> value, unit, target, ok."""
    figures: dict[str, dict[str, object]] = {}
    ratios = []
    for shape, target in TARGETS.items():
        arms = {name: updates(objective, shape) for name, objective in OBJECTIVES.items()}
        if shape == "d192" and has_bfloat16():
            arms["bf16"] = updates("autoregressive", shape, "bfloat16")
        shares = rounds(shape, arms)
        plain = updates("autoregressive", shape, kernels="plain")
        speedup = speed_ratio(arms["ar"][0], plain[0])
        figures[f"train.fused_over_plain.{shape}"] = figure(speedup, "x", at_least=1.1)
        figures[f"train.over_plain_gpt2.{shape}"] = figure(over_plain_gpt2(shape), "x", at_least=1.0)
        for name in OBJECTIVES:
            share = statistics.median(shares[name])
            figures[f"train.gemm_share.{name}.{shape}"] = figure(share, "share", at_least=target)
        ratios.append(_median_ratio(shares["ar"], shares["mdm"]))
        if "bf16" in shares:
            speedup = _median_ratio(shares["bf16"], shares["ar"])
            figures["train.bf16_speedup.d192"] = figure(speedup, "x", at_least=1.15)
    figures["train.mdm_over_ar"] = figure(max(ratios), "x", at_most=1.05)
    if platform.libc_ver()[0] == "glibc":
        errors = [predicted / used - 1 for predicted, used in map(memory, MEMORY_SHAPES)]
        worst = max(map(abs, errors))
        figures["train.memory_error"] = figure(worst, "share", at_most=0.15)
    return figures


def updates(
    objective: str, shape: str, dtype: str = "float32", kernels: str = "auto", block: object = "llama"
) -> tuple[Callable[[], None], float]:
    """An update to be called again and again, and its FLOPs by the ``matmul`` convention."""
    from trainers.config import RunConfig
    from trainers.flops import matmul_flops
    from trainers.machine.numerics import configure_process
    from trainers.run.learner import Learner

    model = {"name": "transformer", **SHAPES[shape], "block": block}
    config = RunConfig(
        model=model, objective=objective, batch_size=BATCH, dtype=dtype, resources={"kernels": kernels}
    )
    learner = Learner(config, Tokens(), configure_process(config.resources))
    for _ in range(WARM_UP):
        learner.update()
    return learner.update, matmul_flops(config) * config.tokens_per_step


def rounds(shape: str, arms: dict[str, tuple[Callable[[], None], float]]) -> dict[str, list[float]]:
    """Shares of the product's rate, one a round: the product before and after, each arm in between."""
    import torch

    width = SHAPES[shape]["width"]
    left, right = torch.randn(4096, width), torch.randn(width, 4 * width)
    out = torch.empty(4096, 4 * width)
    flops = 2 * out.numel() * width

    def product() -> None:
        torch.mm(left, right, out=out)

    shares: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, (update, step_flops) in arms.items():
            before = seconds(product, ROUND_SECONDS / 4)
            step = seconds(update, ROUND_SECONDS)
            after = seconds(product, ROUND_SECONDS / 4)
            shares[name].append(step_flops / step / (flops / ((before + after) / 2)))
    return shares


def over_plain_gpt2(shape: str) -> float:
    """How many times as fast an update of the GPT-2 block is as one in plain torch, of the same shape."""
    from benchmarks.plain_gpt2 import plain_update

    ours, _ = updates("autoregressive", shape, block={"name": "gpt2", "positions": CONTEXT})
    heads = SHAPES[shape]["width"] // (64 if SHAPES[shape]["width"] >= 128 else 32)
    theirs = plain_update(Tokens().tokens, BATCH, VOCAB, heads=heads, **SHAPES[shape])
    for _ in range(WARM_UP):
        theirs()
    return speed_ratio(ours, theirs)


def speed_ratio(ours: Callable[[], None], theirs: Callable[[], None], pairs: int = PAIRS) -> float:
    """How many times as fast ``ours`` is: the median over pairs that alternate within a fraction of a second,
    so that both meet the same load.
    """
    ratios = []
    for _ in range(pairs):
        before = seconds(ours, ROUND_SECONDS / 4)
        other = seconds(theirs, ROUND_SECONDS / 2)
        after = seconds(ours, ROUND_SECONDS / 4)
        ratios.append(other / ((before + after) / 2))
    return statistics.median(ratios)


def memory(name: str) -> tuple[int, int]:
    """Bytes predicted for a run of a shape, and those that a process took above what it had before it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train", name], capture_output=True, text=True, check=True
    )
    predicted, used = json.loads(done.stdout.splitlines()[-1])
    return int(predicted), int(used)


def _run_for_memory(name: str) -> tuple[int, int]:
    """In a process of its own: a small run to load every library, then the run itself, checkpoints
    included."""
    import ctypes
    import tempfile

    import psutil

    from trainers.config import RunConfig
    from trainers.machine.memory import training_bytes
    from trainers.machine.numerics import peak_memory, resolve_device
    from trainers.run.loop import train

    model, batch = MEMORY_SHAPES[name]
    with tempfile.TemporaryDirectory() as folder:

        def run(tag: str, model: dict[str, int], batch: int) -> RunConfig:
            config = RunConfig(
                model={"name": "transformer", **model},
                batch_size=batch,
                data={"corpus": "markov", "unique_bytes": 40_000},
                steps=4,
                evaluation={"sequences": 8, "first": 2},
            )
            train(config, f"{folder}/{tag}", data_root=f"{folder}/data")
            return config

        run("small", {"width": 16, "layers": 1}, 2)
        ctypes.CDLL(None).malloc_trim(0)
        before = psutil.Process().memory_info().rss
        predicted = training_bytes(run("run", model, batch))
        return predicted, peak_memory(resolve_device("cpu")) - before


def seconds(work: Callable[[], None], at_least: float) -> float:
    """CPU seconds of one call: the mean of calls for ``at_least`` seconds."""
    begin, calls = time.process_time(), 0
    while not calls or time.process_time() - begin < at_least:
        work()
        calls += 1
    return (time.process_time() - begin) / calls


def _median_ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


if __name__ == "__main__":
    print(json.dumps(_run_for_memory(sys.argv[1])))
