"""What a training process holds: its bytes predicted, and how the allocator is set. Needs no torch."""

from __future__ import annotations

import ctypes
import platform

from trainers.config import RunConfig

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def training_bytes(config: RunConfig) -> int:
    """Peak bytes of training above those of the process before its model is built.

    Weights and AdamW's two moments always; beside them the larger of a step (activations, and where batches
    are accumulated the gradients too) and of what lies between steps: gradients and the copy that a
    checkpoint is written from.
    """
    model, resources = config.model, config.resources
    vocab, extra = config.data.tokenizer.vocab, len(config.objective.extra_tokens)
    counted = model.parameters(vocab, extra)
    weights = 4 * (counted.total + counted.extra)
    copies = 1 + (config.ema is not None)
    sequences = min(resources.micro_batch or config.batch_size, config.batch_size)
    activations = model.activation_bytes(
        vocab,
        config.data.context,
        sequences,
        2 if config.dtype == "bfloat16" else 4,
        resources.checkpoint_activations,
    )
    accumulated = weights if sequences < config.batch_size else 0
    between = weights + (copies + 2) * weights
    return int((copies + 2) * weights + max(activations + accumulated, between))


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next step instead of returning it to the system.

    A step frees and asks again for the same large blocks; fetching each page anew costs up to a tenth of a
    small model's step. Only glibc offers this; elsewhere nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_TOP_PAD, 1 << 26)
