"""Where run folders live: five operations, chosen so that a disk and object storage can both offer them.

Nothing appends and nothing renames a folder. ``put_if_absent`` is the one operation that decides a race; on
object storage it is a conditional write (``If-None-Match: *``), on a disk a hard link, which the kernel
refuses where the name exists.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from trainers.components.files import Chunks, create_file, write_file

__all__ = ["Chunks", "LocalStorage", "Storage"]


class Storage(Protocol):
    """Objects by name; names are relative, with ``/`` between their parts."""

    def put(self, name: str, data: Chunks) -> None:
        """Write an object, whole and durably, before returning; one that exists is replaced."""

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        """Write an object, whole and durably, unless the name exists; False where it does. Of two callers one
        gets True.
        """

    def get(self, name: str) -> bytes:
        """The bytes of an object; ``FileNotFoundError`` where there is none."""

    def list(self, folder: str) -> dict[str, int]:
        """Names (without the folder) and sizes of what is directly in a folder; folders in it end in ``/``
        and have size 0.
        """

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""


class LocalStorage:
    """Objects as files below ``root``. Temporary files start with a dot; a killed process may leave some."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def put(self, name: str, data: Chunks) -> None:
        write_file(self.root / name, data)

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        return create_file(self.root / name, data)

    def get(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def list(self, folder: str) -> dict[str, int]:
        sizes: dict[str, int] = {}
        try:
            entries = os.scandir(self.root / folder)
        except (FileNotFoundError, NotADirectoryError):
            return sizes
        with entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    sizes[f"{entry.name}/" if entry.is_dir() else entry.name] = (
                        0 if entry.is_dir() else entry.stat().st_size
                    )
        return sizes

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)
