"""Put the events of a ConverseStream together to the reply that Converse gives for the same call. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["UnknownEventError", "whole_reply"]

Wire = Mapping[str, Any]


class UnknownEventError(Exception):
    """Say that a stream holds something whose place in a whole reply is not known."""


def whole_reply(events: Iterable[Wire]) -> dict[str, Any]:
    """Return the reply that the events add up to, without `ResponseMetadata`.

    Raises `UnknownEventError` for what no reply of today holds; nothing is ever left out in silence.
    """
    message: dict[str, Any] = {}
    reply: dict[str, Any] = {}
    starts: dict[int, Wire] = {}
    deltas: dict[int, list[Wire]] = {}
    for event in events:
        ((kind, value),) = event.items()
        if kind == "messageStart":
            message.update(value)
        elif kind == "contentBlockStart":
            starts[value["contentBlockIndex"]] = value.get("start") or {}
            deltas.setdefault(value["contentBlockIndex"], [])
        elif kind == "contentBlockDelta":
            deltas.setdefault(value["contentBlockIndex"], []).append(value["delta"])
        elif kind in ("messageStop", "metadata"):
            reply.update(value)
        elif kind != "contentBlockStop":
            raise UnknownEventError(kind)
    content = [_block(starts.get(index, {}), deltas[index]) for index in sorted(deltas)]
    return {"output": {"message": {**message, "content": content}}, **reply}


def _block(start: Wire, deltas: Iterable[Wire]) -> dict[str, Any]:
    """Return one content block; its kind is that of its start, or of its deltas where it has none."""
    parts: dict[str, list[Any]] = {}
    for delta in deltas:
        for kind, value in delta.items():
            parts.setdefault(kind, []).append(value)
    kinds = {*start, *parts}
    for known, build in _BUILDERS.items():
        if kinds and kinds <= known:
            return build(start, parts)
    raise UnknownEventError(f"a block of {sorted(kinds)}")


def _text(start: Wire, parts: Mapping[str, list[Any]]) -> dict[str, Any]:
    del start
    return {"text": "".join(parts["text"])}


def _cited(start: Wire, parts: Mapping[str, list[Any]]) -> dict[str, Any]:
    del start
    content = [{"text": "".join(parts["text"])}] if "text" in parts else []
    return {"citationsContent": {"content": content, "citations": parts["citation"]}}


def _tool_use(start: Wire, parts: Mapping[str, list[Any]]) -> dict[str, Any]:
    text = "".join(each.get("input", "") for each in parts.get("toolUse", ()))
    try:
        given: Any = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise UnknownEventError("the input of a tool call ends in the middle") from error
    return {"toolUse": {**start["toolUse"], "input": given}}


def _tool_result(start: Wire, parts: Mapping[str, list[Any]]) -> dict[str, Any]:
    content = [each for results in parts.get("toolResult", ()) for each in results]
    return {"toolResult": {**start["toolResult"], "content": content}}


def _image(start: Wire, parts: Mapping[str, list[Any]]) -> dict[str, Any]:
    image = dict(start["image"])
    for each in parts.get("image", ()):
        if each.keys() & image.keys():
            raise UnknownEventError("an image in several pieces")
        image.update(each)
    return {"image": image}


def _reasoning(start: Wire, parts: Mapping[str, list[Any]]) -> dict[str, Any]:
    del start
    pieces: dict[str, list[Any]] = {}
    for each in parts["reasoningContent"]:
        for kind, value in each.items():
            pieces.setdefault(kind, []).append(value)
    if pieces.keys() == {"redactedContent"}:
        return {"reasoningContent": {"redactedContent": b"".join(pieces["redactedContent"])}}
    if not pieces or pieces.keys() - {"text", "signature"}:
        raise UnknownEventError(f"reasoning of {sorted(pieces)}")
    text = {"text": "".join(pieces.get("text", ()))}
    signature = {"signature": "".join(pieces["signature"])} if "signature" in pieces else {}
    return {"reasoningContent": {"reasoningText": {**text, **signature}}}


_BUILDERS: Mapping[frozenset[str], Callable[[Wire, Mapping[str, list[Any]]], dict[str, Any]]] = {
    frozenset({"text"}): _text,
    frozenset({"text", "citation"}): _cited,
    frozenset({"toolUse"}): _tool_use,
    frozenset({"toolResult"}): _tool_result,
    frozenset({"image"}): _image,
    frozenset({"reasoningContent"}): _reasoning,
}
"""How a block is built, by what its start and its deltas may hold."""
