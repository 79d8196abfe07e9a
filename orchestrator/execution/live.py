"""What a person sees while a sweep runs: one table that stays in place, or plain lines where there is no
terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from analysis.tables.wording import human


@dataclass(frozen=True)
class RunProgress:
    """A running task."""

    title: str
    step: int
    steps: int
    tokens_per_second: float | None
    loss: float | None


@dataclass(frozen=True)
class SweepProgress:
    """How a sweep stands. ``states``: number of runs by state; ``eta``: seconds, None before there is a
    guess."""

    title: str
    states: dict[str, int]
    rows: list[RunProgress] = field(default_factory=list)
    eta: float | None = None
    note: str = ""


class View(Protocol):
    """Receives progress and lines; owned by the driver's main thread."""

    def show(self, progress: SweepProgress) -> None: ...
    def line(self, text: str) -> None: ...
    def close(self) -> None: ...


def view(quiet: bool = False) -> View:
    """The view for this process's stderr: a live table on a terminal, else lines."""
    if quiet:
        return NullView()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return TableView()
    return LineView()


class NullView:
    """Shows nothing."""

    def show(self, progress: SweepProgress) -> None:
        pass

    def line(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class LineView:
    """A line whenever something has changed, at most every ``every`` seconds, to stderr."""

    def __init__(self, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._next, self._last = 0.0, ""

    def show(self, progress: SweepProgress) -> None:
        text = ", ".join(f"{n} {state}" for state, n in progress.states.items() if n)
        if text == self._last or self._clock() < self._next:
            return
        self._next, self._last = self._clock() + self._every, text
        rate = sum(r.tokens_per_second or 0 for r in progress.rows)
        speed = f"; {human(rate)} tokens/s" if rate else ""
        left = f"; about {duration(progress.eta)} left" if progress.eta else ""
        self.line(f"{progress.title}: {text}{speed}{left}")

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class TableView:
    """A rich table that is drawn again in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self._live.start()

    def show(self, progress: SweepProgress) -> None:
        self._live.update(_table(progress), refresh=True)

    def line(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        self._live.stop()


def _table(progress: SweepProgress) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table as RichTable
    from rich.text import Text

    heads = "   ".join(f"{n} {state}" for state, n in progress.states.items() if n)
    rate = sum(r.tokens_per_second or 0 for r in progress.rows)
    total = f"   {human(rate)} tokens/s" if rate else ""
    left = f"   about {duration(progress.eta)} left" if progress.eta else ""
    grid = RichTable(box=None, padding=(0, 1), show_header=bool(progress.rows))
    for name in ("running", "", "step", "tokens/s", "loss"):
        grid.add_column(name, justify="left" if name in ("running", "") else "right")
    for row in progress.rows:
        grid.add_row(
            row.title,
            ProgressBar(total=max(row.steps, 1), completed=row.step, width=20),
            f"{row.step}/{row.steps}" if row.steps else "",
            human(row.tokens_per_second) if row.tokens_per_second else "",
            f"{row.loss:.3f}" if row.loss is not None else "",
        )
    parts: list[Any] = [Text.assemble((progress.title, "bold"), f"   {heads}{total}{left}"), grid]
    return Group(*parts, *([Text(progress.note, style="dim")] if progress.note else []))


def duration(seconds: float | None) -> str:
    """``45 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds is None:
        return "?"
    seconds = round(seconds)
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
