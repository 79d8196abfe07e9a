"""The numerics class of a process: what may move the last bits of a run without being part of its identity.

Equality is bitwise within a class on CPU, and on CUDA with ``deterministic: true``. The class is recorded
with every attempt.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainers.components.component import digest
from trainers.components.errors import UserError
from trainers.machine.allocator import keep_freed_memory
from trainers.models.network.kernels import EDITION, kernels_for

if TYPE_CHECKING:
    from trainers.config import Resources


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is a card, else the CPU. Raises ``ValueError`` for a device that is not
    there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"resources.device: unknown device {name!r}; auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"resources.device: {name!r} is not there; this process sees {torch.cuda.device_count()} cards"
        )
    return device


def configure_process(resources: Resources) -> torch.device:
    """Set threads, denormals, allocator and determinism of this process for a run, and return its device.

    Raises `UserError` for a device that is not there, or that has no such kernels.
    """
    device = resolve_device(resources.device)
    kernels_for(resources.kernels, device)
    torch.set_num_threads(resources.threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if device.type == "cuda":
        if resources.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(resources.deterministic)
    return device


def describe(
    device: torch.device, resources: Resources, dtype: str, compiled: bool, workers: int = 1
) -> dict[str, Any]:
    """The numerics class as a record; ``class`` is a short name, equal where the record is."""
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    kernels = "cuda" if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    if resources.kernels == "plain":
        kernels += " plain"
    elif device.type == "cpu":
        kernels += f" fused {EDITION}"
    record: dict[str, Any] = {
        "device": device.type,
        "model": model,
        "threads": torch.get_num_threads(),
        "workers": workers,
        "micro_batch": resources.micro_batch,
        "dtype": dtype,
        "compile": compiled,
        "checkpoint_activations": resources.checkpoint_activations,
        "deterministic": device.type == "cpu" or resources.deterministic,
        "kernels": kernels,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{platform.system()}-{platform.machine()}",
    }
    return {**record, "class": f"{device.type}-{digest(record, 8)}"}


def processor() -> str:
    """The processor's model name."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Peak resident bytes of this process; on CUDA the peak that torch has allocated on the card."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:  # Linux; its ru_maxrss starts from that of the process which started this one
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if platform.system() == "Darwin" else peak * 1024)
