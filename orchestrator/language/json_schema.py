"""The JSON schema of the sweep language, for editors: ``# yaml-language-server: $schema=sweep.schema.json``.

Made from the same models that validate, so a new field or component is completed at once.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Set
from typing import Any

from orchestrator.language import fields
from orchestrator.language.derived.architectures import ARCHITECTURES
from orchestrator.language.derived.budgets import CONVENTIONS, PARAMETERS
from orchestrator.language.derived.ladders import SIZES
from orchestrator.language.derived.matching import Match
from orchestrator.language.derived.rules import rules
from orchestrator.language.sweepfile import AnalysisSpec, SweepFile
from trainers.components import coercion as coerce
from trainers.components.numbers import PATTERN
from trainers.config import RunConfig

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NUMBER: Schema = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": PATTERN}]}
EXTENT: Schema = {"anyOf": [*NUMBER["anyOf"], {"type": "string", "pattern": r"^[0-9.]+\s?x$"}]}
SEEDS: Schema = {
    "anyOf": [
        {"type": "integer", "minimum": 1},
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
    ]
}


def schema() -> Schema:
    """The schema of a sweep file, self-contained."""
    value = {"$ref": "#/$defs/field"}
    whole = SweepFile.model_json_schema()
    described = {
        name: {"description": part.get("description", "")} for name, part in whole["properties"].items()
    }
    partial, condition = {"$ref": "#/$defs/run"}, {"$ref": "#/$defs/condition"}
    values = _values()
    axes = _by_name(
        {name: {"type": ["array", "null"], "items": _of_run(name), "minItems": 1} for name in values}
    )
    points = {"type": "array", "items": partial}
    shapes: Schema = {
        "name": whole["properties"]["name"]["anyOf"][0],
        "description": {"type": "string"},
        "extends": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "base": partial,
        "axes": {"$ref": "#/$defs/axes"},
        "zip": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/axes"}, points]}},
        "exclude": {"type": "array", "items": condition},
        "when": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"match": condition, "set": partial, "axes": {"$ref": "#/$defs/axes"}},
                "required": ["match"],
                "additionalProperties": False,
            },
        },
        "extend": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"match": condition, "to": EXTENT},
                "required": ["to"],
                "additionalProperties": False,
            },
        },
        "seeds": SEEDS,
        "resources": _partial(RunConfig.model_json_schema()["$defs"]["Resources"]),
        "analysis": _inlined(AnalysisSpec.model_json_schema()),
    }
    whole_schema = {
        "$schema": DIALECT,
        "title": "crossover sweep",
        "type": "object",
        "properties": {name: {**described[name], **shape} for name, shape in shapes.items()},
        "additionalProperties": False,
        "$defs": {
            "run": _by_name(values),
            "axes": axes,
            "condition": _by_name(
                {name: {"anyOf": [value, {"type": "array", "items": value}]} for name in [*values, "seed"]}
            ),
            "field": {"type": ["number", "string", "boolean", "null", "object"]},
            "rule": _rule(),
        },
    }
    return _once(whole_schema)


def _once(whole: Schema) -> Schema:
    """The schema with each component that stands in several places under ``$defs``, by its class's name."""
    places: Counter[str] = Counter()

    def count(part: Any) -> None:
        if _is_component(part):
            places[json.dumps(part)] += 1
            if places[json.dumps(part)] > 1:  # what is inside is there once, with it
                return
        for child in _children(part):
            count(child)

    definitions: Schema = {}
    names: dict[str, str] = {}

    def put(part: Any) -> Any:
        written = json.dumps(part) if _is_component(part) else ""
        if places[written] < 2:
            return _with_children(part, put)
        if written not in names:
            names[written] = name = _free(part["title"], {*whole["$defs"], *names.values()})
            definitions[name] = _with_children(part, put)
        return {"$ref": f"#/$defs/{names[written]}"}

    count(whole)
    once = put(whole)
    return {**once, "$defs": {**once["$defs"], **dict(sorted(definitions.items()))}}


def _free(title: str, taken: Set[str]) -> str:
    """``title``, with a number where the name is taken."""
    numbered = (f"{title}{i}" for i in itertools.count(2))
    return next(name for name in itertools.chain([title], numbered) if name not in taken)


