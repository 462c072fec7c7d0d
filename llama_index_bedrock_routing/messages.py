"""Write a conversation of LlamaIndex as Converse has it: system texts, and turns that alternate.

Messages are read and never changed, not even where the wire wants another shape: consecutive messages of one
side become one turn, a cache point of a tool message stands beside the tool result, and two documents of one
name are told apart by a number.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    ThinkingBlock,
    ToolCallBlock,
)

from llama_index_bedrock_routing.citations import citation_to_wire
from llama_index_bedrock_routing.content import Wire, parsed_input, to_wire

__all__ = ["to_converse"]

logger = logging.getLogger("bedrock_routing")

_SYSTEM = frozenset({MessageRole.SYSTEM, MessageRole.DEVELOPER})
_TOOL = frozenset({MessageRole.TOOL, MessageRole.FUNCTION})
_ASSISTANT = frozenset({MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL})
_IN_SYSTEM = frozenset({"text", "cachePoint"})
_FROM_USERS = (ImageBlock, DocumentBlock)
"""Converse takes these from users only."""
_TOOL_USE_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_STATUSES = ("success", "error")


def to_converse(messages: Sequence[ChatMessage]) -> tuple[list[Wire], list[Wire]]:
    """Return the system blocks and the turns of a conversation."""
    system: list[Wire] = []
    turns: list[Wire] = []
    for message in messages:
        if message.role in _SYSTEM:
            system += [each for each in _content(message) if _IN_SYSTEM & each.keys()]
            continue
        content = _tool_result(message) if message.role in _TOOL else _content(message)
        content = [each for each in content if _is_paired(each)]
        _append(turns, "assistant" if message.role in _ASSISTANT else "user", content)
    _tell_documents_apart(turns)
    return system, turns


def _is_paired(block: Wire) -> bool:
    """Tell whether a call or a result has an id that Converse takes; other providers give none, or others."""
    tool: Wire | None = block.get("toolUse") or block.get("toolResult")
    if tool is None or (isinstance(tool["toolUseId"], str) and _TOOL_USE_ID.fullmatch(tool["toolUseId"])):
        return True
    logger.warning("a tool call or result left out: Converse takes no toolUseId %r", tool["toolUseId"])
    return False


def _append(turns: list[Wire], role: str, content: list[Wire]) -> None:
    if not content:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += content
    else:
        turns.append({"role": role, "content": content})


def _content(message: ChatMessage) -> list[Wire]:
    assistant = message.role in _ASSISTANT
    content: list[Wire] = []
    for block in message.blocks:
        if isinstance(block, CitationBlock):
            _cite(content, block)
        elif assistant and isinstance(block, _FROM_USERS):
            logger.warning("%s left out: Converse takes none from the assistant", type(block).__name__)
        elif assistant or not isinstance(block, ThinkingBlock):
            written = to_wire(block)
            if written is not None:
                content.append(written)
    return content + _older_tool_calls(message) if assistant else content


def _cite(content: list[Wire], block: CitationBlock) -> None:
    """Attach a citation to the text before it."""
    last = content.pop() if content and content[-1].keys() & {"text", "citationsContent"} else {}
    texts = [{"text": last["text"]}] if "text" in last else []
    before = last.get("citationsContent") or {"content": texts, "citations": []}
    citations = [*before["citations"], citation_to_wire(block)]
    content.append({"citationsContent": {**before, "citations": citations}})


def _older_tool_calls(message: ChatMessage) -> list[Wire]:
    """Return tool calls that only `additional_kwargs` knows, as histories of older versions have them."""
    known = {each.tool_call_id for each in message.blocks if isinstance(each, ToolCallBlock)}
    calls = message.additional_kwargs.get("tool_calls") or ()
    return [
        {"toolUse": {**_named(call), "input": parsed_input(call["input"] or {})}}
        for call in calls
        if isinstance(call, Mapping) and {"toolUseId", "name", "input"} <= call.keys()
        if call["toolUseId"] not in known
    ]


def _named(call: Mapping[str, Any]) -> Wire:
    return {name: call[name] for name in ("toolUseId", "name")}


def _tool_result(message: ChatMessage) -> list[Wire]:
    """Return the result, and beside it the points that stand in the message: inside, none is legal."""
    written = [each for block in message.blocks if (each := to_wire(block)) is not None]
    points = [each for each in written if "cachePoint" in each]
    result: Wire = {
        "toolUseId": message.additional_kwargs.get("tool_call_id") or "",
        "content": [each for each in written if "cachePoint" not in each],
    }
    if (status := message.additional_kwargs.get("status")) in _STATUSES:
        result["status"] = status
    return [{"toolResult": result}, *points]


def _tell_documents_apart(turns: Sequence[Wire]) -> None:
    """Give a document whose name was used before a number; the service takes no name twice."""
    used: set[str] = set()
    for block in (each for turn in turns for each in turn["content"]):
        document = cast("Wire | None", block.get("document"))
        if document is None:
            continue
        name, number = document["name"], 1
        while document["name"] in used:
            number += 1
            document["name"] = f"{name} {number}"
        used.add(document["name"])
