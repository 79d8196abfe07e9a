"""What the fields of a run are, read off `trainers.config`: dotted names, kinds, and values brought to their
kind.

Nothing here names a field, so a new one, or a new component, is an axis at once.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.numbers import count, number
from orchestrator.source import Issue, Node
from trainers.component import Choice, Registry
from trainers.config import DataConfig, RunConfig

SUGAR = {
    "model": ("size", "architecture"),
    "budget": ("steps", "tokens", "epochs", "flops", "tokens_per_parameter", "convention", "parameters"),
}
"""Keys that the language adds to the fields of a run; they resolve to fields."""

HORIZONS = SUGAR["budget"][:5]
"""The five ways to say where training ends."""


def registry_of(info: FieldInfo) -> Registry[Any] | None:
    """The registry a component field draws from, None for other fields."""
    return next((m.registry for m in info.metadata if isinstance(m, Choice)), None)


def submodels(annotation: Any) -> list[type[BaseModel]]:
    """The config classes that a field's type allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in submodels(arg)]


def scalars(annotation: Any) -> set[type]:
    """The scalar types (bool, int, float, str) that a field's type allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return scalars(get_args(annotation)[0])
    if origin is Literal:
        return {type(value) for value in get_args(annotation)}
    if origin in (Union, types.UnionType):
        return {kind for arg in get_args(annotation) for kind in scalars(arg)}
    return {annotation} & {bool, int, float, str}


def names(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo | None]]:
    """Every dotted field name of a run, with its field, the sugar included (with None); a component offers
    all its kinds' options."""
    for name, info in model.model_fields.items():
        dotted = prefix + name
        yield dotted, info
        registry = registry_of(info)
        inner: list[type[BaseModel]] = list(registry) if registry is not None else submodels(info.annotation)
        if registry is not None:
            yield f"{dotted}.name", None
        for child in inner:
            yield from names(child, f"{dotted}.")
    if not prefix:
        yield "budget", None
        for parent, children in SUGAR.items():
            for child_name in children:
                yield f"{parent}.{child_name}", None


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


def default(dotted: str) -> Any:
    """The default of a field as it would be written, None where it has none."""
    info = field(dotted)
    if info is None:
        return None
    value = info.get_default(call_default_factory=True)
    return None if isinstance(value, BaseModel) else value


def numeric(dotted: str) -> bool:
    """Whether the field holds a number, so that ``10k`` is one there."""
    if dotted.split(".")[0] == "budget":
        return dotted.split(".")[-1] in HORIZONS
    info = field(dotted)
    return info is not None and bool(scalars(info.annotation) & {int, float})


def coerce(node: Node, model: type[BaseModel], issues: list[Issue]) -> dict[str, Any]:
    """The mapping ``node`` as plain values for ``model``: human numbers read, components named.

    A value that cannot be of its field's kind is an issue and left out, so that validation finds what else is
    wrong; what is not understood here stays as it is, for validation to refuse.
    """
    done: dict[str, Any] = {}
    for name, child in node.items():
        info = model.model_fields.get(name)
        try:
            done[name] = child.plain if info is None else _value(child, info, issues)
        except ValueError as error:
            issues.append(child.issue(str(error)))
    return done


def _value(node: Node, info: FieldInfo, issues: list[Issue]) -> Any:
    registry = registry_of(info)
    if registry is not None:
        if not isinstance(node.value, dict):
            return node.plain
        named = node.get("name")
        kind = info.default if named is None else named.value
        inner = replace(node, value={key: child for key, child in node.value.items() if key != "name"})
        return {
            "name": kind,
            **(coerce(inner, registry[kind], issues) if kind in registry.names() else inner.plain),
        }
    models = submodels(info.annotation)
    if models and isinstance(node.value, dict):
        fits = [m for m in models if set(node.value) <= set(m.model_fields)]
        return coerce(node, (fits or models)[-1], issues)
    return _scalar(node.plain, scalars(info.annotation))


def _scalar(value: Any, kinds: set[type]) -> Any:
    """A scalar as one of ``kinds``. ValueError where it is none: pydantic would take true for 1 and 'on' for
    true."""
    if value is None or isinstance(value, dict | list) or not kinds or type(value) in kinds & {str, bool}:
        return value
    if kinds == {bool}:
        raise ValueError("expected true or false")
    if str in kinds or not kinds & {int, float}:
        return value
    return number(value) if float in kinds else count(value)
