"""Leases: at most one driver works on a run, or on a sweep, at a time.

A lease is a series of small objects ``<name>/<n>.json``, each created only if absent: who creates the next
number holds the lease. They name a *session*, a driver's life, whose beat file the driver rewrites every few
seconds. A session is dead when its beat has not changed for a while by the *observer's* monotonic clock
(clocks of two machines are never compared), or at once where observer and holder share a machine and the
process is gone.

A lease only saves work. What keeps a run whole is that a superseded attempt cannot commit.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainers.state.storage import Storage

BEAT_EVERY = 3.0
DEAD_AFTER = 30.0


class Session:
    """One driver's life, in whose name leases are held. Use as a context manager: it beats until it ends."""

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Callable[[], float] = time.monotonic,
        beat_every: float = BEAT_EVERY,
        dead_after: float = DEAD_AFTER,
    ) -> None:
        self.storage = storage
        self.id = uuid.uuid4().hex[:12]
        self._clock = clock
        self._beat_every = beat_every
        self._dead_after = dead_after
        self._count = 0
        self._seen: dict[str, tuple[int, float]] = {}
        self._leases: dict[str, int] = {}
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = {
            "host": platform.node(),
            "boot": _boot(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        }

    def __enter__(self) -> Session:
        self.beat()
        self._thread = threading.Thread(target=self._keep_beating, name="lease-beat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        for name in list(self._leases):
            self.release(name)
        self.storage.delete(_beat(self.id))

    def beat(self) -> None:
        """Show that this session lives."""
        self._count += 1
        self.storage.put(_beat(self.id), json.dumps({**self._process, "beat": self._count}).encode())

    def _keep_beating(self) -> None:
        while not self._end.wait(self._beat_every):
            try:
                self.beat()
            except (
                OSError
            ):  # a full disk must not end the driver; the lease is then lost, which only costs work
                continue

    # ------------------------------------------------------------------ leases

    def acquire(self, name: str) -> bool:
        """Take the lease ``name``; False while another living session holds it. Call again until it is
        true."""
        number, holder = self._newest(name)
        if holder == self.id:
            return True
        if holder is not None and self._alive(holder):
            return False
        if not self._claim(name, number + 1, self.id):
            return False
        self._leases[name] = number + 1
        for old in self._numbers(name):
            if old <= number:
                self.storage.delete(_lease(name, old))
        return True

    def holds(self, name: str) -> bool:
        """Still ours? (Another session may have taken us for dead.)"""
        return self._newest(name)[1] == self.id

    def release(self, name: str) -> None:
        """Give a lease back; harmless if it was lost."""
        number = self._leases.pop(name, None)
        if number is not None and self._newest(name) == (number, self.id):
            self._claim(name, number + 1, None)
            self.storage.delete(_lease(name, number))

    def holder(self, name: str) -> str | None:
        """The living session that holds ``name``, this one included; None if it is free."""
        holder = self._newest(name)[1]
        return holder if holder is not None and (holder == self.id or self._alive(holder)) else None

    def who(self, name: str) -> str:
        """The holder in words, for a message: ``process 4711 on host``."""
        about = self._read(_beat(self._newest(name)[1] or "")) or {}
        return f"process {about.get('pid', '?')} on {about.get('host', '?')}"

    def _newest(self, name: str) -> tuple[int, str | None]:
        for _ in range(10):  # an object may vanish between listing and reading, when a newer one has come
            numbers = self._numbers(name)
            if not numbers:
                return 0, None
            content = self._read(_lease(name, numbers[-1]))
            if content is not None:
                return numbers[-1], content["session"]
        return numbers[-1], None

    def _claim(self, name: str, number: int, session: str | None) -> bool:
        return self.storage.put_if_absent(_lease(name, number), json.dumps({"session": session}).encode())

    def _numbers(self, name: str) -> list[int]:
        names = (n for n in self.storage.list(name) if n.endswith(".json") and not n.startswith("."))
        return sorted(int(n.removesuffix(".json")) for n in names)

    def _read(self, name: str) -> Any:
        try:
            return json.loads(self.storage.get(name))
        except FileNotFoundError:
            return None

    def _alive(self, session: str) -> bool:
        about = self._read(_beat(session))
        if about is None:
            return False
        if (about["host"], about["boot"]) == (self._process["host"], self._process["boot"]):
            started = _started(about["pid"])
            return started is not None and abs(started - about["started"]) < 2.0
        beat, since = self._seen.get(session, (-1, 0.0))
        now = self._clock()
        if about["beat"] != beat:
            self._seen[session] = (about["beat"], now)
            return True
        return now - since <= self._dead_after


def _lease(name: str, number: int) -> str:
    return f"{name}/{number:08d}.json"


def _beat(session: str) -> str:
    return f".sessions/{session}.json"


def _boot() -> str:
    """What tells this start of this machine (or container) from others; host names repeat."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(
            os.stat("/proc/self/ns/pid").st_ino
        )
    except OSError:
        import psutil

        return str(psutil.boot_time())


def _started(pid: int) -> float | None:
    """When a process of this machine began; None if there is none (process ids are used again)."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
