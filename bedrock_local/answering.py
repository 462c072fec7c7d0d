"""Turn a Converse request into what an answer engine is asked, and its reply into content blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Any, Literal, cast

from bedrock_local.answers.base import (
    AnswerEngine,
    Prompt,
    PromptDocument,
    PromptTurn,
    Reply,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from bedrock_local.documents import document_text
from bedrock_local.json_parts import part
from bedrock_local.schema_example import smallest
from bedrock_local.tokens import TokenCounter

__all__ = ["Answer", "answer", "to_prompt"]

StopReason = Literal["end_turn", "tool_use", "max_tokens", "stop_sequence"]
_CALL_TOKENS = 12
_PIECE = re.compile(r"\S+\s*|\s+")
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold the content blocks of a reply, why it ends, and its tokens."""

    content: tuple[Mapping[str, Any], ...]
    stop_reason: StopReason
    tokens: int


def answer(engine: AnswerEngine, body: Mapping[str, Any], counter: TokenCounter, factor: float) -> Answer:
    """Ask the engine and shape its reply as the request demands: tools, stop sequences, token limit."""
    prompt = to_prompt(body)
    reply = _forced(engine.reply(prompt), prompt)
    settings = part(body, "inferenceConfig")
    text, stopped = _stopped(reply.text, settings.get("stopSequences") or ())
    text, cut, tokens = _limited(text, settings.get("maxTokens"), counter, factor)
    content: list[Mapping[str, Any]] = [{"text": text}] if text or not reply.tool_calls else []
    if cut or stopped:
        return Answer(
            content=tuple(content), stop_reason="max_tokens" if cut else "stop_sequence", tokens=tokens
        )
    for call in reply.tool_calls:
        content.append({"toolUse": _tool_use(call)})
        tokens += _CALL_TOKENS + ceil(counter.text(json.dumps(dict(call.input))) * factor)
    return Answer(
        content=tuple(content), stop_reason="tool_use" if reply.tool_calls else "end_turn", tokens=tokens
    )


def to_prompt(body: Mapping[str, Any]) -> Prompt:
    """Return what an engine may read of a request; cache points leave no trace in it."""
    messages = cast("Sequence[Mapping[str, Any]]", body.get("messages") or ())
    spoken = [message for message in messages if message["role"] != "system"]
    instructions = [message["content"] for message in messages if message["role"] == "system"]
    names = _tool_names(messages)
    config = part(body, "toolConfig")
    return Prompt(
        system=_joined(
            [*(body.get("system") or ()), *(block for content in instructions for block in content)]
        ),
        turns=tuple(_turn(message, names) for message in spoken),
        documents=tuple(document for message in spoken for document in _documents(message["content"])),
        tools=tuple(_tool(each["toolSpec"]) for each in config.get("tools") or () if "toolSpec" in each),
        tool_choice=_tool_choice(config),
        json_schema=_reply_schema(body),
    )


def _joined(blocks: Iterable[Mapping[str, Any]]) -> str:
    """Join text blocks; a text that was cut at white space for a cache point reads as before."""
    joined = ""
    for block in blocks:
        text = str(block.get("text") or part(block, "guardContent", "text").get("text", ""))
        glued = not joined or not text or joined[-1].isspace() or text[0].isspace()
        joined += text if glued else "\n" + text
    return joined


def _turn(message: Mapping[str, Any], names: Mapping[str, str]) -> PromptTurn:
    results = [block["toolResult"] for block in message["content"] if "toolResult" in block]
    return PromptTurn(
        role=message["role"],
        text=_joined(message["content"]),
        tool_results=tuple(
            ToolResult(
                name=names.get(result["toolUseId"]),
                text=_result_text(result["content"]),
                failed=result.get("status") == "error",
            )
            for result in results
        ),
    )


def _result_text(content: Sequence[Mapping[str, Any]]) -> str:
    texts: list[str] = []
    for item in content:
        if "text" in item:
            texts.append(item["text"])
        elif "json" in item:
            texts.append(json.dumps(item["json"], ensure_ascii=False))
        elif "document" in item:
            texts.append(document_text(item["document"]) or "")
    return "\n".join(texts)


def _documents(content: Sequence[Mapping[str, Any]]) -> Iterable[PromptDocument]:
    for block in content:
        if "document" in block:
            text = document_text(block["document"])
            if text is not None:
                yield PromptDocument(title=str(block["document"].get("name", "")), text=text)
        elif "searchResult" in block:
            result = block["searchResult"]
            yield PromptDocument(
                title=str(result.get("title", "")),
                text="\n".join(each.get("text", "") for each in result["content"]),
            )


def _tool(spec: Mapping[str, Any]) -> ToolSpec:
    schema = part(spec, "inputSchema", "json")
    return ToolSpec(name=spec["name"], description=str(spec.get("description", "")), schema=schema)


def _tool_choice(config: Mapping[str, Any]) -> str:
    choice = part(config, "toolChoice")
    if "tool" in choice:
        return f"tool:{choice['tool']['name']}"
    return "any" if "any" in choice else "auto"


def _tool_names(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    calls = (block["toolUse"] for message in messages for block in message["content"] if "toolUse" in block)
    return {call["toolUseId"]: call["name"] for call in calls}


def _reply_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = part(body, "outputConfig", "textFormat", "structure", "jsonSchema").get("schema")
    return None if schema is None else cast("Mapping[str, Any]", json.loads(schema))


def _forced(reply: Reply, prompt: Prompt) -> Reply:
    """Keep the service's promise that a forced tool choice yields a call, whatever the engine says."""
    if prompt.tool_choice == "auto" or reply.tool_calls or not prompt.tools:
        return reply
    wanted = prompt.tool_choice.removeprefix("tool:")
    tool = next((each for each in prompt.tools if each.name == wanted), prompt.tools[0])
    return Reply(text=reply.text, tool_calls=(ToolCall(name=tool.name, input=smallest(tool.schema)),))


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"toolUseId": f"tooluse_local{next(_numbers):017d}", "name": call.name, "input": dict(call.input)}


def _stopped(text: str, sequences: Sequence[str]) -> tuple[str, bool]:
    places = [place for each in sequences if each and (place := text.find(each)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _limited(text: str, limit: int | None, counter: TokenCounter, factor: float) -> tuple[str, bool, int]:
    whole = ceil(counter.text(text) * factor) if text else 0
    if limit is None or whole <= limit:
        return text, False, whole
    pieces = _PIECE.findall(text)
    fitting, beyond = 0, len(pieces)
    while beyond - fitting > 1:
        middle = (fitting + beyond) // 2
        if ceil(counter.text("".join(pieces[:middle])) * factor) <= limit:
            fitting = middle
        else:
            beyond = middle
    return "".join(pieces[:fitting]).rstrip() or pieces[0][:limit], True, limit
