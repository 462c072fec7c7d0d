"""A conversation of Converse messages in the messages of other libraries."""
# ruff: noqa: PLC0415 - a library that is not installed must not keep the others from running

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["langchain_messages", "llama_index_messages", "openai_messages", "pydantic_messages"]

Request = dict[str, Any]


def langchain_messages(messages: Sequence[Request]) -> list[Any]:
    """Return a conversation in LangChain's messages."""
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

    found: list[Any] = []
    for message in messages:
        texts, uses, results = _parts(message)
        if message["role"] == "assistant":
            calls = [{"id": use["toolUseId"], "name": use["name"], "args": use["input"]} for use in uses]
            found.append(AIMessage(content="".join(texts), tool_calls=calls))
            continue
        found += [ToolMessage(content=text, tool_call_id=name) for name, text in results]
        if texts:
            found.append(HumanMessage(content=[{"type": "text", "text": text} for text in texts]))
    return found


def pydantic_messages(messages: Sequence[Request]) -> list[Any]:
    """Return a conversation in the messages of pydantic-ai."""
    from pydantic_ai.messages import (
        ModelRequest,
        ModelResponse,
        TextPart,
        ToolCallPart,
        ToolReturnPart,
        UserPromptPart,
    )

    found: list[Any] = []
    names = _tool_names(messages)
    for message in messages:
        texts, uses, results = _parts(message)
        if message["role"] == "assistant":
            calls = [ToolCallPart(use["name"], use["input"], use["toolUseId"]) for use in uses]
            found.append(ModelResponse(parts=[*map(TextPart, texts), *calls]))
            continue
        returned = [ToolReturnPart(names[name], text, name) for name, text in results]
        found.append(ModelRequest(parts=[*returned, *([UserPromptPart(texts)] if texts else [])]))
    return found


def openai_messages(messages: Sequence[Request]) -> Iterator[Request]:
    """Yield a conversation in the messages of OpenAI, which LiteLLM takes."""
    for message in messages:
        texts, uses, results = _parts(message)
        if message["role"] == "assistant":
            calls = [
                {
                    "id": use["toolUseId"],
                    "type": "function",
                    "function": {"name": use["name"], "arguments": json.dumps(use["input"])},
                }
                for use in uses
            ]
            yield {"role": "assistant", "content": "".join(texts), **({"tool_calls": calls} if calls else {})}
            continue
        yield from ({"role": "tool", "tool_call_id": name, "content": text} for name, text in results)
        if texts:
            yield {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def llama_index_messages(system: str, messages: Sequence[Request]) -> list[Any]:
    """Return a conversation in LlamaIndex's messages."""
    from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock

    found = [ChatMessage(role="system", content=system)]
    for message in messages:
        texts, uses, results = _parts(message)
        blocks: list[Any] = [TextBlock(text=text) for text in texts]
        blocks += [
            ToolCallBlock(tool_call_id=use["toolUseId"], tool_name=use["name"], tool_kwargs=use["input"])
            for use in uses
        ]
        found += [
            ChatMessage(role="tool", content=text, additional_kwargs={"tool_call_id": name})
            for name, text in results
        ]
        if blocks:
            found.append(ChatMessage(role=message["role"], blocks=blocks))
    return found


def _parts(message: Request) -> tuple[list[str], list[Request], list[tuple[str, str]]]:
    """Return the texts of a message, its tool calls, and the name and text of each result in it."""
    content = message["content"]
    results = [block["toolResult"] for block in content if "toolResult" in block]
    return (
        [block["text"] for block in content if "text" in block],
        [block["toolUse"] for block in content if "toolUse" in block],
        [(each["toolUseId"], "".join(part["text"] for part in each["content"])) for each in results],
    )


def _tool_names(messages: Sequence[Request]) -> dict[str, str]:
    uses = [block["toolUse"] for each in messages for block in each["content"] if "toolUse" in block]
    return {use["toolUseId"]: use["name"] for use in uses}
