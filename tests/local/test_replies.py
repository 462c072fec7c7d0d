"""Replies against botocore's output shapes, and the stop reasons, tools and streams in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from local_support import (
    CLAUDE,
    LLAMA,
    NOVA,
    POINT,
    POINT_1H,
    WEATHER,
    assistant,
    question,
    raw_converse,
    text,
    user,
)

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_local.answering import to_prompt
from bedrock_local.validation import problems, service_model, unknown_members

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TEXT_FORMAT = {
    "type": "json_schema",
    "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "place"}},
}
REQUESTS = [
    pytest.param(NOVA, {}, id="plain"),
    pytest.param(CLAUDE, {"system": [text(1500), POINT_1H]}, id="written"),
    pytest.param(LLAMA, {"system": [text(20)]}, id="no caching"),
    pytest.param(NOVA, {"toolConfig": {"tools": [WEATHER], "toolChoice": {"any": {}}}}, id="tool"),
    pytest.param(CLAUDE, {"inferenceConfig": {"maxTokens": 3}}, id="cut"),
    pytest.param(CLAUDE, {"outputConfig": {"textFormat": TEXT_FORMAT}}, id="schema"),
    pytest.param(
        NOVA,
        {
            "performanceConfig": {"latency": "standard"},
            "serviceTier": {"type": "flex"},
            "additionalModelResponseFieldPaths": ["/x"],
            "requestMetadata": {"a": "b"},
        },
        id="settings",
    ),
]


@pytest.mark.parametrize(("model", "more"), REQUESTS)
def test_reply_is_valid_by_botocores_output_shape(
    bedrock: LocalBedrock, model: str, more: dict[str, Any]
) -> None:
    """Every reply has the required members, right types and no member that the service does not send."""
    reply = raw_converse(bedrock, model, [question()], **more)
    shape = service_model("bedrock-runtime").operation_model("Converse").output_shape
    assert unknown_members(reply, shape) == []
    surplus = {"serverToolUsage", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"}
    usage = {name: value for name, value in reply["usage"].items() if name not in surplus}
    assert list(problems({**reply, "usage": usage}, shape)) == []


@pytest.mark.parametrize(("model", "more"), REQUESTS)
def test_stream_says_what_the_plain_reply_says(
    bedrock: LocalBedrock, runtime: Any, model: str, more: dict[str, Any]
) -> None:
    """Put together again, a stream's events are the reply of a plain call, in their recorded order."""
    plain = runtime.converse(modelId=model, messages=[question()], **more)
    bedrock.clear_caches()
    events = list(runtime.converse_stream(modelId=model, messages=[question()], **more)["stream"])
    names = [next(iter(event)) for event in events]
    assert names[0] == "messageStart"
    assert names[-3:] == ["contentBlockStop", "messageStop", "metadata"]
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    said = "".join(delta.get("text", "") for delta in deltas)
    given = "".join(delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta)
    block = plain["output"]["message"]["content"][0]
    if "toolUse" in block:
        assert names[1] == "contentBlockStart"
        assert json.loads(given) == block["toolUse"]["input"]
    else:
        assert "contentBlockStart" not in names
        assert said == block["text"]
    assert events[-2]["messageStop"]["stopReason"] == plain["stopReason"]
    usage = events[-1]["metadata"]["usage"]
    assert usage == {name: plain["usage"][name] for name in usage}


def test_longer_text_comes_in_several_deltas_and_blocks_are_numbered() -> None:
    """Text and a tool call make two blocks, each with its own index."""
    engine = FixedAnswer(
        "Let me look that up for you in the latest report.", {"weather": {"city": "Lima" * 30}}
    )

    class _Both:
        name = "both"

        def reply(self, prompt: Any) -> Any:
            reply = engine.reply(prompt)
            return type(reply)(text="Let me look that up for you, one moment.", tool_calls=reply.tool_calls)

    with LocalBedrock(answers=_Both()) as bedrock:
        stream = bedrock.client().converse_stream(
            modelId=CLAUDE, messages=[question()], toolConfig={"tools": [WEATHER]}
        )
        events = list(stream["stream"])
    names = [next(iter(event)) for event in events]
    assert names.count("contentBlockDelta") > 4
    indexes = [next(iter(event.values())).get("contentBlockIndex") for event in events[1:-2]]
    assert indexes == sorted(indexes)
    assert set(indexes) == {0, 1}
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"


def test_stop_sequence_and_token_limit(runtime: Any) -> None:
    """A reply ends before a stop sequence, or at the number of tokens that was asked for."""
    stopped = runtime.converse(
        modelId=CLAUDE, messages=[question()], inferenceConfig={"stopSequences": [" It has"]}
    )
    assert stopped["stopReason"] == "stop_sequence"
    assert stopped["output"]["message"]["content"] == [{"text": "The answer is short."}]
    cut = runtime.converse(modelId=CLAUDE, messages=[question()], inferenceConfig={"maxTokens": 5})
    assert cut["stopReason"] == "max_tokens"
    assert cut["usage"]["outputTokens"] == 5
    assert "The answer is short. It has two sentences.".startswith(
        cut["output"]["message"]["content"][0]["text"]
    )


