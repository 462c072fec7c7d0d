"""Which names name a model, who is retired, and how tokens are estimated."""

from __future__ import annotations

import base64
import struct
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_support import CLAUDE, NOVA, POINT, WEATHER, counters, question, text, user

from bedrock_local import FixedAnswer, LocalBedrock, ManualClock
from bedrock_local.caching import PromptCache
from bedrock_local.errors import END_OF_LIFE
from bedrock_local.images import image_tokens
from bedrock_local.prompt import Dialect, render, without_points
from bedrock_local.schema_example import smallest
from bedrock_local.tokens import TokenCounter
from bedrock_routing.catalog import CacheRules

HAIKU_35 = "us.anthropic.claude-3-5-haiku-20241022-v1:0"
HAIKU_3 = "anthropic.claude-3-haiku-20240307-v1:0"


@pytest.mark.parametrize(
    "name",
    [
        "does-not-exist",
        "us.does-not-exist-model-v1:0",
        "nobody.knows-v1:0",
        "Nova Prompt Router",
        "amazon.nova:1",
        "arn:aws:bedrock:us-east-1:123412341234:provisioned-model/abc",
    ],
)
def test_unknown_model_is_refused_in_the_services_words(runtime: Any, name: str) -> None:
    """Unknown ids are invalid, and so are this project's own short forms of routers."""
    with pytest.raises(runtime.exceptions.ValidationException) as caught:
        runtime.converse(modelId=name, messages=[question()])
    assert caught.value.response["Error"]["Message"] == "The provided model identifier is invalid."


@pytest.mark.parametrize(
    "name",
    [
        "arn:aws:bedrock:us-east-1:123412341234:prompt-router/abcdefabcdef",
        "arn:aws:bedrock:us-east-1:999999999999:default-prompt-router/amazon.nova:1",
        "arn:aws:bedrock:us-east-1:123412341234:application-inference-profile/abcdefabcdef",
    ],
)
def test_router_or_profile_that_does_not_exist_is_not_found(runtime: Any, name: str) -> None:
    """A well-formed ARN of nothing, or of another account, is a 404."""
    with pytest.raises(runtime.exceptions.ResourceNotFoundException):
        runtime.converse(modelId=name, messages=[question()])


def test_retired_model_is_gone_until_it_is_revived(runtime: Any) -> None:
    """A model past its end of life is a 404, and a test may bring it back by id, with or without version."""
    with pytest.raises(runtime.exceptions.ResourceNotFoundException) as caught:
        runtime.converse(modelId=HAIKU_35, messages=[question()])
    assert caught.value.response["Error"]["Message"] == END_OF_LIFE
    revive = (HAIKU_3, "anthropic.claude-3-5-haiku-20241022")
    with LocalBedrock(answers=FixedAnswer(), revive=revive) as bedrock:
        client = bedrock.client()
        for model in (HAIKU_3, HAIKU_35):
            assert client.converse(modelId=model, messages=[question()])["stopReason"] == "end_turn"


def test_revived_default_router_routes_again() -> None:
    """With both its models revived, the default Anthropic router answers."""
    revive = ("anthropic.claude-3-haiku-20240307", "anthropic.claude-3-5-sonnet-20240620")
    with LocalBedrock(answers=FixedAnswer(), revive=revive, routing=["large", "small"]) as bedrock:
        client, router = bedrock.client(), bedrock.router_arn("anthropic.claude:1")
        for _ in range(2):
            client.converse(modelId=router, messages=[question()])
        assert [request.invoked_model for request in bedrock.requests] == [
            "anthropic.claude-3-5-sonnet-20240620-v1:0",
            HAIKU_3,
        ]


def test_count_tokens_serves_claude_by_its_own_id_only(runtime: Any) -> None:
    """A count covers the whole prompt and ignores cache points; profiles, routers and Nova are refused."""
    asked = {"messages": [question()], "system": [text(1500)]}
    count = runtime.count_tokens(modelId="anthropic.claude-sonnet-4-6", input={"converse": asked})[
        "inputTokens"
    ]
    usage = runtime.converse(modelId=CLAUDE, **asked)["usage"]
    assert count == usage["inputTokens"]
    with_point = {**asked, "system": [*asked["system"], POINT]}
    again = runtime.count_tokens(modelId="anthropic.claude-sonnet-4-6", input={"converse": with_point})
    assert again["inputTokens"] == count
    for model in (CLAUDE, NOVA):
        with pytest.raises(runtime.exceptions.ValidationException, match="doesn't support counting tokens"):
            runtime.count_tokens(modelId=model, input={"converse": asked})


def test_claude_4_counts_more_than_claude_3_and_nova() -> None:
    """The same text is 17 per cent more tokens on Claude 4 and later."""
    body = {"system": [text(2000)]}
    counter = TokenCounter()
    totals = {
        key: render(body, Dialect(key=key, provider=provider, whole=False), counter).tokens
        for key, provider in (
            ("anthropic.claude-sonnet-4-6", "anthropic"),
            ("anthropic.claude-3-7-sonnet-20250219", "anthropic"),
            ("amazon.nova-lite", "amazon"),
        )
    }
    assert totals["amazon.nova-lite"] == totals["anthropic.claude-3-7-sonnet-20250219"]
    assert totals["anthropic.claude-sonnet-4-6"] == pytest.approx(1.17 * totals["amazon.nova-lite"], abs=1)


