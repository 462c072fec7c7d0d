"""Which of a router's models answers, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_support import NOVA, NOVA_PRO, assistant, question, user

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_local.routing import difficulty, question_of, size_of

EASY = "What is the capital of Peru?"
HARD = (
    "Compare the two caching strategies step by step and explain why one must cost less when at least "
    "half of the calls repeat: what are the trade-offs, and how would you prove it?"
)


def invoked(client: Any, router: str, words: str, **more: Any) -> str:
    """Return the model that a router picks for a question."""
    reply = client.converse(modelId=router, messages=[question(words)], **more)
    return reply["trace"]["promptRouter"]["invokedModelId"].rpartition("/us.")[2]


def test_plain_question_goes_to_the_small_model_and_a_hard_one_to_the_large(
    bedrock: LocalBedrock, runtime: Any
) -> None:
    """The default Nova router tells the two questions apart."""
    router = bedrock.router_arn("amazon.nova:1")
    assert invoked(runtime, router, EASY) == NOVA
    assert invoked(runtime, router, HARD) == NOVA_PRO


def test_raising_the_threshold_moves_traffic_to_the_small_model(bedrock: LocalBedrock, runtime: Any) -> None:
    """Whichever model is the fallback, a higher difference asked for means the cheaper model."""
    for fallback in (NOVA, NOVA_PRO):
        low = bedrock.create_router(f"low {fallback[7:15]}", [NOVA, NOVA_PRO], fallback, threshold=5)
        high = bedrock.create_router(f"high {fallback[7:15]}", [NOVA, NOVA_PRO], fallback, threshold=95)
        assert invoked(runtime, low, HARD) == NOVA_PRO
        assert invoked(runtime, high, HARD) == NOVA


def test_documents_around_the_question_do_not_make_it_hard(bedrock: LocalBedrock, runtime: Any) -> None:
    """A hundred paragraphs of reasoning in front of a plain question change nothing."""
    stuffed = "\n\n".join([HARD] * 100) + f"\n\nQuestion: {EASY}\nHelpful Answer:"
    assert invoked(runtime, bedrock.router_arn("amazon.nova:1"), stuffed) == NOVA


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([question("Context: a\n\nQuestion: Why?\nAnswer:")], "Why?"),
        ([question("Some document.\n\nQuery: Which one?")], "Which one?"),
        ([question("Some document.\n\nWho was it?")], "Who was it?"),
        ([user({"text": "A document."}, {"text": "Who?"})], "Who?"),
        (
            [
                question("First?"),
                assistant({"text": "Yes."}),
                user({"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}),
            ],
            "First?",
        ),
        ([], ""),
    ],
)
def test_question_is_found_at_the_end_of_the_last_user_text(
    messages: list[dict[str, Any]], expected: str
) -> None:
    """What follows the last marker counts, else the last paragraph; tool results are not questions."""
    assert question_of({"messages": messages}) == expected


def test_fallback_answers_where_there_is_nothing_to_judge(bedrock: LocalBedrock, runtime: Any) -> None:
    """A request with an image and no text goes to the fallback model."""
    image = {"image": {"format": "png", "source": {"bytes": b"not an image"}}}
    for fallback in (NOVA, NOVA_PRO):
        router = bedrock.create_router(f"image {fallback[7:15]}", [NOVA, NOVA_PRO], fallback)
        reply = runtime.converse(modelId=router, messages=[user(image)])
        assert reply["trace"]["promptRouter"]["invokedModelId"].endswith(fallback)


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        ("alternate", [NOVA, NOVA_PRO, NOVA]),
        (["small", "small", "large"], [NOVA, NOVA, NOVA_PRO]),
        (["amazon.nova-pro", "us.amazon.nova-lite-v1:0"], [NOVA_PRO, NOVA, NOVA_PRO]),
        (lambda text, large, small, threshold: "large" if "big" in text else "small", [NOVA, NOVA, NOVA]),
        (lambda text, large, small, threshold: "large" if "Peru" in text else "small", [NOVA_PRO] * 3),
    ],
)
def test_routing_can_be_scripted(routing: Any, expected: list[str]) -> None:
    """Turns, a repeating list and a function replace the judgement."""
    with LocalBedrock(answers=FixedAnswer(), routing=routing) as bedrock:
        client = bedrock.client()
        router = bedrock.router_arn("amazon.nova:1")
        assert [invoked(client, router, EASY) for _ in range(3)] == expected


def test_trace_stands_in_the_last_event_of_a_stream(bedrock: LocalBedrock, runtime: Any) -> None:
    """A stream names the invoked model only at its end."""
    stream = runtime.converse_stream(modelId=bedrock.router_arn("amazon.nova:1"), messages=[question(EASY)])
    events = list(stream["stream"])
    assert "trace" not in str(events[:-1])
    trace = events[-1]["metadata"]["trace"]["promptRouter"]["invokedModelId"]
    assert trace == f"arn:aws:bedrock:us-east-1:123412341234:inference-profile/us.{NOVA}"


def test_plain_model_has_no_trace(runtime: Any) -> None:
    """Only a router tells who answered."""
    assert "trace" not in runtime.converse(modelId=NOVA, messages=[question(EASY)])


def test_profile_in_a_trace_follows_the_region() -> None:
    """In Europe the routers point to European profiles."""
    with LocalBedrock(answers=FixedAnswer(), region="eu-central-1") as bedrock:
        client = bedrock.client()
        reply = client.converse(modelId=bedrock.router_arn("amazon.nova:1"), messages=[question(EASY)])
        expected = "arn:aws:bedrock:eu-central-1:123412341234:inference-profile/eu.amazon.nova-lite-v1:0"
        assert reply["trace"]["promptRouter"]["invokedModelId"] == expected


@given(st.text(max_size=400))
def test_difficulty_is_bounded_and_repeatable(words: str) -> None:
    """Any text gets the same score twice, within the scale of the threshold."""
    assert difficulty(words) == difficulty(words)
    assert -100 <= difficulty(words) <= 100


def test_sizes_order_the_families() -> None:
    """Within each family the dearer model counts as the larger."""
    pairs = [
        ("amazon.nova-lite-v1:0", "us.amazon.nova-pro-v1:0"),
        ("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-70b-instruct-v1:0"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-sonnet-4-6"),
    ]
    for small, large in pairs:
        assert (size_of(small) or 0) < (size_of(large) or 0)