def _is_component(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("title"), str) and part.get("type") == "object"


def _children(part: Any) -> Iterable[Any]:
    return part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def _with_children(part: Any, change: Callable[[Any], Any]) -> Any:
    """``part`` with each of its children changed."""
    if isinstance(part, dict):
        return {key: change(value) for key, value in part.items()}
    return [change(value) for value in part] if isinstance(part, list) else part


def _by_name(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _values() -> dict[str, Schema]:
    """Dotted (and nested) field name -> what may stand there: the fields of a run, human numbers, rules and
    sugar."""
    run = RunConfig.model_json_schema()
    definitions = run.pop("$defs", {})
    schemas: dict[str, Schema] = {}

    def add(prefix: str, properties: Schema) -> None:
        for name, part in properties.items():
            schemas[prefix + name] = _humane(_resolve(part, definitions))

    add("", run["properties"])
    for name, info in RunConfig.model_fields.items():
        registry = coerce.registry_of(info)
        for model in list(registry) if registry is not None else coerce.submodels(info.annotation):
            inner = model.model_json_schema()
            definitions |= inner.pop("$defs", {})
            add(f"{name}.", inner.get("properties", {}))
    for dotted in fields.table():
        schemas.setdefault(dotted, {})
    number = {"anyOf": [NUMBER, {"$ref": "#/$defs/rule"}]}
    schemas |= {
        "model.size": {"enum": sorted(SIZES), "description": "A named size."},
        "model.architecture": {
            "enum": sorted(ARCHITECTURES),
            "description": "A shape with as many parameters outside embeddings.",
        },
        "model.match": _inlined(Match.model_json_schema()),
        "budget.convention": {"enum": list(CONVENTIONS), "description": "How FLOPs are counted."},
        "budget.parameters": {"enum": list(PARAMETERS), "description": "Which N a budget means."},
        **{f"budget.{kind}": number for kind in fields.HORIZONS},
        "optimizer.lr": {**number, "description": "Peak learning rate, or a rule."},
        "batch_size": {**number, "description": "Global batch, sequences, or a rule."},
    }
    for parent in ("model", "optimizer", "data", "budget"):
        inside = [key for key in schemas if key.startswith(f"{parent}.") and key.count(".") == 1]
        nested = _by_name({key.partition(".")[2]: _of_run(key) for key in inside})
        schemas[parent] = (
            {"anyOf": [{"type": "string"}, nested]} if parent in ("model", "optimizer") else nested
        )
    return schemas


def _of_run(dotted: str) -> Schema:
    return {"$ref": f"#/$defs/run/properties/{dotted}"}


def _rule() -> Schema:
    kinds = []
    for cls in rules:
        inner = _inlined(cls.model_json_schema())
        properties = {"rule": {"const": cls.name}, **_humane(inner.get("properties", {}))}
        kinds.append({**_by_name(properties), "required": ["rule", *inner.get("required", [])]})
    return {"anyOf": kinds}


def _partial(part: Schema) -> Schema:
    """A mapping's schema with nothing required."""
    return _humane({key: value for key, value in part.items() if key != "required"})


def _inlined(part: Schema) -> Schema:
    return _resolve(part, part.pop("$defs", {}))


def _resolve(part: Any, definitions: Schema) -> Any:
    """``part`` with references replaced, and without defaults, which a sweep need not repeat."""
    if isinstance(part, list):
        return [_resolve(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        rest = {key: value for key, value in part.items() if key != "$ref"}
        return _resolve({**definitions.get(part["$ref"].rpartition("/")[2], {}), **rest}, definitions)
    return {key: _resolve(value, definitions) for key, value in part.items() if key != "default"}


def _humane(part: Any) -> Any:
    """``part`` with human numbers allowed wherever numbers are, and no field of a mapping required."""
    if isinstance(part, list):
        return [_humane(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") in ("integer", "number"):
        text = {"description": part["description"]} if "description" in part else {}
        bare = {key: value for key, value in part.items() if key != "description"}
        return {**text, "anyOf": [bare, {"type": "string", "pattern": PATTERN}]}
    return {
        key: _humane(value) if key != "const" else value for key, value in part.items() if key != "required"
    }