def test_fast_mode_and_a_missing_tokenizer_count_four_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tokenizer, by choice or by absence, a token is four characters."""
    assert TokenCounter("fast").text("x" * 41) == 11
    monkeypatch.setitem(sys.modules, "anthropic_tokenizer", None)
    assert TokenCounter().text("x" * 41) == 11


def test_media_and_documents_cost_tokens(runtime: Any) -> None:
    """Images cost by their area, text documents by their text, other documents by their bytes."""
    png = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 300, 250)
    plain = runtime.converse(modelId=NOVA, messages=[question()])["usage"]["inputTokens"]
    for block, cost in (
        ({"image": {"format": "png", "source": {"bytes": png}}}, 100),
        ({"document": {"name": "a", "format": "txt", "source": {"bytes": b"word " * 200}}}, 200),
        ({"document": {"name": "a", "format": "pdf", "source": {"bytes": b"x" * 40_000}}}, 1000),
        ({"video": {"format": "mp4", "source": {"bytes": b"x"}}}, 1850),
    ):
        reply = runtime.converse(modelId=NOVA, messages=[user(block, {"text": "What is it?"})])
        assert reply["usage"]["inputTokens"] - plain == pytest.approx(cost, abs=10)


def test_jpeg_size_is_read_and_unknown_images_cost_the_most() -> None:
    """The frame header of a JPEG says its size; anything else costs as much as the largest image."""
    head = b"\xff\xd8" + b"\xff\xe0\0\x04ab" + b"\xff\xc0\0\x11\x08"
    jpeg = head + struct.pack(">HH", 250, 300) + b"\0" * 9
    assert image_tokens(base64.b64encode(jpeg).decode()) == 100
    assert image_tokens(base64.b64encode(b"GIF89a").decode()) == 1600
    assert image_tokens("not base64!") == 1600


@given(
    sizes=st.lists(st.integers(min_value=1, max_value=400), min_size=1, max_size=30),
    marks=st.sets(st.integers(min_value=0, max_value=29), max_size=4),
    hour=st.booleans(),
    lookback=st.sampled_from([0, 20]),
)
def test_counters_of_any_prompt_add_up_and_a_repetition_only_reads(
    sizes: list[int], marks: set[int], hour: bool, lookback: int
) -> None:
    """Read, written and fresh are the whole; repeated, what was cached is read and nothing is written."""
    ttl = {"ttl": "1h"} if hour else {}
    content: list[dict[str, Any]] = []
    for number, size in enumerate(sizes):
        content.append(text(size, str(number)))
        if number in marks:
            content.append({"cachePoint": {"type": "default", **ttl}})
    rules = CacheRules(min_tokens=500, sections=frozenset({"messages"}), lookback=lookback)
    cache = PromptCache(ManualClock())
    dialect = Dialect(key="amazon.nova-lite", provider="amazon", whole=True)
    prefix = render({"messages": [user(*content)]}, dialect, TokenCounter("fast"))
    first = cache.plan("scope", prefix, rules, cache.arrive())
    cache.commit(first)
    second = cache.plan("scope", prefix, rules, cache.arrive())
    for plan in (first, second):
        assert plan.read + plan.write + plan.fresh == prefix.tokens
        assert plan.fresh >= 0
    assert first.read == 0
    assert (second.read, second.write) == (first.write, 0)
    assert first.write == 0 or first.write >= 500


def test_stripping_points_leaves_the_request_as_it_was() -> None:
    """Points are dropped from a copy, in all three lists."""
    body: dict[str, Any] = {
        "system": [{"text": "x"}, POINT],
        "messages": [user({"text": "y"}, POINT)],
        "toolConfig": {"tools": [WEATHER, POINT]},
    }
    bare = without_points(body)
    assert "cachePoint" not in str(bare)
    assert str(body).count("cachePoint") == 3


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, {"a": 0}),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 3}, 3),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, [False, False]),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "number", "minimum": 2}}}, 2),
        ({"type": ["string", "null"], "minLength": 2}, "xx"),
        ({"type": "array"}, []),
    ],
)
def test_smallest_value_of_a_schema(schema: dict[str, Any], expected: Any) -> None:
    """The required members and nothing else are made up."""
    assert smallest(schema) == expected


def test_two_servers_share_nothing() -> None:
    """Each server has its own caches, routers and record."""
    with LocalBedrock(answers=FixedAnswer()) as one, LocalBedrock(answers=FixedAnswer()) as other:
        asked = {"modelId": NOVA, "system": [text(1500), POINT], "messages": [question()]}
        one.client().converse(**asked)
        assert counters(other.client().converse(**asked))[0] == 0
        assert one.endpoint_url != other.endpoint_url
        assert len(one.requests) == len(other.requests) == 1
