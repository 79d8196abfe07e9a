"""Named, versioned, registered parts of a run, and the identity they give it.

A component (objective, schedule, corpus, quality, order ...) is a frozen pydantic model whose fields are its
options and whose methods are its behaviour. It is written ``{"name": "masked_diffusion", "epsilon": 0.001}``,
or just ``"masked_diffusion"``. Adding one is a new class with ``@registry.register``, here or in a user's
package (found by entry point).

Identity is the resolved config of the components in use, defaults included, with their versions. A field that
cannot change the result is marked :data:`COSMETIC`; a field added after keys were published is marked
:class:`Later` and is left out of the identity at the value that reproduces earlier behaviour, so that old
keys stand.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import json
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError, core_schema

from trainers.components.errors import UserError


class Frozen(BaseModel):
    """A strict, immutable config: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def identity(self) -> Any:
        """What of this config decides the result, as plain JSON values."""
        return {
            name: identity_of(value)
            for name, info in type(self).model_fields.items()
            for value in [getattr(self, name)]
            if COSMETIC not in info.metadata
            and not any(isinstance(m, Later) and m.reproduces == value for m in info.metadata)
        }


class Component(Frozen):
    """A named, versioned part of a run. Raise ``version`` whenever the same fields give another result."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    needs: ClassVar[Mapping[str, str]] = {}
    """Packages that are not installed with the project -> the extra that installs them."""

    def lacks(self) -> str | None:
        """What to install before this can be used; None where nothing is missing."""
        for package, extra in self.needs.items():
            if importlib.util.find_spec(package) is None:
                return f"{self.name!r} needs the package {package}: pip install 'crossover[{extra}]'"
        return None

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version, **super().identity()}


C = TypeVar("C", bound=Component)


class _Mark:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


COSMETIC = _Mark("COSMETIC")
"""Field metadata: cannot change the result (paths, resources, logging), so no part of the identity."""
LOCATION = _Mark("LOCATION")
"""Field metadata: paths of files. In a sweep or config file they are relative to that file."""


@dataclass(frozen=True)
class Later:
    """Field metadata: added after keys were published; ``reproduces`` is the value that gives the earlier
    behaviour.
    """

    reproduces: Any


_remembered: ContextVar[dict[int, tuple[Frozen, Any]] | None] = ContextVar("remembered", default=None)


@contextmanager
def remembered_identities() -> Iterator[None]:
    """Within this context, each config that is part of others gives its identity once: for whoever asks for
    those of thousands of configs that share parts."""
    token = _remembered.set(_remembered.get() or {})
    try:
        yield
    finally:
        _remembered.reset(token)


def identity_of(value: Any) -> Any:
    """Identity of a field's value: configs recursively, everything else as its JSON form."""
    if isinstance(value, Frozen):
        memory = _remembered.get()
        if memory is None:
            return value.identity()
        if id(value) not in memory:
            memory[id(value)] = (value, value.identity())
        return memory[id(value)][1]
    if isinstance(value, list | tuple):
        return [identity_of(v) for v in value]
    if isinstance(value, dict):
        return {str(k): identity_of(v) for k, v in value.items()}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{value!r} has no stable form and cannot be part of a run's identity")


def digest(value: Any, length: int = 16) -> str:
    """Hex digest of a JSON value that does not depend on key order or on the machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def components(config: Frozen, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Component]]:
    """Every component of a config, with its key path."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Component):
            yield (*path, name), value
        if isinstance(value, Frozen):
            yield from components(value, (*path, name))


