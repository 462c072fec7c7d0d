"""Replay recorded calls of the real service: what it accepted is accepted, replies have the same members."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any
from urllib.parse import quote

import pytest
from local_support import raw
from recorded_traffic import RECORDINGS, Exchange, exchanges, messages, streams

from bedrock_local import LocalBedrock, ManualClock, eventstream
from bedrock_local.answers.base import Prompt, Reply, ToolCall
from bedrock_routing.arns import parse
from bedrock_routing.catalog import Catalog, ModelFacts

pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason="the recorded traffic is not beside the project"
)

ALL = exchanges()
LEFT_OUT = {
    "test_bedrock_model_other_parameters-0": "the recorded body is not JSON",
    "test_video_url_input-1": "the recorded video is a JPEG of a format unknown to the service model",
    "test_guardrail_converse-0": "two user messages in a row, stopped by the guardrail",
    "test_guardrail_converse_stream-0": "two user messages in a row, stopped by the guardrail",
    "test_anthropic_bedrock_count_tokens_real_api-0": "counts an InvokeModel body, which is not imitated",
    "test_anthropic_bedrock_count_tokens_rejects_server_tools-0": "counts an InvokeModel body",
}
SERVED = [each for each in ALL if each.label not in LEFT_OUT and each.status == 200]
REFUSED = [each for each in ALL if each.label not in LEFT_OUT and each.status != 200]
REPLIES = [each for each in SERVED if each.operation == "Converse"]
STREAMS = [each for each in SERVED if each.operation == "ConverseStream"]
COUNTS = [each for each in SERVED if each.operation == "CountTokens"]
CACHED_FILES = sorted({each.file for each in REPLIES if '"cachePoint"' in json.dumps(each.request)})
ACCOUNT = "123456789012"
SOMETIMES = {
    "usage.serverToolUsage",  # in newer replies only
    "usage.cacheDetails",  # in newer replies only
    "usage.cacheDetails[].ttl",
    "usage.cacheDetails[].inputTokens",
    "trace.guardrail",
    "trace",  # only guardrails are traced in the recordings; they are not imitated
    "additionalModelResponseFields",  # made up by hand in the recording
}


class _Recorded:
    """Give the answer that was recorded."""

    name = "recorded"

    def __init__(self) -> None:
        self.content: list[dict[str, Any]] = []

    def reply(self, prompt: Prompt) -> Reply:
        texts = [block["text"] for block in self.content if "text" in block]
        calls = [block["toolUse"] for block in self.content if "toolUse" in block]
        made = tuple(ToolCall(name=call["name"], input=call["input"]) for call in calls)
        return Reply(text=" ".join(texts), tool_calls=made)


@pytest.fixture(scope="module")
def engine() -> _Recorded:
    return _Recorded()


@pytest.fixture(scope="module")
def server(engine: _Recorded) -> Iterator[LocalBedrock]:
    """Serve all recorded models: the retired ones revived, those beyond the catalog added without caching."""
    models = [each.model for each in SERVED if "/" not in each.model]
    unknown = {model for model in models if Catalog.default().find(model) is None}
    with LocalBedrock(
        answers=engine,
        account=ACCOUNT,
        clock=ManualClock(),
        extra_models=[ModelFacts(id=parse(model).key or model, cache=None) for model in sorted(unknown)],
        revive=[facts.id for facts in Catalog.default().models if facts.retired],
    ) as bedrock:
        for model in {each.model for each in SERVED if "/" in each.model}:
            bedrock.create_application_profile("us.amazon.nova-micro-v1:0", model.rpartition("/")[2])
        yield bedrock


def replay(server: LocalBedrock, exchange: Exchange) -> tuple[int, dict[str, str], bytes]:
    suffix = {"Converse": "converse", "ConverseStream": "converse-stream", "CountTokens": "count-tokens"}
    path = f"/model/{quote(exchange.model, safe='')}/{suffix[exchange.operation]}"
    return raw(server, "POST", path, exchange.request)


def members(value: Any, path: str = "") -> set[str]:
    """Return the paths of all members, but not the insides of tool inputs, guardrail traces, free fields."""
    if path.endswith((".input", "trace.guardrail", "additionalModelResponseFields")):
        return set()
    found: set[str] = set()
    if isinstance(value, Mapping):
        for name, inner in value.items():
            inner_path = f"{path}.{name}" if path else name
            found |= {inner_path} | members(inner, inner_path)
    elif isinstance(value, list):
        for inner in value:
            found |= members(inner, f"{path}[]")
    return found


def shape(reply: Mapping[str, Any]) -> set[str]:
    """Return the members of a reply, but those that depend on its age and the insides of its content."""
    return {path for path in members(reply) - SOMETIMES if not path.startswith("output.message.content[]")}


def kinds(content: list[dict[str, Any]]) -> list[str]:
    return [next(iter(block)) for block in content]


@pytest.mark.parametrize("exchange", REPLIES, ids=lambda each: each.label)
def test_recorded_reply_has_the_same_members(
    server: LocalBedrock, engine: _Recorded, exchange: Exchange
) -> None:
    """A recorded request is accepted, and the reply has the members of the recorded one."""
    content = exchange.reply["output"]["message"]["content"]
    engine.content = content
    status, _, body = replay(server, exchange)
    assert status == 200, body
    reply = json.loads(body)
    assert shape(reply) == shape(exchange.reply)
    forced = {"any", "tool"} & set((exchange.request or {}).get("toolConfig", {}).get("toolChoice", {}))
    if exchange.reply["stopReason"] == ("tool_use" if forced else "end_turn"):
        assert reply["stopReason"] == exchange.reply["stopReason"]
        if not {"reasoningContent", "toolResult", "citationsContent"} & set(kinds(content)):
            got = reply["output"]["message"]["content"]
            assert kinds(got) == [kind for kind, _ in groupby(kinds(content)) if kind == "text"] + [
                kind for kind in kinds(content) if kind == "toolUse"
            ]
            inside = members(got, "") - members(content, "")
            assert inside == set()


def joined(exchange: Exchange) -> list[dict[str, Any]]:
    """Return the text and the tool calls of a recorded stream."""
    texts, calls, inputs = "", {}, {}
    for headers, payload in exchange.events:
        name, event = dict(headers)[":event-type"], json.loads(payload)
        place = event.get("contentBlockIndex")
        if name == "contentBlockStart" and "toolUse" in event["start"]:
            calls[place], inputs[place] = event["start"]["toolUse"], ""
        elif name == "contentBlockDelta":
            texts += event["delta"].get("text", "")
            if "toolUse" in event["delta"]:
                inputs[place] += event["delta"]["toolUse"]["input"]
    made = [
        {"toolUse": {"name": call["name"], "input": json.loads(inputs[place] or "{}")}}
        for place, call in calls.items()
    ]
    return ([{"text": texts}] if texts else []) + made


def order(stream: bytes) -> list[tuple[str, ...]]:
    """Return the events of a stream, runs of deltas as one, each with its members besides the padding."""
    seen = []
    for headers, payload in Exchange(
        file="", number=0, operation="", model="", request=None, status=0, reply={}, stream=stream
    ).events:
        event = json.loads(payload)
        seen.append((dict(headers)[":event-type"], *sorted(set(event) - {"p"})))
    return [each for each, _ in groupby(seen)]


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda each: each.label)
def test_recorded_stream_has_the_same_events(
    server: LocalBedrock, engine: _Recorded, exchange: Exchange
) -> None:
    """Headers, order of events, padding and the metadata's members are those of the recorded stream."""
    engine.content = joined(exchange)
    status, headers, body = replay(server, exchange)
    assert status == 200, body
    assert headers["content-type"] == "application/vnd.amazon.eventstream"
    got = Exchange(**{**exchange.__dict__, "stream": body})
    for names, payload in got.events:
        assert [name for name, _ in names] == [":event-type", ":content-type", ":message-type"]
        assert "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".startswith(
            json.loads(payload)["p"]
        )
    recorded = json.loads(exchange.events[-1][1])
    assert shape(json.loads(got.events[-1][1])) == shape(recorded)
    beyond = (b"reasoningContent", b'"start":{"toolResult"', b'"citation"', b'"guardrail"')
    if not any(mark in exchange.stream for mark in beyond):  # what is not imitated makes further blocks
        plain = [each for each in order(exchange.stream) if "additionalModelResponseFields" not in each]
        assert order(body) == plain


