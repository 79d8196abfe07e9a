"""The allocators under a training process: how they are set, and how they say that memory is out."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


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


@contextlib.contextmanager
def allocation_errors() -> Iterator[None]:
    """Raise ``MemoryError`` where torch's CPU allocator gets no memory.

    torch has a class of error for cards alone. On the CPU it raises a bare ``RuntimeError`` that names its
    allocator; this is the one place that reads an error's text.
    """
    try:
        yield
    except RuntimeError as error:
        if type(error) is RuntimeError and "DefaultCPUAllocator: " in str(error):
            raise MemoryError(str(error)) from error
        raise