def test_forced_tool_choice_always_yields_a_valid_call(runtime: Any) -> None:
    """Whatever the engine says, `any` and a named tool end in a call with the required members."""
    for choice in ({"any": {}}, {"tool": {"name": "weather"}}):
        config = {"tools": [WEATHER], "toolChoice": choice}
        reply = runtime.converse(modelId=CLAUDE, messages=[question()], toolConfig=config)
        call = reply["output"]["message"]["content"][-1]["toolUse"]
        assert reply["stopReason"] == "tool_use"
        assert call["name"] == "weather"
        assert call["input"] == {"city": ""}


def test_tool_round_trip(bedrock: LocalBedrock) -> None:
    """A call, its result and the answer make one legal conversation."""
    with LocalBedrock(answers=FixedAnswer("Sunny.", {"weather": {"city": "Lima"}})) as server:
        client = server.client()
        config = {"tools": [WEATHER]}
        turns = [question("How is Lima?")]
        first = client.converse(modelId=NOVA, messages=turns, toolConfig=config)
        call = first["output"]["message"]["content"][0]["toolUse"]
        result = {"toolUseId": call["toolUseId"], "content": [{"text": "25 degrees"}], "status": "success"}
        turns += [first["output"]["message"], user({"toolResult": result})]
        second = client.converse(modelId=NOVA, messages=turns, toolConfig=config)
    assert (first["stopReason"], second["stopReason"]) == ("tool_use", "end_turn")
    assert second["output"]["message"]["content"] == [{"text": "Sunny."}]


def test_prompt_that_an_engine_reads_has_no_trace_of_cache_points() -> None:
    """A text that was cut for a point reads as before, so answers do not depend on caching."""
    cut = {"messages": [user({"text": "Doc one."}, POINT, {"text": "\n\nWhat is it?"})]}
    whole = {"messages": [question("Doc one.\n\nWhat is it?")]}
    assert to_prompt(cut) == to_prompt(whole)


def test_prompt_carries_documents_tools_and_schema() -> None:
    """Documents, search results, tools, their results and a reply schema reach the engine."""
    body = {
        "system": [{"text": "Be kind."}],
        "messages": [
            user(
                {"document": {"name": "note", "format": "txt", "source": {"bytes": "QSBub3RlLg=="}}},
                {"searchResult": {"source": "s", "title": "found", "content": [{"text": "A result."}]}},
                {"text": "Which?"},
            ),
            assistant({"toolUse": {"toolUseId": "t1", "name": "weather", "input": {}}}),
            user({"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": 1}}], "status": "error"}}),
        ],
        "toolConfig": {"tools": [WEATHER, POINT], "toolChoice": {"tool": {"name": "weather"}}},
        "outputConfig": {"textFormat": TEXT_FORMAT},
    }
    prompt = to_prompt(body)
    assert prompt.system == "Be kind."
    assert [(each.title, each.text) for each in prompt.documents] == [
        ("note", "A note."),
        ("found", "A result."),
    ]
    assert [tool.name for tool in prompt.tools] == ["weather"]
    assert prompt.tool_choice == "tool:weather"
    assert prompt.json_schema == SCHEMA
    result = prompt.turns[-1].tool_results[0]
    assert (result.name, result.text, result.failed) == ("weather", '{"a": 1}', True)


@pytest.mark.parametrize(
    ("model", "streaming", "points", "shown"),
    [
        (CLAUDE, False, False, {"read", "write"}),
        (CLAUDE, False, True, {"read", "write", "details"}),
        (CLAUDE, True, False, set()),
        (CLAUDE, True, True, {"read", "write", "details"}),
        (NOVA, False, False, set()),
        (NOVA, False, True, {"read", "write", "details"}),
        (LLAMA, False, False, set()),
        ("us.anthropic.claude-sonnet-5", False, False, {"read"}),
    ],
)
def test_cache_counters_are_shown_as_each_family_shows_them(
    runtime: Any, model: str, streaming: bool, points: bool, shown: set[str]
) -> None:
    """Which cache members a reply has depends on family, streaming and cache points."""
    asked = {"modelId": model, "system": [text(9), POINT] if points else [text(9)], "messages": [question()]}
    if streaming:
        usage = list(runtime.converse_stream(**asked)["stream"])[-1]["metadata"]["usage"]
    else:
        usage = runtime.converse(**asked)["usage"]
    names = {"cacheReadInputTokens": "read", "cacheWriteInputTokens": "write", "cacheDetails": "details"}
    assert {short for name, short in names.items() if name in usage} == shown


def test_counters_of_the_preview_stand_beside_todays_on_the_wire(bedrock: LocalBedrock) -> None:
    """The old names repeat the new ones, as in recorded replies."""
    usage = raw_converse(bedrock, CLAUDE, [question()], system=[text(1500), POINT])["usage"]
    assert usage["cacheWriteInputTokenCount"] == usage["cacheWriteInputTokens"] > 0
    assert usage["cacheReadInputTokenCount"] == usage["cacheReadInputTokens"] == 0
    assert usage["serverToolUsage"] == {}
