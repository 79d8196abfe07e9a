"""Writing of immutable files: each appears whole or not at all, and a set of them is complete once its
manifest is there.

Several processes may prepare the same data at once. What they write is equal, names are temporary until a
file is whole, and ``os.replace`` is atomic, so that whoever comes last changes nothing; readers keep the file
that they have mapped.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, moved onto it if the block succeeds and removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The JSON of a file, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file atomically."""
    with replacing(path) as temporary, temporary.open("wb") as f:
        np.save(f, array, allow_pickle=False)


def stream_array(path: Path, chunks: Iterable[np.ndarray], dtype: np.dtype[Any] | type) -> int:
    """Write a one-dimensional .npy file atomically from chunks, never holding more than one; returns its
    length.
    """
    with replacing(path) as temporary, temporary.open("wb") as f:
        length = 0
        _header(f, 0, np.dtype(dtype))
        start = f.tell()
        for chunk in chunks:
            f.write(np.ascontiguousarray(chunk, dtype=dtype).tobytes())
            length += len(chunk)
        f.seek(0)
        _header(f, length, np.dtype(dtype))  # numpy pads the header so that the length may grow in place
        if f.tell() != start:
            raise RuntimeError("numpy wrote .npy headers of unequal length")
    return length


def read_array(path: Path) -> np.ndarray:
    """An .npy file, memory-mapped and read-only."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _header(f: BinaryIO, length: int, dtype: np.dtype[Any]) -> None:
    np.lib.format.write_array_header_1_0(
        f, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    )
