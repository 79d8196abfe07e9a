"""Where run folders live: five operations, chosen so that a disk and object storage can both offer them.

Nothing appends and nothing renames a folder. ``put_if_absent`` is the one operation that decides a race; on
object storage it is a conditional write (``If-None-Match: *``), on a disk a hard link, which the kernel
refuses where the name exists.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

Chunks = bytes | Iterable[bytes | memoryview]
"""What is written: bytes, or pieces of them in order, so that a large object is never held twice."""


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
        target = self.root / name
        with self._written(target, data) as temporary:
            os.replace(temporary, target)
        _sync_folder(target.parent)

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        target = self.root / name
        if target.exists():
            return False
        with self._written(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
        _sync_folder(target.parent)
        return True

    def get(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def list(self, folder: str) -> dict[str, int]:
        found: dict[str, int] = {}
        try:
            entries = os.scandir(self.root / folder)
        except (FileNotFoundError, NotADirectoryError):
            return found
        with entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    found[f"{entry.name}/" if entry.is_dir() else entry.name] = (
                        0 if entry.is_dir() else entry.stat().st_size
                    )
        return found

    def delete(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self, target: Path, data: Chunks):  # type: ignore[no-untyped-def]
        """A temporary file beside ``target`` that holds ``data`` on the disk itself; removed afterwards if it
        is still there.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            with temporary.open("xb") as file:
                for chunk in [data] if isinstance(data, bytes) else data:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable; where folders cannot be opened (Windows) the file system sees to
    it.
    """
    with contextlib.suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
