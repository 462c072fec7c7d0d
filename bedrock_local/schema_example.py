"""Make the smallest value that a JSON schema allows, for replies that must have a shape but no content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

__all__ = ["smallest"]

_PLAIN: dict[str, Any] = {
    "string": "",
    "integer": 0,
    "number": 0,
    "boolean": False,
    "null": None,
    "array": [],
}


def smallest(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """Return a value with the required members only; `$ref` is followed within the schema."""
    whole = schema if root is None else root
    if "$ref" in schema:
        return smallest(_referred(str(schema["$ref"]), whole), whole)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return smallest(schema[key][0], whole)
    return _by_type(schema, whole)


def _by_type(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Any:
    given: Any = schema.get("type", "object")
    kind = str(cast("list[Any]", given)[0] if isinstance(given, list) else given)
    if kind == "object":
        members = cast("Mapping[str, Any]", schema.get("properties") or {})
        return {
            name: smallest(members.get(name, {"type": "string"}), whole)
            for name in schema.get("required", ())
        }
    if kind in ("integer", "number"):
        return schema.get("minimum", 0)
    if kind == "string":
        return "x" * int(schema.get("minLength", 0))
    if kind == "array" and schema.get("minItems"):
        return [smallest(schema.get("items") or {}, whole)] * int(schema["minItems"])
    return _PLAIN.get(kind)


def _referred(pointer: str, whole: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = whole
    for part in pointer.removeprefix("#/").split("/"):
        found = found.get(part, {})
    return cast("Mapping[str, Any]", found)
