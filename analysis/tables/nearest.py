"""What to say of a name that is not known: what is allowed, and the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, value: str, allowed: Iterable[str]) -> str:
    """``metric 'acuracy' is not one of nll, accuracy; did you mean 'accuracy'?``"""
    names = [str(name) for name in allowed]
    near = difflib.get_close_matches(value, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{what}: {value!r} is not one of {', '.join(names) or 'none'}{hint}"
