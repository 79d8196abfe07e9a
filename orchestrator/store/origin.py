"""Which code, on which machine, with which libraries. Recorded with every run and sweep."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainers.machine.cores import usable_cores

PACKAGES = ("crossover", "torch", "ray", "mlflow", "numpy", "scipy", "pandas")


@cache
def provenance() -> dict[str, Any]:
    """Plain JSON values: git state of the code, versions, hardware, user. No environment variables, no
    addresses."""
    return {
        "git": git(Path(__file__).parent),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "hardware": {
            "host": platform.node(),
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": usable_cores(),
            "memory_bytes": _memory(),
        },
        "user": _user(),
    }


def command() -> str:
    """The command line, as it can be typed again."""
    import shlex

    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def git(folder: Path) -> dict[str, Any] | None:
    """Commit, branch and whether tracked files differ from it; None where ``folder`` is in no repository."""

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    if commit is None:
        return None
    changed = ask("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "branch": ask("rev-parse", "--abbrev-ref", "HEAD"), "dirty": bool(changed)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in many containers
        return str(os.getuid())
