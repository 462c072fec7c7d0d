"""Put a streamed answer together, block by block: each content block keeps its own index and signature."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock

from llama_index_bedrock_routing.content import Wire
from llama_index_bedrock_routing.replies import answer_of, read_content, response_of

__all__ = ["responses"]

Event = Mapping[str, Any]


def responses(events: Iterable[Event], *, asked: str) -> Generator[ChatResponse]:
    """Yield the answer so far for each delta, and one last item that has no delta but all metadata.

    The last item's `raw` is shaped as that of a call that was not streamed, and holds `metadata` besides.
    """
    answer = _Answer()
    reply: Wire = {}
    for event in events:
        if "contentBlockStart" in event:
            answer.start(event["contentBlockStart"])
        elif "contentBlockDelta" in event:
            yield answer.grow(event)
        elif "messageStop" in event:
            reply.update(event["messageStop"])
        elif "metadata" in event:
            reply.update(event["metadata"], metadata=event["metadata"])
    yield response_of(reply, answer.finished(), asked=asked, delta="")


class _Answer:
    """Hold the wire form of each block, and the blocks that were read from it."""

    def __init__(self) -> None:
        self._wire: dict[int, Wire] = {}
        self._read: dict[int, list[Any]] = {}

    @property
    def blocks(self) -> list[Any]:
        return [block for index in sorted(self._read) for block in self._read[index]]

    def finished(self) -> list[Any]:
        """Return the blocks; arguments that were cut off stay text: no tool runs with half of them."""
        for index, wire in self._wire.items():
            called = wire.get("toolUse")
            if called and called["input"] and not _is_json(called["input"]):
                cut = {"tool_call_id": called.get("toolUseId"), "tool_kwargs": called["input"]}
                self._read[index] = [ToolCallBlock(tool_name=called.get("name") or "", **cut)]
        return self.blocks

    def start(self, event: Event) -> None:
        started = event.get("start") or {}
        if "toolUse" in started:
            self._set(_index(event), {"toolUse": {**started["toolUse"], "input": ""}})
        elif "image" in started:
            self._set(_index(event), {"image": dict(started["image"])})

    def grow(self, event: Event) -> ChatResponse:
        """Take a delta in and return the answer so far."""
        changed: Event = event["contentBlockDelta"]
        delta: Event = changed.get("delta") or {}
        index = _index(changed)
        before = self._wire.get(index, {})
        for kind in delta.keys() & _GROW.keys():
            before = _GROW[kind](before, delta[kind])
        if before:
            self._set(index, before)
        thought: Event | None = delta.get("reasoningContent")
        return ChatResponse(
            message=answer_of(self.blocks),
            delta=delta.get("text") or "",
            raw=dict(event),
            additional_kwargs={} if thought is None else {"thinking_delta": thought.get("text", "")},
        )

    def _set(self, index: int, wire: Wire) -> None:
        self._wire[index] = wire
        self._read[index] = read_content([wire])


def _index(event: Event) -> int:
    return event.get("contentBlockIndex") or 0


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _text(before: Wire, delta: str) -> Wire:
    if cited := before.get("citationsContent"):
        said = "".join(each["text"] for each in cited["content"]) + delta
        return {"citationsContent": {**cited, "content": [{"text": said}]}}
    return {"text": before.get("text", "") + delta}


def _citation(before: Wire, delta: Wire) -> Wire:
    texts = [{"text": before["text"]}] if before.get("text") else []
    cited: Wire = before.get("citationsContent") or {"content": texts, "citations": []}
    return {"citationsContent": {**cited, "citations": [*cited["citations"], delta]}}


def _tool_use(before: Wire, delta: Wire) -> Wire:
    called: Wire = before.get("toolUse") or {"input": ""}
    return {"toolUse": {**called, "input": called["input"] + delta.get("input", "")}}


def _reasoning(before: Wire, delta: Wire) -> Wire:
    thought: Wire = before.get("reasoningContent") or {}
    if "redactedContent" in delta:
        hidden = thought.get("redactedContent", b"") + delta["redactedContent"]
        return {"reasoningContent": {"redactedContent": hidden}}
    text: Wire = thought.get("reasoningText") or {"text": ""}
    grown = {name: text.get(name, "") + delta[name] for name in ("text", "signature") if name in delta}
    return {"reasoningContent": {"reasoningText": {**text, **grown}}}


def _image(before: Wire, delta: Wire) -> Wire:
    image: Wire = before.get("image") or {}
    data = (image.get("source") or {}).get("bytes", b"") + (delta.get("source") or {}).get("bytes", b"")
    return {"image": {**image, "source": {"bytes": data}}}


_GROW: Mapping[str, Callable[[Wire, Any], Wire]] = {
    "text": _text,
    "citation": _citation,
    "toolUse": _tool_use,
    "reasoningContent": _reasoning,
    "image": _image,
}
