"""Arrays in .npy files: written whole or not at all, in pieces where they are large, and read memory-mapped.

Several processes may prepare the same data at once. What they write is equal, so that whoever comes last
changes nothing; readers keep the file that they have mapped. A set of arrays is complete once its JSON file,
written last, is there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trainers.components.files import replacing


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
