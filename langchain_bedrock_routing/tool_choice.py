"""Read a `tool_choice` in any form that LangChain's users write, as Converse writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.utils.function_calling import convert_to_openai_tool

from bedrock_routing import ConfigurationError

__all__ = ["ToolChoice", "names_of", "read_choice"]

ToolChoice = Mapping[str, Mapping[str, str]]
"""As Converse takes it: `{"auto": {}}`, `{"any": {}}` or `{"tool": {"name": ...}}`."""

_WORDS: Mapping[str, str] = {"auto": "auto", "any": "any", "required": "any"}
_NAMED = frozenset({"tool", "function"})


def read_choice(choice: Any, names: Sequence[str] | None) -> ToolChoice | None:
    """Return a choice as Converse writes it; `None` leaves it to the service, which takes it for auto.

    `True` and "required" force some tool, `False` and `None` force none, a tool's name forces that one; so do
    the dicts of OpenAI, Anthropic and Converse. Converse cannot forbid calls, so "none" is an error. `names`
    are those of the tools, or `None` where they cannot be told.
    """
    if choice is None or choice is False or choice == {}:
        return None
    if choice is True:
        return {"any": {}}
    word, name = _read(choice, names or ())
    if word in _WORDS:
        return {_WORDS[word]: {}}
    if word == "none":
        raise ConfigurationError(
            "Converse cannot forbid tool calls: bind no tools instead of tool_choice='none'"
        )
    if word not in _NAMED or not isinstance(name, str):
        raise ConfigurationError(
            f"tool_choice={choice!r} is none of 'auto', 'any', 'required', True, False, None, a tool's name, "
            "{'type': 'tool', 'name': ...}, {'type': 'function', 'function': {'name': ...}} "
            "and {'tool': {'name': ...}}"
        )
    if names is not None and name not in names:
        raise ConfigurationError(
            f"tool_choice={choice!r} names no tool that is bound: {', '.join(names) or 'none is'}"
        )
    return {"tool": {"name": name}}


def _read(choice: Any, names: Sequence[str]) -> tuple[str, Any]:
    """Return what kind of choice it is, and the name of a tool."""
    if isinstance(choice, str):
        is_word = choice in (*_WORDS, "none") and (choice in ("auto", "any") or choice not in names)
        return (choice, None) if is_word else ("tool", choice)
    if not isinstance(choice, dict):
        return "", None
    given = cast("dict[str, Any]", choice)
    if "type" in given:
        inner = given.get("function")
        return str(given["type"]), given.get("name") or (
            inner.get("name") if isinstance(inner, dict) else None
        )
    kind, value = next(iter(given.items()))
    return (kind, value.get("name")) if len(given) == 1 and isinstance(value, dict) else ("", None)


def names_of(tools: Sequence[Any]) -> list[str] | None:
    """Return the names of the tools, without cache points; `None` where one does not tell its own."""
    names = [_name_of(each) for each in tools if not _is_point(each)]
    return None if None in names else cast("list[str]", names)


def _is_point(tool: Any) -> bool:
    return isinstance(tool, dict) and not {"cachePoint", "cache_point"}.isdisjoint(
        cast("dict[str, Any]", tool)
    )


def _name_of(tool: Any) -> str | None:
    if isinstance(tool, str):
        return tool
    known = getattr(tool, "to_bedrock_format", None)
    written: Any = known() if known is not None else tool
    for kind in ("toolSpec", "systemTool"):
        if isinstance(written, dict) and kind in written:
            return cast("dict[str, Any]", written)[kind].get("name")
    try:
        return convert_to_openai_tool(written)["function"]["name"]
    except Exception:  # what it is, langchain-aws says when it is bound
        return None
