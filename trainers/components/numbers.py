"""Numbers as people write them: ``1.5B``, ``96e9``, ``1e18``, ``25M``, ``10k``, exactly."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

SUFFIXES = {"k": 3, "K": 3, "M": 6, "B": 9, "G": 9, "T": 12}
"""Powers of ten. ``m`` is none of them: it reads as milli, or as a mega."""

PATTERN = r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?\s?[kKMBGT]?$"
"""Regular expression of a number with a suffix, also for the JSON schema."""

FORMS = "a number such as 25000, 10k, 25M, 1.5B, 96e9 or 1e18"


def number(value: object) -> int | float:
    """The number that ``value`` is or spells; an int wherever it is whole.

    Raises ValueError with what is allowed. Booleans are no numbers. Arithmetic is decimal, so ``1.1B`` is
    1100000000.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected {FORMS}")
    if isinstance(value, int):
        return value
    text = str(value).strip()
    if isinstance(value, str) and not re.match(PATTERN, text):
        near = text[:-1] + text[-1:].upper() if text[-1:] in ("m", "b", "g", "t") else ""
        hint = f"; did you mean {near!r}?" if near and re.match(PATTERN, near) else ""
        raise ValueError(f"expected {FORMS}{hint}")
    power = SUFFIXES.get(text[-1:], 0)
    try:
        exact = Decimal((text[:-1] if power else text).strip().replace("_", "")).scaleb(power)
    except InvalidOperation:
        raise ValueError(f"expected {FORMS}") from None
    if not exact.is_finite():
        raise ValueError(f"expected {FORMS}")
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def count(value: object) -> int:
    """A whole number (tokens, steps, bytes, seeds): as :func:`number`, or ValueError where a fraction is
    left."""
    whole = number(value)
    if isinstance(whole, float):
        raise ValueError(f"expected a whole number, in any form ({FORMS.removeprefix('a number such as ')})")
    return whole
