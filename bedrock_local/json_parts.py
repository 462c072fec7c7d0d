"""Reach into parsed JSON without caring which of the optional members are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

__all__ = ["part"]


def part(body: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Return the object at a path of members, or an empty one where a member is missing or no object."""
    found: Any = body
    for name in path:
        found = cast("Mapping[str, Any]", found).get(name) if isinstance(found, Mapping) else None
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}
