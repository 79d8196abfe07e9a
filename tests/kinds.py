"""Runs tests as other kinds of machine would round.

``python -m tests.kinds [--kind NAME]... [PYTEST ARGUMENTS]`` runs pytest once a kind, and fails where one
fails. Without ``--kind`` it takes the widest kind that this machine can be, and the next narrower one.

A kind limits the instructions that NumPy, SciPy, torch and the libraries under them choose when they load,
and with them the order of their sums. A machine can be made narrower, never wider: one with AVX-512 can be
every kind.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass

# Since 2.4 NumPy has levels of x86-64; it had single features before. It ignores names that it does not know.
_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL"


@dataclass(frozen=True)
class Kind:
    """A kind of machine: the kernels that OpenBLAS has for it, and the widest instructions of the others.

    NumPy must not use what is in ``disabled``. A machine that can be it has ``flag`` in ``/proc/cpuinfo``.
    """

    openblas: str
    torch: str
    onednn: str
    mkl: str
    disabled: str
    flag: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make a new process round as this kind does."""
        return {
            "OPENBLAS_CORETYPE": self.openblas,
            "ATEN_CPU_CAPABILITY": self.torch,
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "NPY_DISABLE_CPU_FEATURES": self.disabled,
        }


# Widest first. OpenBLAS in the wheels of NumPy and SciPy gives AMD's Zen the kernels of Haswell.
KINDS = {
    "avx512": Kind("SkylakeX", "avx512", "AVX512_CORE", "AVX512", "", flag="avx512f"),
    "avx2": Kind("Haswell", "avx2", "AVX2", "AVX2", _AVX512, flag="avx2"),
    "sse4": Kind("Nehalem", "default", "SSE41", "SSE4_2", f"{_AVX512} X86_V3 AVX2 FMA3", flag="sse4_2"),
}

PROBE = """\
import numpy, scipy.linalg, torch
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
print("torch", torch.backends.cpu.get_cpu_capability())
print("numpy", *(name for name in __cpu_dispatch__ if __cpu_features__[name]))
"""


def possible() -> list[str]:
    """Names of the kinds that this machine can be, widest first."""
    with open("/proc/cpuinfo") as cpuinfo:
        flags = next((line for line in cpuinfo if line.startswith("flags")), "").split()
    return [name for name, kind in KINDS.items() if kind.flag in flags]


def departures(kind: Kind) -> list[str]:
    """What a process started as ``kind`` uses against it: a library may have renamed its variable."""
    environment = {**os.environ, **kind.environment, "OPENBLAS_VERBOSE": "2"}  # prints "Core: Haswell"
    probe = [sys.executable, "-c", PROBE]
    done = subprocess.run(probe, env=environment, capture_output=True, text=True, check=True)
    words = done.stdout + done.stderr
    cores = set(re.findall(r"Core: (\w+)", words)) - {kind.openblas}
    (capability,) = re.findall(r"^torch (\w+)", words, re.MULTILINE)
    (features,) = re.findall(r"^numpy ?(.*)", words, re.MULTILINE)
    return [
        *(f"OpenBLAS uses {core}" for core in sorted(cores)),
        *([f"torch uses {capability}"] if capability.lower() != kind.torch else []),
        *(f"NumPy uses {name}" for name in features.split() if name in kind.disabled.split()),
    ]


def main() -> int:
    """The command; 1 where the tests of a kind fail, or where this machine does not become that kind."""
    here = possible()
    parser = argparse.ArgumentParser(
        prog="python -m tests.kinds", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--kind", action="append", choices=here, help="may be given more than once")
    options, arguments = parser.parse_known_args()
    failed = []
    for name in options.kind or here[:2]:
        kind = KINDS[name]
        print(f"== {name}", *(f'{key}="{value}"' for key, value in kind.environment.items()), flush=True)
        if others := departures(kind):
            print(f"this process is no {name}: {'; '.join(others)}", file=sys.stderr)
            failed.append(name)
            continue
        tests = [sys.executable, "-m", "pytest", *arguments]
        if subprocess.run(tests, env={**os.environ, **kind.environment}).returncode:
            failed.append(name)
    print(f"== failed: {', '.join(failed)}" if failed else "== every kind passes")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
