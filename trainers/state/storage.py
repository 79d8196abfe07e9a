"""Where run folders live: five operations, chosen so that a disk and object storage can both offer them.

Nothing appends and nothing renames a folder. ``put_if_absent`` is the one operation that decides a race; on
object storage it is a conditional write (``If-None-Match: *``), on a disk a hard link, which the kernel
refuses where the name exists.

Another kind of storage is one class with these operations and an entry in ``SCHEMES``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from trainers.components.errors import UserError
from trainers.components.files import Chunks, create_file, write_file

__all__ = ["Chunks", "LocalStorage", "MemoryStorage", "Storage", "open_storage", "within"]


class Storage(Protocol):
    """Objects by name; names are relative, with ``/`` between their parts."""

    def put(self, name: str, data: Chunks, *, durable: bool = True) -> None:
        """Write an object whole; one that exists is replaced. It is durable before this returns, unless the
        caller can do without.
        """

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        """Write an object, whole and durably, unless the name exists; False where it does. Of two callers one
        gets True.
        """

    def get(self, name: str) -> bytes:
        """The bytes of an object; ``FileNotFoundError`` where there is none."""

    def list(self, folder: str) -> dict[str, int]:
        """Names (without the folder) and sizes of what is directly in a folder; folders in it end in ``/``
        and have size 0. Empty for a folder that is not there.
        """

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error."""


class LocalStorage:
    """Objects as files below ``root``. Temporary files start with a dot; a killed process may leave some."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def put(self, name: str, data: Chunks, *, durable: bool = True) -> None:
        write_file(self.root / name, data, sync=durable)

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        return create_file(self.root / name, data)

    def get(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes()
        except NotADirectoryError as error:  # a part of the name is an object
            raise FileNotFoundError(str(error)) from None

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


class MemoryStorage:
    """Objects in this process's memory, gone with it: for tests, and for studies that keep nothing."""

    _named: dict[str, MemoryStorage] = {}  # noqa: RUF012 (one for the process is what is meant)

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @classmethod
    def named(cls, name: str) -> MemoryStorage:
        """The storage of this name, made on first use."""
        return cls._named.setdefault(name, cls())

    def put(self, name: str, data: Chunks, *, durable: bool = True) -> None:
        content = _joined(data)
        with self._lock:
            self._objects[name] = content

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        content = _joined(data)
        with self._lock:
            absent = name not in self._objects
            self._objects.setdefault(name, content)
        return absent

    def get(self, name: str) -> bytes:
        try:
            return self._objects[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def list(self, folder: str) -> dict[str, int]:
        prefix = f"{folder.rstrip('/')}/" if folder.rstrip("/") else ""
        sizes: dict[str, int] = {}
        with self._lock:
            for name, content in self._objects.items():
                if name.startswith(prefix):
                    first, slash, _ = name[len(prefix) :].partition("/")
                    sizes[first + slash] = 0 if slash else len(content)
        return sizes

    def delete(self, name: str) -> None:
        with self._lock:
            self._objects.pop(name, None)


def _joined(data: Chunks) -> bytes:
    return data if isinstance(data, bytes) else b"".join(data)


class _Within:
    """The objects of a storage whose names begin with a folder's."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage, self._folder = storage, folder

    def put(self, name: str, data: Chunks, *, durable: bool = True) -> None:
        self._storage.put(self._name(name), data, durable=durable)

    def put_if_absent(self, name: str, data: Chunks) -> bool:
        return self._storage.put_if_absent(self._name(name), data)

    def get(self, name: str) -> bytes:
        return self._storage.get(self._name(name))

    def list(self, folder: str) -> dict[str, int]:
        return self._storage.list(self._name(folder))

    def delete(self, name: str) -> None:
        self._storage.delete(self._name(name))

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}" if name else self._folder


def within(storage: Storage, folder: str) -> Storage:
    """A folder of a storage, as a storage of its own."""
    return LocalStorage(storage.root / folder) if type(storage) is LocalStorage else _Within(storage, folder)


SCHEMES: dict[str, Callable[[str], Storage]] = {"memory": MemoryStorage.named}
"""How an address ``scheme://rest`` is opened; what has no scheme is a path."""


def open_storage(address: str) -> Storage:
    """The storage at an address: a path, or ``memory://NAME``. Raises :class:`UserError`."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return LocalStorage(address)
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(f"store {address!r}: unknown scheme {scheme!r}; give a path, or one of {known}")
    return SCHEMES[scheme](rest)
