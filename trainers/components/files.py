"""Files that appear whole or not at all, and the user's cache folder.

Whatever moment a process dies at, a reader sees the old content or the new, never a part. A process that is
killed while it writes may leave a temporary file, whose name begins with a dot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainers.components.component import digest

Chunks = bytes | Iterable[bytes | memoryview]
"""What is written: bytes, or pieces of them in order, so that a large object is never held twice."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, moved onto it if the block succeeds and removed if it fails."""
    with _temporary(path) as temporary:
        yield temporary
        os.replace(temporary, path)


def write_file(path: Path, data: Chunks | str, *, sync: bool = True) -> None:
    """Write a file, replacing what was there. With ``sync`` it is on the disk itself before this returns."""
    with _temporary(path) as temporary:
        _fill(temporary, data, sync)
        os.replace(temporary, path)
    if sync:
        _sync_folder(path.parent)


def create_file(path: Path, data: Chunks | str, *, sync: bool = True, mode: int = 0o666) -> bool:
    """Write a file unless there is one; False where there is. Of several callers one gets True."""
    if path.exists():
        return False
    with _temporary(path) as temporary:
        _fill(temporary, data, sync, mode)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    if sync:
        _sync_folder(path.parent)
    return True


def read_json(path: Path) -> Any:
    """The content of a JSON file; None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_json(path: Path, value: Any, *, sync: bool = False) -> None:
    """Write a JSON file, for people to read as well."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    write_file(path, text, sync=sync)


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/crossover``, by default ``~/.cache/crossover``: what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossover"


def file_sha256(path: Path) -> str:
    """A local file's sha256, read once for each size and modification time."""
    stat = path.stat()
    return _file_sha256(str(path.absolute()), stat.st_size, stat.st_mtime_ns)


def absolute(path: str) -> str:
    """A path seen from the working directory and the user's home, as one that depends on neither."""
    return os.path.abspath(os.path.expanduser(path))


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _fill(path: Path, data: Chunks | str, sync: bool, mode: int = 0o666) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        data = data.encode() if isinstance(data, str) else data
        for chunk in [data] if isinstance(data, bytes) else data:
            file.write(chunk)
        if sync:
            file.flush()
            os.fsync(file.fileno())


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


@lru_cache(maxsize=1 << 16)
def _file_sha256(path: str, size: int, mtime: int) -> str:
    entry = cache_folder() / "digests" / f"{digest(path)}.json"
    known = read_json(entry)
    if known is not None and (known["size"], known["mtime_ns"]) == (size, mtime):
        return str(known["sha256"])
    with open(path, "rb") as f:
        sha = hashlib.file_digest(f, "sha256").hexdigest()
    write_json(entry, {"path": path, "size": size, "mtime_ns": mtime, "sha256": sha})
    return sha
