"""A reply as the events of a ConverseStream, in the order of recorded streams.

Text blocks have no `contentBlockStart`; a tool call's input comes as pieces of one JSON text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bedrock_local.answering import Answer

__all__ = ["StreamEvent", "stream_events"]

StreamEvent = tuple[str, dict[str, Any]]

_WORDS_PER_DELTA = 4
_CHARACTERS_PER_INPUT = 24
_PIECE = re.compile(r"\s*\S+\s*$|\s*\S+|\s+$")


def stream_events(
    answer: Answer, metadata: Mapping[str, Any], stop: Mapping[str, Any]
) -> Iterator[StreamEvent]:
    """Yield the events of one reply; `stop` holds what stands beside the stop reason."""
    yield "messageStart", {"role": "assistant"}
    for index, block in enumerate(answer.content):
        if "toolUse" in block:
            yield from _tool_events(index, block["toolUse"])
        else:
            yield from _text_events(index, block["text"])
        yield "contentBlockStop", {"contentBlockIndex": index}
    yield "messageStop", {"stopReason": answer.stop_reason, **stop}
    yield "metadata", dict(metadata)


def _text_events(index: int, text: str) -> Iterator[StreamEvent]:
    pieces = _PIECE.findall(text) or [text]
    for start in range(0, len(pieces), _WORDS_PER_DELTA):
        part = "".join(pieces[start : start + _WORDS_PER_DELTA])
        yield "contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": part}}


def _tool_events(index: int, call: Mapping[str, Any]) -> Iterator[StreamEvent]:
    start = {"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"]}}
    yield "contentBlockStart", {"contentBlockIndex": index, "start": start}
    text = json.dumps(call["input"], ensure_ascii=False)
    for place in range(0, len(text), _CHARACTERS_PER_INPUT):
        delta = {"toolUse": {"input": text[place : place + _CHARACTERS_PER_INPUT]}}
        yield "contentBlockDelta", {"contentBlockIndex": index, "delta": delta}
