"""What commands share: options, sweeps by file or by name, text tables, and errors a person can act on."""

from __future__ import annotations

import errno
import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from analysis.tables.json_values import plain
from orchestrator.store.store import ENVIRONMENT, Store
from trainers.components.errors import UserError

if TYPE_CHECKING:
    from orchestrator.language.spec import SweepSpec

F = TypeVar("F", bound=Callable[..., Any])


UNUSABLE = {errno.ENOTDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC}
"""What the system says of a store or file that cannot be used as given; no fault of the code."""


class CommandError(click.ClickException):
    """A mistake of the caller: exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        click.echo(self.message, err=True)


def errors_as_messages(function: F) -> F:
    """Errors in sweeps, keys and tables become messages and exit code 2."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            raise CommandError(str(error)) from error
        except ValueError as error:
            from analysis.tables.tables import TableError

            if not isinstance(error, TableError):
                raise
            raise CommandError(str(error)) from error
        except OSError as error:
            if error.filename is None or error.errno not in UNUSABLE:
                raise
            raise CommandError(f"{error.filename}: {error.strerror}") from error

    return call  # type: ignore[return-value]


def store_option(function: F) -> F:
    """``--store``, which the command takes as a `Store`."""
    return click.option(
        "--store",
        metavar="DIR",
        envvar=ENVIRONMENT,
        callback=errors_as_messages(lambda context, option, address: Store.at(address)),
        help=f"The store (default: ./store, or ${ENVIRONMENT}).",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(function)


def sweep_options(function: F) -> F:
    """SWEEP..., --set and --only."""
    function = click.option(
        "--only", multiple=True, metavar="AXIS=VALUE", help="Only the cells with this value; repeatable."
    )(function)
    function = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Lay a value over the sweep (base.optimizer.lr=1e-3).",
    )(function)
    return click.argument("sweeps", nargs=-1, required=True, metavar="SWEEP...")(function)


def specs_of(
    store: Store, sweeps: Sequence[str], settings: Sequence[str] = (), only: Sequence[str] = ()
) -> list[SweepSpec]:
    """Sweeps from YAML files, or by the names of sweeps that the store has run, as far as the store extends
    them."""
    from orchestrator.study.sweeps import named

    return named(store, sweeps, settings, only)


def existing(store: Store) -> Store:
    """This store, for commands that have nothing to do where there is none."""
    if not store.exists():
        raise CommandError(f"there is no store at {store}; run a sweep first, or give --store")
    return store


def is_sweep(store: Store, name: str) -> bool:
    """Whether this is a sweep's file, or the name of a sweep that the store has run."""
    from orchestrator.study import sweeps

    return sweeps.is_sweep(store, name)


def emit(value: Any) -> None:
    """One JSON value to stdout; what JSON has no word for (NaN, infinity) becomes null."""
    click.echo(json.dumps(plain(value), indent=1, allow_nan=False, default=str))


def say(text: str) -> None:
    """A message to stderr."""
    click.echo(text, err=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> str:
    """Aligned columns of text; ``right``: indices of the columns that are numbers."""
    body = [["" if cell is None else str(cell) for cell in row] for row in rows]
    numbers = set(right)
    widths = [max(len(line[i]) for line in [list(headers), *body]) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            c.rjust(w) if i in numbers else c.ljust(w)
            for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()

    heads = line(headers)
    return "\n".join([click.style(heads, bold=True) if sys.stdout.isatty() else heads, *map(line, body)])


def size(value: float) -> str:
    """Bytes for people: ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
