"""What the fields of a run are, read off `trainers.config`: dotted names and kinds.

Nothing here names a field, so a new one, or a new component, is an axis at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainers.components import coercion as coerce
from trainers.components.coercion import registry_of, scalars
from trainers.config import DataConfig, RunConfig

SUGAR = {
    "model": ("size", "architecture", "match"),
    "model.match": ("count", "to"),
    "budget": ("steps", "tokens", "epochs", "flops", "tokens_per_parameter", "convention", "parameters"),
}
"""Keys that the language adds to the fields of a run; they resolve to fields."""

HORIZONS = SUGAR["budget"][:5]
"""The five ways to say where training ends."""


def names() -> Iterator[tuple[str, FieldInfo | None]]:
    """Every dotted field name of a run, with its field, the sugar included (with None)."""
    yield from coerce.names(RunConfig)
    yield "budget", None
    for parent, children in SUGAR.items():
        for child in children:
            yield f"{parent}.{child}", None


def table() -> dict[str, FieldInfo | None]:
    """Dotted name -> field, None for sugar; a new component shows at once."""
    kinds = (
        registry_of(info) for info in (*RunConfig.model_fields.values(), *DataConfig.model_fields.values())
    )
    return _table(tuple(name for registry in kinds if registry is not None for name in registry.names()))


@lru_cache(maxsize=8)
def _table(components: tuple[str, ...]) -> dict[str, FieldInfo | None]:
    return dict(names())


def field(dotted: str) -> FieldInfo | None:
    """The field of that dotted name; None if there is none or it is sugar."""
    return table().get(dotted)


def locations() -> set[str]:
    """Names of the fields that hold paths of files."""
    return coerce.locations(RunConfig)


def default(dotted: str) -> Any:
    """The default of a field as it would be written, None where it has none."""
    info = field(dotted)
    if info is None or info.is_required():
        return None
    value = info.get_default(call_default_factory=True)
    return None if isinstance(value, BaseModel) else value


def numeric(dotted: str) -> bool:
    """Whether the field holds a number, so that ``10k`` is one there."""
    if dotted.split(".")[0] == "budget":
        return dotted.split(".")[-1] in HORIZONS
    info = field(dotted)
    return info is not None and bool(scalars(info.annotation) & {int, float})
