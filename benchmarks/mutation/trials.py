"""A room's tests in a forked child: in a clean run that is traced, and with a mutant in place.

A child imports the package anew, the mutated module from memory: no file is written. Each test has a limit in
terms of the clean run, in CPU time (a loop without end) and in wall-clock time (a wait without end).
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from hypothesis import Phase, settings

from benchmarks.mutation.operators import Mutant

_MEMORY = 12 << 30
Tests = dict[str, tuple[float, set[tuple[str, int]]]]
"""By id: CPU seconds of a test in the clean run, and the lines of its room that it runs."""


class Traced:
    """A pytest plugin that notes what each test costs and which lines of some files it runs."""

    def __init__(self, files: set[str]) -> None:
        self.files, self.tests, self.lines = files, Tests(), set[tuple[str, int]]()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.lines, begin = set(), time.process_time()
        result = yield
        self.tests[item.nodeid] = time.process_time() - begin, self.lines
        return result

    def call(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any] | None:
        return self.line if frame.f_code.co_filename in self.files else None

    def line(self, frame: FrameType, event: str, arg: object) -> Callable[..., Any]:
        self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self.line


class Limited:
    """A pytest plugin that runs chosen tests in their order, each within its limit, and tells which is on."""

    def __init__(self, seconds: dict[str, float], grace: float, log: Path) -> None:
        self.seconds, self.grace, self.log = seconds, grace, log

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = {test: k for k, test in enumerate(self.seconds)}
        items[:] = sorted((i for i in items if i.nodeid in order), key=lambda i: order[i.nodeid])
        if len(items) < len(order):
            self.log.write_text("collection")
            os._exit(1)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.log.write_text(item.nodeid)
        limit(self.seconds[item.nodeid], self.grace)
        return (yield)


def limit(seconds: float, grace: float) -> None:
    """A signal ends the process after 4 times the CPU time of a clean run, or 30 times in wall-clock time."""
    signal.setitimer(signal.ITIMER_PROF, grace + 4 * seconds)
    signal.setitimer(signal.ITIMER_REAL, 12 * grace + 30 * seconds)


def forked(work: Callable[[], int]) -> int:
    """The exit status of a child that does something silently in a session of its own; negative: a signal."""
    child = os.fork()
    if not child:
        status = 70
        try:
            os.setsid()
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(silence, stream)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            for number in (signal.SIGPROF, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            status = work()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it started and left
    return status


def _pytest(paths: Iterable[str], plugin: object) -> int:
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutation", phases=phases, database=None, derandomize=True)
    settings.load_profile("mutation")
    return int(pytest.main(["-x", "-p", "no:cacheprovider", *sorted(set(paths))], plugins=[plugin]))


def clean_run(root: Path, room: str, kept: Path) -> Tests:
    """Every test of a room's mirror without a fault, read from ``kept`` where that is there, and kept in it.

    Raises RuntimeError where a test fails.
    """
    if not kept.exists():

        def work() -> int:
            plugin = Traced({str(path) for path in (root / room).rglob("*.py")})
            threading.settrace(plugin.call)
            sys.settrace(plugin.call)
            status = _pytest([f"tests/{room}"], plugin)
            sys.settrace(None)
            tests = {name: (seconds, sorted(lines)) for name, (seconds, lines) in plugin.tests.items()}
            if status == 0:
                kept.with_suffix(".part").write_text(json.dumps(tests))
                kept.with_suffix(".part").replace(kept)
            return status

        kept.parent.mkdir(exist_ok=True)
        status = forked(work)
        if status:
            raise RuntimeError(f"pytest tests/{room} fails without a fault (exit status {status})")
    tests = json.loads(kept.read_text())
    return {name: (seconds, {(path, n) for path, n in lines}) for name, (seconds, lines) in tests.items()}


def meeting(root: Path, mutant: Mutant, tests: Tests, longest: float, first: str = "") -> dict[str, float]:
    """Tests that run a mutant's statement, and their clean seconds (``longest`` at most), in the order to run
    them.

    First the one that killed it before, then the file named like the module, then cheap files; within a file,
    cheap tests.
    """
    near = {name: seconds for name, (seconds, _) in tests.items() if seconds <= longest}
    if mutant.lines is not None:
        places = {(str(root / mutant.path), n) for n in range(mutant.lines[0], mutant.lines[1] + 1)}
        near = {name: near[name] for name in near if tests[name][1] & places}
    cost: dict[str, float] = {}
    for name, seconds in near.items():
        cost[name.partition("::")[0]] = cost.get(name.partition("::")[0], 0.0) + seconds

    def rank(name: str) -> tuple[object, ...]:
        file = name.partition("::")[0]
        return (
            name != first,
            Path(file).stem != f"test_{Path(mutant.path).stem}",
            cost[file],
            file,
            near[name],
        )

    return {name: near[name] for name in sorted(near, key=rank)}


def outcome(root: Path, mutant: Mutant, seconds: dict[str, float], grace: float) -> tuple[str, str]:
    """``survived``, ``killed`` or ``timeout``, and the test or the reason that says so."""
    if not seconds:
        return "survived", "no test reaches it"
    path = root / mutant.path
    source = mutant.applied(path.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        log.write_text("import")

        def work() -> int:
            original = SourceFileLoader.get_code

            def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
                if loader.path != str(path):
                    return original(loader, name)
                return compile(source, loader.path, "exec", dont_inherit=True)

            SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
            limit(30.0, grace)
            return _pytest((name.partition("::")[0] for name in seconds), Limited(seconds, grace, log))

        status = forked(work)
        by = log.read_text()
    if status == 0:
        return "survived", f"passes {len(seconds)} tests"
    return ("timeout" if status in (-signal.SIGPROF, -signal.SIGALRM) else "killed"), by
