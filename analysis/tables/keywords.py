"""Words that a caller may have mistyped: the nearest of those that are allowed, and unknown keywords."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def nearest(word: object, allowed: Iterable[object]) -> str:
    """``; did you mean 'huber'?`` if an allowed word is near, else nothing."""
    near = difflib.get_close_matches(str(word), [str(a) for a in allowed], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown(what: str, word: object, allowed: Iterable[object]) -> str:
    """The message of a word that is not allowed: ``no estimand 'hubr'; did you mean 'huber'? ...``"""
    allowed = list(allowed)
    return f"no {what} {word!r}{nearest(word, allowed) or '.'} There are {', '.join(map(str, allowed))}"


def checked_keywords(function: F) -> F:
    """Let a function answer an unknown keyword with the nearest one and all that it takes.

    The function's own signature stays visible. It raises TypeError, as Python does.
    """
    parameters = inspect.signature(function).parameters
    names = [n for n, p in parameters.items() if p.kind is not inspect.Parameter.POSITIONAL_ONLY]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for word in kwargs:
            if word not in parameters:
                raise TypeError(f"{function.__name__}(): {unknown('option', word, names)}")
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]
