"""Send the tools of an agent in the same order and the same bytes, whoever puts them together for a call.

Tools come first in a prompt: where they change, everything behind them is written to the cache again.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

from langchain_core.tools import BaseTool

from bedrock_routing import ConfigurationError

__all__ = ["StableTools", "Tool", "ToolOrder"]

Tool: TypeAlias = BaseTool | dict[str, Any]
ToolOrder: TypeAlias = Literal["seen", "name", "given"]

_ORDERS = ("seen", "name", "given")
_MOST_NAMES = 4_096
"""Names to remember; whoever makes up more of them starts anew, which costs one write."""


class StableTools:
    """Give tools the order in which they were first seen, and each schema the key order that it first had.

    Safe for threads. Tools among which the caller placed a cache point by hand stay as they are.
    Raises `ConfigurationError` for an order that does not exist.
    """

    def __init__(self, order: ToolOrder) -> None:
        if order not in _ORDERS:
            raise ConfigurationError(f"tool_order must be 'seen', 'name' or 'given', not {order!r}")
        self._order = order
        self._ranks: dict[str, int] = {}
        self._schemas: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def arranged(self, tools: Sequence[Tool]) -> list[Tool]:
        """Return the tools as they go out; those given, and their list, are not changed."""
        if self._order == "given" or any(isinstance(each, dict) and "cachePoint" in each for each in tools):
            return list(tools)
        named = [(_name_of(each), each) for each in tools]
        with self._lock:
            if self._order == "seen":
                self._rank([name for name, _ in named])
                named.sort(key=lambda pair: self._ranks[pair[0]])
            else:
                named.sort(key=lambda pair: pair[0])
            return [self._as_before(name, tool) for name, tool in named]

    def _rank(self, names: Sequence[str]) -> None:
        if len(self._ranks) + len(set(names) - self._ranks.keys()) > _MOST_NAMES:
            self._ranks.clear()
        for name in names:
            self._ranks.setdefault(name, len(self._ranks))

    def _as_before(self, name: str, tool: Tool) -> Tool:
        """Return the tool with the schema that it first had, if only the order of keys differs."""
        schema = tool if isinstance(tool, dict) else tool.args_schema
        if not isinstance(schema, dict):  # a class always gives the same bytes
            return tool
        before = self._schemas.get(name)
        if before is None or before != schema:
            if before is None and len(self._schemas) >= _MOST_NAMES:
                self._schemas.clear()
            self._schemas[name] = copy.deepcopy(schema)
            return tool
        if json.dumps(before, default=repr) == json.dumps(schema, default=repr):
            return tool
        if isinstance(tool, dict):
            return copy.deepcopy(before)
        return tool.model_copy(update={"args_schema": copy.deepcopy(before)})


def _name_of(tool: Tool) -> str:
    """Return a tool's name; of a dict that of whichever shape it has, else the dict itself, written out."""
    if not isinstance(tool, dict):
        return tool.name
    shapes = (tool, *(each for each in tool.values() if isinstance(each, dict)))
    named = (cast("dict[str, Any]", each).get("name") for each in shapes)
    found = next((each for each in named if isinstance(each, str)), None)
    return found if found is not None else json.dumps(tool, sort_keys=True, default=repr)
