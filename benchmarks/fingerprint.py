"""SHA-256 of what the runs of a store came to, so that two stores compare with ``diff``.

``python benchmarks/fingerprint.py STORE`` prints a line for each training key, sorted: the key, the last
step, the digest of the newest weights and that of the history. It imports none of the packages and reads run
folders alone, so that stores of any two commits can be compared, and what is compared is no part of what
compares.

The weights' digest covers names, types, shapes and bytes of the tensors, by name. The history's covers every
committed event in order. Telemetry, times and how events were cut into files are no part of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ABSENT = "-" * 64


def canonical(value: Any) -> bytes:
    """A JSON value as bytes that depend neither on the order of keys nor on spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def weights_digest(path: Path) -> str:
    """SHA-256 of the tensors of a safetensors file: eight bytes of length, a JSON header, then the data."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8:start])
    hasher = hashlib.sha256()
    for name in sorted(header.keys() - {"__metadata__"}):
        tensor = header[name]
        first, last = tensor["data_offsets"]
        hasher.update(canonical([name, tensor["dtype"], tensor["shape"]]))
        hasher.update(data[start + first : start + last])
    return hasher.hexdigest()


def history_digest(segments: list[Path]) -> str:
    """SHA-256 of the events of history segments, in order."""
    hasher = hashlib.sha256()
    for segment in segments:
        for line in segment.read_text(encoding="utf-8").splitlines():
            hasher.update(canonical(json.loads(line)))
    return hasher.hexdigest()


def fingerprints(store: Path) -> Iterator[str]:
    """A line for each run of the store that has committed anything, sorted by training key."""
    for run in sorted((store / "runs").iterdir()):
        commits = sorted((run / "commits").glob("[0-9]*.json"))
        if not commits:
            continue
        commit = json.loads(commits[-1].read_text(encoding="utf-8"))
        key = json.loads((run / "config.json").read_text(encoding="utf-8"))["training_key"]
        steps = [int(step) for step in commit["checkpoints"]]
        weights = weights_digest(run / commit["checkpoints"][str(max(steps))]["weights"]) if steps else ABSENT
        history = history_digest([run / name for name in commit["history"]])
        yield f"{key} step={commit['step']} weights={weights} history={history}"


def main() -> None:
    """Print the lines of the store that the first argument names."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "runs").is_dir():
        sys.exit("usage: python benchmarks/fingerprint.py STORE   (a folder that holds runs/)")
    for line in fingerprints(Path(sys.argv[1])):
        print(line)


if __name__ == "__main__":
    main()
