"""Read a JSON schema: follow its references, merge its parts, tell its types."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

Schema = Mapping[str, Any]
_MERGED_KEYS = ("properties", "required")
_DEEPEST_REFERENCE = 20
_TYPES_BY_KEY = (
    ("properties", "object"), ("additionalProperties", "object"), ("items", "array"),
    ("prefixItems", "array"),
    ("minLength", "string"), ("pattern", "string"), ("minimum", "number"), ("maximum", "number"),
)  # fmt: skip


def _pointed_at(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and key:
            found = cast("Schema", found).get(key, {})
    return cast("Schema", found) if isinstance(found, Mapping) else {}


def _merged(first: Schema, second: Schema) -> dict[str, Any]:
    both: dict[str, Any] = {**first, **second}
    if "properties" in first and "properties" in second:
        both["properties"] = {**first["properties"], **second["properties"]}
    if "required" in first and "required" in second:
        both["required"] = list(dict.fromkeys([*first["required"], *second["required"]]))
    return both


def resolved(schema: Any, root: Schema) -> Schema:
    """Return a schema with `$ref` followed and `allOf` merged at its own level; True means anything goes."""
    if not isinstance(schema, Mapping):
        return {}
    found = cast("Schema", schema)
    for _ in range(_DEEPEST_REFERENCE):
        if "$ref" not in found:
            break
        rest = {key: value for key, value in found.items() if key != "$ref"}
        found = _merged(_pointed_at(str(found["$ref"]), root), rest)
    for part in cast("Sequence[Any]", found.get("allOf", ())):
        found = _merged({k: v for k, v in found.items() if k != "allOf"}, resolved(part, root))
    return found


def options(schema: Schema, root: Schema) -> tuple[Schema, ...]:
    """List the alternatives of a schema: `anyOf`, `oneOf` or several types; a plain schema has none."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            base = {k: v for k, v in schema.items() if k not in {key, "default"}}
            return tuple(_merged(base, resolved(option, root)) for option in schema[key])
    types = schema.get("type")
    if isinstance(types, Sequence) and not isinstance(types, str):
        return tuple({**schema, "type": one} for one in cast("Sequence[str]", types))
    return ()


def kind(schema: Schema) -> str:
    """Return the type of a schema, worked out from its other members when it is not written."""
    if isinstance(schema.get("type"), str):
        return cast("str", schema["type"])
    return next((found for key, found in _TYPES_BY_KEY if key in schema), "string")


def properties(schema: Schema) -> Mapping[str, Any]:
    """Return the properties of an object schema, those only named as required included."""
    bare: dict[str, Any] = {name: {} for name in required(schema)}
    return bare | dict(schema.get("properties") or {})


def required(schema: Schema) -> tuple[str, ...]:
    """Return the names of the properties that must be there."""
    return tuple(schema.get("required") or ())
