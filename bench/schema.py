"""Checks a result against `schema.json`, with the few keywords that file uses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).with_name("schema.json")

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults(value: object, schema: dict[str, Any] | None = None, where: str = "$") -> Iterator[str]:
    """Yield what is wrong with a value, each fault with the place it is at."""
    if schema is None:
        schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(_is(value, name) for name in names):
        yield f"{where} is no {' or '.join(names)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, not one of {schema['enum']}"
    if "minimum" in schema and isinstance(value, (int, float)) and value < schema["minimum"]:
        yield f"{where} is {value}, less than {schema['minimum']}"
    if isinstance(value, dict):
        yield from _object_faults(value, schema, where)
    elif isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from faults(item, schema["items"], f"{where}[{i}]")


def _object_faults(value: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    yield from (
        f"{where} has no {name!r}" for name in schema.get("required", ()) if name not in value
    )
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name, item in value.items():
        if name not in properties and others is False:
            yield f"{where} has an unknown {name!r}"
        else:
            yield from faults(item, properties.get(name, others or {}), f"{where}.{name}")


def _is(value: object, name: str) -> bool:
    if isinstance(value, bool):  # an int to Python, no number to JSON
        return name == "boolean"
    return isinstance(value, _TYPES[name])
