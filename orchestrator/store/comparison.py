"""What differs between two values of JSON's kind, field by field."""

from __future__ import annotations

from typing import Any


def differences(a: Any, b: Any, path: str = "") -> list[dict[str, Any]]:
    """``[{"field": dotted path, "a": value, "b": value}]`` of two JSON values; None where one lacks the
    field."""
    if isinstance(a, dict) and isinstance(b, dict):
        names = [*a, *(k for k in b if k not in a)]
        return [d for k in names for d in differences(a.get(k), b.get(k), f"{path}.{k}" if path else str(k))]
    return [] if a == b else [{"field": path, "a": a, "b": b}]
