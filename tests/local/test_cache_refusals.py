"""The errors that the service gives for cache points and conversations, word for word."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from botocore.exceptions import ClientError
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

from bedrock_local import LocalBedrock

REASONING = {"reasoningContent": {"reasoningText": {"text": "I think.", "signature": "abc"}}}
CALL = {"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"city": "Lima"}}}
RESULT = {"toolResult": {"toolUseId": "t1", "content": [{"text": "sunny"}]}}
NOTE = base64.b64encode(b"A note about cheese.").decode()
FROM_MODEL = "The model returned the following errors: "
E1 = (
    "You invoked an unsupported model or your request did not allow prompt caching. "
    "See the documentation for more information."
)
E4 = "There is nothing available to cache. Please remove the invalid cache point and try again."
E5 = (
    "Cache point cannot be inserted after reasoning block. "
    "Please remove the invalid cache point and try again."
)
E8 = f"{FROM_MODEL}A maximum of 4 blocks with cache_control may be provided. Found 5."


def malformed(place: str) -> str:
    return (
        f"{FROM_MODEL}Malformed input request: #/{place}: extraneous key [cachePoint] is not permitted, "
        "please reformat your input and try again."
    )


def wrong_order(place: str) -> str:
    return (
        f"{FROM_MODEL}{place}.cache_control.ttl: a ttl='1h' cache_control block must not come after "
        "a ttl='5m' cache_control block. Note that blocks are processed in the following order: "
        "`tools`, `system`, `messages`."
    )


def document(**members: Any) -> dict[str, Any]:
    return {"document": {"name": "note", "format": "txt", "source": {"bytes": b"A note."}, **members}}


CASES = [
    pytest.param(LLAMA, {"system": [text(9), POINT], "messages": [question()]}, 403, E1, id="E1"),
    pytest.param(
        NOVA,
        {"messages": [question()], "toolConfig": {"tools": [WEATHER, POINT]}},
        400,
        malformed("toolConfig/tools/0"),
        id="E2",
    ),
    pytest.param(
        NOVA,
        {
            "messages": [question(), assistant(CALL), user(RESULT, POINT)],
            "toolConfig": {"tools": [WEATHER]},
        },
        400,
        malformed("messages/2/content/0"),
        id="E3 after toolResult",
    ),
    pytest.param(
        NOVA,
        {
            "messages": [question(), assistant({"text": "Yes."}, CALL, POINT), user(RESULT)],
            "toolConfig": {"tools": [WEATHER]},
        },
        400,
        malformed("messages/1/content/1"),
        id="E3 after toolUse",
    ),
    pytest.param(CLAUDE, {"messages": [user(POINT, {"text": "Hello"})]}, 400, E4, id="E4 first"),
    pytest.param(
        NOVA,
        {"messages": [question(), assistant({"text": "Yes."}), user(POINT)]},
        400,
        E4,
        id="E4 alone in a message",
    ),
    pytest.param(CLAUDE, {"system": [POINT, text(9)], "messages": [question()]}, 400, E4, id="E4 system"),
    pytest.param(
        CLAUDE,
        {"messages": [question(), assistant(REASONING, POINT, {"text": "Yes."}), question()]},
        400,
        E5,
        id="E5",
    ),
    pytest.param(
        CLAUDE,
        {"messages": [user({"text": "Look:"}, document(), POINT)]},
        400,
        f"{FROM_MODEL}messages.0.content.2.type: Field required",
        id="E6",
    ),
    pytest.param(
        CLAUDE,
        {"system": [text(9), POINT], "messages": [user(text(9), POINT_1H)]},
        400,
        wrong_order("messages.0.content.0"),
        id="E7",
    ),
    pytest.param(
        CLAUDE,
        {
            "system": [text(9), POINT_1H],
            "messages": [question()],
            "toolConfig": {"tools": [WEATHER, POINT]},
        },
        400,
        wrong_order("system.0"),
        id="E7 tools come first",
    ),
    pytest.param(
        CLAUDE,
        {"messages": [user(*(block for n in range(5) for block in (text(n), POINT)))]},
        400,
        E8,
        id="E8",
    ),
    pytest.param(
        CLAUDE,
        {"messages": [user({"text": "Hello"}, {"text": ""}, POINT)]},
        400,
        f"{FROM_MODEL}messages.0.content.1.text: cache_control cannot be set for empty text blocks",
        id="E9",
    ),
    pytest.param(
        CLAUDE,
        {"messages": [user({"text": " \n"})]},
        400,
        f"{FROM_MODEL}messages: text content blocks must contain non-whitespace text",
        id="white space only",
    ),
    pytest.param(
        CLAUDE,
        {"messages": []},
        400,
        f"{FROM_MODEL}messages: at least one message is required",
        id="no messages",
    ),
    pytest.param(
        NOVA,
        {"messages": [assistant({"text": "Hello"})]},
        400,
        "A conversation must start with a user message. "
        "Try again with a conversation that starts with a user message.",
        id="assistant first",
    ),
    pytest.param(
        LLAMA,
        {"messages": [question()], "toolConfig": {"tools": [WEATHER], "toolChoice": {"any": {}}}},
        400,
        "This model doesn't support the toolConfig.toolChoice.any field. "
        "Remove toolConfig.toolChoice.any and try again.",
        id="tool choice",
    ),
    pytest.param(
        CLAUDE,
        {"messages": [question(), assistant(CALL), question()], "toolConfig": {"tools": [WEATHER]}},
        400,
        "Expected toolResult blocks at messages.2.content for the following Ids: t1",
        id="missing tool result",
    ),
]


@pytest.mark.parametrize(("model", "asked", "status", "message"), CASES)
def test_refusal_has_the_services_words(
    runtime: Any, model: str, asked: dict[str, Any], status: int, message: str
) -> None:
    """Each misuse is refused with the status, the type and the text of the service."""
    with pytest.raises(ClientError) as caught:
        runtime.converse(modelId=model, **asked)
    reply = caught.value.response
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == status
    assert reply["Error"]["Code"] == {400: "ValidationException", 403: "AccessDeniedException"}[status]
    assert reply["Error"]["Message"] == message


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        pytest.param(CLAUDE, {"messages": [user(text(9), POINT, POINT)]}, id="two points in a row"),
        pytest.param(
            CLAUDE, {"messages": [user({"text": "x"}, document(format="pdf"), POINT)]}, id="after a PDF"
        ),
        pytest.param(
            CLAUDE,
            {"messages": [user({"text": "x"}, document(citations={"enabled": True}), POINT)]},
            id="after a cited document",
        ),
        pytest.param(
            CLAUDE, {"messages": [question()], "toolConfig": {"tools": [WEATHER, POINT]}}, id="Claude's tools"
        ),
        pytest.param(
            NOVA,
            {
                "messages": [question(), assistant(CALL), user(RESULT, {"text": "And?"}, POINT)],
                "toolConfig": {"tools": [WEATHER]},
            },
            id="Nova, text between the result and the point",
        ),
        pytest.param(CLAUDE, {"messages": [assistant({"text": "Hi"}), question()]}, id="assistant first"),
        pytest.param(
            CLAUDE, {"messages": [user(document(), {"text": "\n"}, POINT)]}, id="white space before the point"
        ),
        pytest.param(
            CLAUDE,
            {"system": [text(9), POINT_1H], "messages": [user(text(9), POINT)]},
            id="longer before shorter",
        ),
    ],
)
def test_legal_places_are_accepted(runtime: Any, model: str, asked: dict[str, Any]) -> None:
    """What the service accepts is not refused."""
    assert runtime.converse(modelId=model, **asked)["stopReason"] == "end_turn"


def test_hour_on_a_five_minute_model_is_refused(runtime: Any) -> None:
    """A model without the longer lifetime does not take it; its wording is not known."""
    with pytest.raises(runtime.exceptions.ValidationException, match="1h"):
        runtime.converse(modelId=NOVA, system=[text(9), POINT_1H], messages=[question()])


def test_point_inside_a_tool_result_is_accepted_and_caches_nothing(bedrock: LocalBedrock) -> None:
    """Over raw HTTP such a point passes, and no counter moves."""
    result = {"toolResult": {"toolUseId": "t1", "content": [text(1500), POINT]}}
    reply = raw_converse(
        bedrock,
        CLAUDE,
        [question(), assistant(CALL), user(result)],
        toolConfig={"tools": [WEATHER]},
    )
    assert reply["usage"]["cacheWriteInputTokens"] == 0
    assert "cacheDetails" not in reply["usage"]


@pytest.mark.parametrize(("mode", "outcome"), [("pass", 403), ("refuse", 403), ("strip", 200)])
def test_points_under_a_router(mode: Any, outcome: int) -> None:
    """A point that the invoked model refuses fails the call, unless the router strips points."""
    with LocalBedrock(points_under_router=mode) as bedrock:
        router = bedrock.router_arn("meta.llama:1")
        client = bedrock.client()
        asked = {"modelId": router, "system": [text(1500), POINT], "messages": [question()]}
        if outcome == 200:
            assert "cacheReadInputTokens" not in client.converse(**asked)["usage"]
            return
        with pytest.raises(client.exceptions.AccessDeniedException, match="did not allow prompt caching"):
            client.converse(**asked)


def test_refusing_mode_refuses_even_where_the_models_could_cache() -> None:
    """`refuse` is about the router, so Nova's own ability does not help."""
    with LocalBedrock(points_under_router="refuse") as bedrock:
        client = bedrock.client()
        with pytest.raises(client.exceptions.AccessDeniedException):
            client.converse(
                modelId=bedrock.router_arn("amazon.nova:1"),
                system=[text(1500), POINT],
                messages=[question()],
            )