@pytest.mark.parametrize("stream", [pytest.param(stream, id=name) for name, stream in streams()])
def test_encoder_gives_the_bytes_of_recorded_streams(stream: bytes) -> None:
    """Taken apart and encoded again, a recorded stream is the same to the byte."""
    assert b"".join(eventstream.encode(*message) for message in messages(stream)) == stream


@pytest.mark.parametrize("exchange", COUNTS, ids=lambda each: each.label)
def test_recorded_count_is_near(server: LocalBedrock, exchange: Exchange) -> None:
    """CountTokens answers with one member; the estimate is at most 15 per cent and five tokens off."""
    status, _, body = replay(server, exchange)
    assert status == 200, body
    assert set(json.loads(body)) == set(exchange.reply) == {"inputTokens"}
    expected = exchange.reply["inputTokens"]
    assert abs(json.loads(body)["inputTokens"] - expected) <= 0.15 * expected + 5


@pytest.mark.parametrize("exchange", REFUSED, ids=lambda each: each.label)
def test_recorded_refusal_is_the_same(server: LocalBedrock, exchange: Exchange) -> None:
    """What the service refused is refused with the same status and text."""
    status, headers, body = replay(server, exchange)
    assert status == exchange.status
    assert headers["x-amzn-errortype"].startswith("ValidationException:")
    assert json.loads(body) == exchange.reply


@pytest.mark.parametrize("file", CACHED_FILES, ids=lambda file: file.rpartition("/")[2])
def test_recorded_cache_counters_follow_the_same_pattern(
    server: LocalBedrock, engine: _Recorded, file: str
) -> None:
    """What the service wrote and read, call after call, is written and read here; amounts are near.

    Where the first recorded call found a warm cache, the calls are made once before.
    """
    server.clear_caches()
    calls = [each for each in REPLIES if each.file == file]
    warm = calls[0].reply["usage"]["cacheReadInputTokens"] > 0
    for each in calls * (2 if warm else 1):
        engine.content = each.reply["output"]["message"]["content"]
        replay(server, each)
    for each, request in zip(calls, server.requests[-len(calls) :], strict=True):
        expected, usage = each.reply["usage"], request.usage or {}
        for counter in ("cacheReadInputTokens", "cacheWriteInputTokens"):
            assert (usage[counter] > 0) == (expected[counter] > 0)
        total = sum(
            expected[name] for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        )
        mine = sum(usage[name] for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"))
        assert abs(mine - total) <= 0.3 * total


def test_recordings_are_all_covered() -> None:
    """Every recorded call of the three operations is replayed above, save those left out with a reason."""
    assert set(LEFT_OUT) <= {each.label for each in ALL}
    assert len(REPLIES) + len(STREAMS) + len(COUNTS) + len(REFUSED) + len(LEFT_OUT) == len(ALL)
