"""A config as it was written, with positions, brought to the kinds of its fields: human numbers read,
components named, and every error at its place. Sweeps and `python -m trainers` read alike.
"""

from __future__ import annotations

import os
import types
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainers.components.component import LOCATION, Choice, Registry, problems
from trainers.components.numbers import count, number
from trainers.components.source import Issue, Node, SpecError

M = TypeVar("M", bound=BaseModel)


def registry_of(info: FieldInfo) -> Registry[Any] | None:
    """The registry that a field, or each item of a field, draws its component from; None for other fields."""
    own = next((m.registry for m in info.metadata if isinstance(m, Choice)), None)
    return own if own is not None else _registry_in(info.annotation)


def _registry_in(annotation: Any) -> Registry[Any] | None:
    marks = (m.registry for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Choice))
    inner = (_registry_in(arg) for arg in get_args(annotation))
    return next((registry for registry in (*marks, *inner) if registry is not None), None)


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


def names(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo | None]]:
    """Every dotted field name of a config, with its field; a component offers all its kinds' options, and
    ``name`` (with None)."""
    for name, info in model.model_fields.items():
        dotted = prefix + name
        yield dotted, info
        registry = registry_of(info)
        inner: list[type[BaseModel]] = list(registry) if registry is not None else submodels(info.annotation)
        if registry is not None:
            yield f"{dotted}.name", None
        for child in inner:
            yield from names(child, f"{dotted}.")


def validated(node: Node, model: type[M], traps: Sequence[Issue] = ()) -> M:
    """The mapping ``node`` as a config. Raises SpecError with everything that is wrong with it, each at its
    place; ``traps`` were found in reading it."""
    issues: list[Issue] = []
    data = coerce(node, model, issues)
    try:
        config = model.model_validate(data)
    except ValidationError as error:
        issues += [placed(node, problem.path, problem.message) for problem in problems(error, model)]
    said = {issue.key for issue in traps}
    issues = [*traps, *(issue for issue in issues if issue.key not in said)]
    if issues:
        raise SpecError(issues)
    return config


def placed(node: Node, path: Sequence[str | int], message: str) -> Issue:
    """A problem of the config that was made of ``node``, at the deepest place that was written."""
    deepest = node.at(path)
    missing = deepest.path[-1:] != tuple(path[-1:]) and message.startswith("unknown field")
    return (replace(deepest, value={}) if missing else deepest).issue(message)


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
        if isinstance(node.value, list):
            return [_component(item, registry, None, issues) for item in node.value]
        return _component(node, registry, info.default, issues)
    models = submodels(info.annotation)
    if models and isinstance(node.value, dict):
        fits = [m for m in models if set(node.value) <= set(m.model_fields)]
        return coerce(node, (fits or models)[-1], issues)
    return _scalar(node.plain, scalars(info.annotation))


def _component(node: Node, registry: Registry[Any], default: Any, issues: list[Issue]) -> Any:
    """A component with its name, that of ``default`` where none is written."""
    if not isinstance(node.value, dict):
        return node.plain
    named = node.get("name")
    kind = default if named is None else named.value
    inner = replace(node, value={key: child for key, child in node.value.items() if key != "name"})
    options = coerce(inner, registry[kind], issues) if kind in registry.names() else inner.plain
    return options if kind is None else {"name": kind, **options}


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


def locations(model: type[BaseModel]) -> set[str]:
    """Dotted names of the fields that hold paths of files."""
    return {name for name, info in names(model) if info is not None and LOCATION in info.metadata}


def anchored(node: Node, folder: Path, fields: Collection[str]) -> Node:
    """``node`` with the relative paths under these dotted names made absolute, seen from ``folder``: that of
    the file which names them."""
    value = node.value
    if isinstance(value, dict):
        return replace(node, value={key: anchored(child, folder, fields) for key, child in value.items()})
    if isinstance(value, list):
        return replace(node, value=[anchored(item, folder, fields) for item in value])
    dotted = ".".join(part for part in node.path if isinstance(part, str))
    if not isinstance(value, str) or not any(f".{dotted}".endswith(f".{name}") for name in fields):
        return node
    if "://" in value or value.startswith("~"):
        return node
    return replace(node, value=os.path.abspath(folder / value))