class Registry(Generic[C]):
    """The components of one kind, by name.

    They are the modules of ``package`` (a new file there needs no other change), what a caller registers, and
    what installed plug-ins offer under the entry point group ``crossover.<kind>``.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type[C]] = {}
        self._discovered = False

    def register(self, cls: type[C]) -> type[C]:
        """Class decorator. A second class of the same name is an error; registering a class again (a reload)
        is not.
        """
        known = self._classes.get(cls.name)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ValueError(
                f"{self.kind} {cls.name!r} is already registered by {known.__module__}.{known.__qualname__}"
            )
        self._classes[cls.name] = cls
        return cls

    def names(self) -> list[str]:
        """Registered names, sorted, plug-ins included."""
        self._discover()
        return sorted(self._classes)

    def __repr__(self) -> str:
        return f"<{self.kind}: {', '.join(self.names())}>"

    def __iter__(self) -> Iterator[type[C]]:
        return iter([self._classes[name] for name in self.names()])

    def __getitem__(self, name: str) -> type[C]:
        if name not in self._classes:
            self._discover()
        if name not in self._classes:
            raise KeyError(unknown(self.kind, name, self.names()))
        return self._classes[name]

    def validate(self, value: Any) -> C:
        """A component from its written form: an instance, a name, or a mapping with ``name`` and options."""
        if isinstance(value, Component):
            if self._classes.get(value.name) is type(value):
                return value
            raise PydanticCustomError(
                "component", "{why}", {"why": f"{value.name!r} is no registered {self.kind}"}
            )
        options = {"name": value} if isinstance(value, str) else value
        if not isinstance(options, dict) or not isinstance(options.get("name"), str):
            known = ", ".join(self.names())
            article = "an" if self.kind[0] in "aeiou" else "a"
            why = f"{article} {self.kind} is a name, or a mapping with a name; one of: {known}"
            raise PydanticCustomError("component", "{why}", {"why": why})
        try:
            cls = self[options["name"]]
        except KeyError as error:
            raise PydanticCustomError("component", "{why}", {"why": error.args[0]}) from None
        try:
            return cls.model_validate({k: v for k, v in options.items() if k != "name"})
        except ValidationError as error:
            # pydantic flattens an error raised inside a validator; `problems` unpacks it from the context.
            raise PydanticCustomError(
                "component", "{why}", {"why": str(error), "nested": error, "model": cls, "registry": self}
            ) from None

    def parse(self, value: Any) -> C:
        """As :meth:`validate`, outside a config: every problem in one plain ``UserError``."""
        try:
            return self.validate(value)
        except PydanticCustomError as error:
            context = error.context or {}
            nested = context.get("nested")
            if not isinstance(nested, ValidationError):
                raise UserError(error.message()) from None
            name = context["model"].name
            listed = problems(nested, context["model"], self)
            raise UserError("\n".join(f"{self.kind} {name!r}: {problem}" for problem in listed)) from None

    def _discover(self) -> None:
        if not self._discovered:
            self._discovered = True
            if self.package is not None:
                for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                    importlib.import_module(f"{self.package}.{module.name}")
            for plug_in in entry_points(group=f"crossover.{self.kind}"):
                plug_in.load()


@dataclass(frozen=True)
class Choice:
    """Field annotation: ``Annotated[Objective, Choice(objectives)]`` is a field that holds any registered
    objective.
    """

    registry: Registry[Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.registry.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda c: {"name": c.name, **c.model_dump(mode="json")}
            ),
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        options: list[dict[str, Any]] = [{"enum": self.registry.names()}]
        for cls in self.registry:
            schema = cls.model_json_schema()
            schema.pop("$defs", None)
            schema["properties"] = {"name": {"const": cls.name}, **schema.get("properties", {})}
            schema["required"] = ["name", *schema.get("required", [])]
            options.append(schema)
        return {"anyOf": options}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config: where (key path), the value found, and what is wrong and allowed."""

    path: tuple[str | int, ...]
    value: Any
    message: str

    def __str__(self) -> str:
        where = ".".join(str(p) for p in self.path) or "(top level)"
        shown = "" if isinstance(self.value, dict | list) else f" (found {self.value!r})"
        return f"{where}: {self.message}{shown}"


def problems(
    error: ValidationError, model: type[BaseModel] | None = None, registry: Registry[Any] | None = None
) -> list[Problem]:
    """Every problem of a validation error, those inside components included, each with its whole key path.

    ``model`` is the config that was validated: with it, an unknown field names the nearest valid one.
    ``registry``: where it is a component, those it was chosen from.
    """
    listed: list[Problem] = []
    for item in error.errors(include_url=False):
        context = item.get("ctx", {})
        nested = context.get("nested")
        if isinstance(nested, ValidationError):
            inner = problems(nested, context["model"], context.get("registry"))
            listed += [Problem((*item["loc"], *p.path), p.value, p.message) for p in inner]
            continue
        kind, last = item["type"], item["loc"][-1] if item["loc"] else ""
        message = _KINDS.get(kind, item["msg"].removeprefix("Value error, "))
        if kind == "extra_forbidden":
            within = _model_at(model, item["loc"][:-1])
            if within is not None and issubclass(within, Component):
                message = unknown_option(within, str(last), others=registry or ())
            else:
                message = unknown(
                    "field", str(last), sorted(within.model_fields) if within is not None else []
                )
        elif kind == "missing":
            message = f"{last!r} is required" if isinstance(last, str) else f"item {last + 1} is required"
        elif kind == "literal_error":
            allowed = re.findall(r"'([^']+)'", context["expected"])
            near = difflib.get_close_matches(str(item["input"]), allowed, n=1)
            message = f"expected {context['expected']}" + (f"; did you mean {near[0]!r}?" if near else "")
        elif kind == "too_short":
            message = f"needs {context['min_length']} items or more, has {context['actual_length']}"
        message = message.replace("Input should be", "must be")
        listed.append(Problem(tuple(item["loc"]), item.get("input"), message))
    return listed


_KINDS = {
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "string_type": "expected text",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "expected a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "expected a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
}
"""What pydantic says in Python's words."""

MOST_NAMED = 24
"""A longer list of what is known helps nobody."""


def unknown(kind: str, name: str, known: Sequence[str], where: str = "") -> str:
    """``unknown objective 'difusion'; did you mean ...? Known: ...``; ``where`` follows the name."""
    near = difflib.get_close_matches(name, known, n=1)
    text = f"unknown {kind} {name!r}{where}" + (f"; did you mean {near[0]!r}?" if near else "")
    if not known or len(known) > MOST_NAMED:
        return text
    return f"{text}{'' if near else '.'} Known: {', '.join(known)}"


def unknown_option(
    cls: type[Component], name: str, more: Sequence[str] = (), others: Iterable[type[Component]] = ()
) -> str:
    """As :func:`unknown`, of an option that a component does not have; ``more`` may stand beside its own, and
    one of ``others`` may have it."""
    known = sorted({*cls.model_fields, *more})
    owners = " and ".join(repr(other.name) for other in others if name in other.model_fields)
    where = f" of {cls.name!r}" + (f" (but of {owners})" if owners else "")
    text = unknown("field", name, known, where)
    return text if known else f"{text}, which has no options"


def _model_at(model: type[BaseModel] | None, path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The config class that stands at a key path, that of a list's items too."""
    for name in [part for part in path if isinstance(part, str)]:
        info = model.model_fields.get(name) if model is not None else None
        model = _model_in(info.annotation) if info is not None else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [model for arg in get_args(annotation) if (model := _model_in(arg)) is not None]
    return models[0] if len(models) == 1 else None
