"""Read a Converse reply: its blocks, its token counts, the model that answered, the receipt."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from pydantic_core import from_json

from bedrock_routing import Usage
from llama_index_bedrock_routing.citations import citation_from_wire
from llama_index_bedrock_routing.content import REDACTED, SIGNATURE, Wire

__all__ = ["RECEIPT", "answer_of", "read_content", "response_of"]

RECEIPT = "bedrock_routing"
"""The key of the receipt, in the reply and in `additional_kwargs`."""

_WHO = ("router_arn", "invoked_model_id")
"""What stays of the receipt with a message that calls tools: a memory keeps messages, and not responses."""

logger = logging.getLogger("bedrock_routing")


def response_of(reply: Mapping[str, Any], blocks: Sequence[Any], *, asked: str, **more: Any) -> ChatResponse:
    """Return a whole answer with everything that consumers of metadata read.

    `raw` is the reply, with `usage` also under the names that counters know, and `model`: who answered. There
    `prompt_tokens` is the whole prompt; the service's own `inputTokens` leaves cached tokens out.
    """
    receipt: Mapping[str, Any] = reply.get(RECEIPT) or {}
    counts = _counts(reply.get("usage"))
    raw = {**reply, "model": receipt.get("model") or receipt.get("invoked_model_id") or asked}
    if reply.get("stopReason"):
        raw["stop_reason"] = reply["stopReason"]
    if counts:
        details = {"prompt_tokens_details": {"cached_tokens": counts["cache_read_input_tokens"]}}
        raw["usage"] = {**reply["usage"], **counts, **details}
    said = {RECEIPT: dict(receipt)} if receipt else {}
    message = answer_of(blocks)
    if receipt and any(isinstance(each, ToolCallBlock) for each in blocks):
        message.additional_kwargs[RECEIPT] = {name: receipt.get(name) for name in _WHO}
    return ChatResponse(message=message, raw=raw, additional_kwargs={**counts, **said}, **more)


def answer_of(blocks: Sequence[Any]) -> ChatMessage:
    """Return the message of the assistant; core's streamed objects look for tool calls beside the blocks."""
    calls = [each for each in blocks if isinstance(each, ToolCallBlock)]
    beside: dict[str, Any] = {"tool_call_id": [each.tool_call_id for each in calls], "status": []}
    if calls:
        beside["tool_calls"] = [_call_beside(each) for each in calls]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=list(blocks), additional_kwargs=beside)


def _call_beside(call: ToolCallBlock) -> dict[str, Any]:
    """Say a tool call in the service's words, and again in those that tracers look for."""
    wire = {"toolUseId": call.tool_call_id, "name": call.tool_name, "input": call.tool_kwargs}
    told = {"name": call.tool_name, "arguments": call.tool_kwargs}
    return {**wire, "id": call.tool_call_id, "function": told}


def read_content(content: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the blocks of an answer; a kind that LlamaIndex has no block for is logged and left out."""
    blocks: list[Any] = []
    for wire in content:
        kind = next(iter(wire.keys() & _READERS.keys()), None)
        if kind is None:
            logger.warning("no LlamaIndex block for %s: left out of the answer", ", ".join(wire))
        else:
            blocks += _READERS[kind](wire[kind])
    return blocks


def _counts(usage: Mapping[str, Any] | None) -> dict[str, int]:
    counted = Usage.from_wire(usage)
    if counted is None:
        return {}
    return {
        "prompt_tokens": counted.prompt,
        "completion_tokens": counted.output,
        "total_tokens": counted.prompt + counted.output,
        "cache_read_input_tokens": counted.read,
        "cache_creation_input_tokens": counted.write,
    }


def _text(text: str) -> list[Any]:
    return [TextBlock(text=text)] if text else []


def _reasoning(wire: Wire) -> list[Any]:
    if hidden := wire.get("redactedContent"):
        return [ThinkingBlock(additional_information={REDACTED: base64.b64encode(hidden).decode()})]
    text: Wire = wire.get("reasoningText") or {}
    signed = {SIGNATURE: text["signature"]} if text.get("signature") else {}
    return [ThinkingBlock(content=text.get("text"), additional_information=signed)]


def _tool_use(wire: Wire) -> list[Any]:
    called = ToolCallBlock(
        tool_call_id=wire.get("toolUseId"),
        tool_name=wire.get("name") or "",
        tool_kwargs=_arguments(wire.get("input")),
    )
    return [called]


def _arguments(given: Any) -> dict[str, Any]:
    """Return the arguments; of those still being streamed, what can be read so far."""
    if not isinstance(given, str):
        return dict(given or {})
    try:
        value = from_json(given or "{}", allow_partial="trailing-strings")
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {}


def _cited(wire: Wire) -> list[Any]:
    text = "".join(each.get("text", "") for each in wire.get("content") or ())
    return [*_text(text), *map(citation_from_wire, wire.get("citations") or ())]


def _image(wire: Wire) -> list[Any]:
    data = (wire.get("source") or {}).get("bytes")
    return [ImageBlock(image=data, image_mimetype=f"image/{wire.get('format', 'png')}")] if data else []


_READERS: Mapping[str, Callable[[Any], list[Any]]] = {
    "text": _text,
    "reasoningContent": _reasoning,
    "toolUse": _tool_use,
    "citationsContent": _cited,
    "image": _image,
}
