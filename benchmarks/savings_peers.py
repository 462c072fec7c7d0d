"""Where other libraries put cache points by themselves, as functions over the wire request.

Each does what the library's recommended automatic setting does to a Converse body; what it needs to be told
about a router's ARN before it places anything (a base model, a strategy) is taken as told, which flatters it.
`peers_check.py` compares each function with the library itself.
Positions: T the end of tools, S the end of system, mK the end of message K.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

__all__ = ["PEERS", "VARIANTS", "Peer"]

Request = dict[str, Any]

_MOST = 4
_LOOKBACK_SAFE = 18
_POINT = {"cachePoint": {"type": "default"}}


@dataclass(frozen=True, kw_only=True)
class _Places:
    """Name the lists that get a point at their end."""

    tools: bool = False
    system: bool = False
    messages: tuple[int, ...] = ()


Peer = Callable[[Request, bool], Request]
"""Return the request as the library would send it; the flag says that Nova models answer."""


def _placed(request: Request, places: _Places) -> Request:
    placed = dict(request)
    if places.tools and "toolConfig" in request:
        placed["toolConfig"] = {
            **request["toolConfig"],
            "tools": [*request["toolConfig"]["tools"], _POINT],
        }
    if places.system and request.get("system"):
        placed["system"] = [*request["system"], _POINT]
    placed["messages"] = [
        {**message, "content": [*message["content"], _POINT]} if number in places.messages else message
        for number, message in enumerate(request["messages"])
    ]
    return placed


def uncached(request: Request, nova: bool) -> Request:
    """Send the request as it is."""
    del nova
    return request


def langchain_aws(request: Request, nova: bool) -> Request:
    """Do as BedrockPromptCachingMiddleware of langchain-aws 1.9.1: S, the last message, T, the one before it.

    On Nova no T, no penultimate message, and no point in a message that holds tool blocks.
    """
    last = len(request["messages"]) - 1
    if nova:
        messages = () if _has_tool_blocks(request["messages"][last]) else (last,)
        return _placed(request, _Places(system=True, messages=messages))
    messages = (last - 1, last) if last else (last,)
    return _placed(request, _Places(system=True, tools=True, messages=messages))


def strands(request: Request, nova: bool) -> Request:
    """Do as Strands 1.62 with CacheConfig(strategy="auto", tools_ttl=True): T, S, the last user message.

    It knows only models with "claude" or "anthropic" in their id, so Nova gets none.
    """
    return _strands(request, nova, tools=True)


def strands_without_tools(request: Request, nova: bool) -> Request:
    """Do as Strands 1.62 with CacheConfig(strategy="auto"): without T."""
    return _strands(request, nova, tools=False)


def _strands(request: Request, nova: bool, *, tools: bool) -> Request:
    if nova:
        return request
    last = max(number for number, message in enumerate(request["messages"]) if message["role"] == "user")
    return _placed(request, _Places(tools=tools, system=True, messages=(last,)))


def pydantic_ai(request: Request, nova: bool) -> Request:
    """Do as pydantic-ai 2.68 with cache=True: T, S, the last message, and the last request's end if far back.

    That one is added where 18 blocks or more follow it. On Nova no T. There it also puts points after tool
    results, with which the call fails; here they are left out.
    """
    messages = request["messages"]
    before = _end_of_request_before(messages)
    wide = (
        before is not None and sum(len(each["content"]) for each in messages[before + 1 :]) >= _LOOKBACK_SAFE
    )
    last = len(messages) - 1
    found = (before, last) if wide and before is not None else (last,)
    if nova:
        found = tuple(number for number in found if not _has_tool_blocks(messages[number]))
    return _placed(request, _Places(tools=not nova, system=True, messages=found))


def _end_of_request_before(messages: Sequence[Request]) -> int | None:
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    return answers[-1] - 1 if answers and answers[-1] else None


def litellm(request: Request, nova: bool) -> Request:
    """Do as LiteLLM 1.110.2 with enable_anthropic_prompt_caching: S and the last message, for Claude only."""
    if nova:
        return request
    return _placed(request, _Places(system=True, messages=(len(request["messages"]) - 1,)))


def llama_index(request: Request, nova: bool) -> Request:
    """Do as llama-index-llms-bedrock-converse 0.15.5 with system_prompt_caching and tool_caching: S.

    Calls that wait never send the point that tool_caching names.
    """
    del nova
    return _placed(request, _Places(system=True))


def llama_index_async(request: Request, nova: bool) -> Request:
    """Do as its async calls, where its extra [async] is installed: T, S.

    On Nova they fail with T; here it is left out.
    """
    return _placed(request, _Places(tools=not nova, system=True))


def _has_tool_blocks(message: Request) -> bool:
    return bool({"toolUse", "toolResult"} & set(chain.from_iterable(message["content"])))


PEERS: dict[str, Peer] = {
    "no caching": uncached,
    "langchain-aws": langchain_aws,
    "Strands": strands,
    "pydantic-ai": pydantic_ai,
    "LiteLLM": litellm,
    "LlamaIndex": llama_index,
}

VARIANTS: dict[str, Peer] = {
    "Strands, no tools": strands_without_tools,
    "LlamaIndex, async": llama_index_async,
}
"""Further settings; with a system prompt that stays the same they cost what the one in `PEERS` costs."""
