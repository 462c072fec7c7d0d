"""Messages without Bedrock's cache points, for models of other providers, which do not know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue

__all__ = ["without_cache_points"]

_NAMES = frozenset({"cachePoint", "cache_point"})


def without_cache_points(messages: LanguageModelInput) -> list[BaseMessage]:
    """Return the messages without the cache points that stand in them by hand; the originals stay.

    Other providers' models raise on such a block, so that a history that holds one cannot be sent to them:

        llm.with_fallbacks([without_cache_points | ChatAnthropic(model="claude-sonnet-4-5")])

    The points that this package places itself only ever stand on the wire. A message that held nothing else
    is left out; a tool's answer, and what asked for it, never is.
    """
    if isinstance(messages, PromptValue):
        given = messages.to_messages()
    else:
        given = convert_to_messages([messages] if isinstance(messages, str) else messages)
    return [kept for each in given if (kept := _without(each)) is not None]


def _without(message: BaseMessage) -> BaseMessage | None:
    content = message.content
    if isinstance(content, str):
        return message
    kept = _kept(content)
    if len(kept) == len(content) and kept == content:
        return message
    if not kept and not _is_needed(message):
        return None
    return message.model_copy(update={"content": kept})


def _is_needed(message: BaseMessage) -> bool:
    return isinstance(message, ToolMessage) or (isinstance(message, AIMessage) and bool(message.tool_calls))


def _kept(blocks: Sequence[Any]) -> list[Any]:
    """Return the blocks that are no cache points; what a tool answered may hold some of its own."""
    return [_inside(each) for each in blocks if not _is_point(each)]


def _inside(block: Any) -> Any:
    inner: Any = block.get("content") if isinstance(block, dict) else None
    return {**block, "content": _kept(cast("list[Any]", inner))} if isinstance(inner, list) else block


def _is_point(block: Any) -> bool:
    """Tell a point apart, also one that `content_blocks` has wrapped as a block of no standard kind."""
    if not isinstance(block, dict):
        return False
    named = cast("dict[str, Any]", block)
    if named.get("type") == "non_standard":
        return _is_point(named.get("value"))
    return not _NAMES.isdisjoint(named)
