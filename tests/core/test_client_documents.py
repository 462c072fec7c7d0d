from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from bedrock_local import LocalBedrock, ManualClock
from bedrock_routing import Ledger, RoutedClient, collect, remember_documents

Connect = Callable[..., RoutedClient]
POINT = {"cachePoint": {"type": "default"}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text}]}


def cache(reply: dict[str, Any]) -> dict[str, Any]:
    return reply["bedrock_routing"]["cache"]


@pytest.mark.parametrize("place", ["system", "human"])
def test_the_second_question_reads_the_documents(
    bedrock: LocalBedrock, connect: Connect, document: str, place: str
) -> None:
    """Whether a template puts them into the system or the human message, documents are paid for once."""
    client = connect(bedrock, "amazon.nova:1")
    replies = []
    for question in ("Who pays?", "When?"):
        context = f"Use this:\n{document}\n\nAnswer: "
        request = (
            {"system": [{"text": context}], "messages": [user(question)]}
            if place == "system"
            else {"messages": [user(context + question)]}
        )
        replies.append(client.converse(**request))
    sent = bedrock.requests[-1].body
    blocks = sent["system"] if place == "system" else sent["messages"][0]["content"]
    assert blocks[:2] == [{"text": f"Use this:\n{document}"}, POINT]
    assert [cache(reply)["read"] > 2_000 for reply in replies] == [False, True]
    assert cache(replies[0])["write"] == cache(replies[1])["read"]


def test_what_the_caller_wrote_is_not_changed(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """The request's own lists and blocks stay as they were, so that no point ends up in a history."""
    request = {"system": [{"text": document}], "messages": [user(f"{document}\nWho?")]}
    before = deepcopy(request)
    connect(bedrock, "amazon.nova:1").converse(**request)
    assert request == before
    assert POINT in bedrock.requests[-1].body["system"] + bedrock.requests[-1].body["messages"][0]["content"]


def test_a_conversation_reads_what_its_last_turn_wrote(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """In a chat over documents in the system prompt, no turn after the first writes the start again."""
    client = connect(bedrock, "anthropic.claude-sonnet-5")
    messages = [user("Who pays?")]
    system = [{"text": f"Use this:\n{document}\n\n{'Be brief. ' * 400}"}]
    reads = []
    for number in range(5):
        reply = client.converse(system=system, messages=messages)
        reads.append(cache(reply)["read"])
        messages = [*messages, reply["output"]["message"], user(f"And what about number {number}?")]
    assert [read >= 3_000 for read in reads] == [False, True, True, True, True]


@pytest.mark.parametrize(
    "models",
    [
        ["amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"],
        ["anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-sonnet-4-6"],
    ],
    ids=["nova", "claude"],
)
def test_each_model_of_a_router_has_a_cache_of_its_own(
    serve: Callable[..., LocalBedrock], connect: Connect, document: str, models: list[str]
) -> None:
    """A router that alternates writes the documents once per model and reads them from then on."""
    bedrock = serve(routing="alternate")
    client = connect(bedrock, bedrock.create_router("both", models))
    more = document.replace("tenant", "landlord")
    remember_documents([document, more])
    context = [{"text": f"{document}\n{more}"}]
    replies = [client.converse(system=context, messages=[user(f"Question {n}?")]) for n in range(4)]
    assert [cache(reply)["read"] > 0 for reply in replies] == [False, False, True, True]
    assert len({reply["bedrock_routing"]["model"] for reply in replies}) == 2
    assert replies[0]["bedrock_routing"]["model"] == replies[2]["bedrock_routing"]["model"]


def test_an_entry_that_has_expired_is_written_again(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """After more than five minutes without use the next call writes, and the one after it reads."""
    client = connect(bedrock, "amazon.nova:1")
    reads = []
    for wait in (0, 290, 290, 310, 10):
        clock.advance(wait)
        reply = client.converse(system=[{"text": document}], messages=[user(f"After {wait}?")])
        reads.append(cache(reply)["read"] > 0)
    assert reads == [False, True, True, False, True]


def test_the_receipt_says_who_was_asked_and_who_answered(bedrock: LocalBedrock, connect: Connect) -> None:
    """Router, invoked model and its short name stand beside the answer, however the router was named."""
    arn = bedrock.router_arn("amazon.nova:1")
    for name in (arn, "amazon.nova:1", "Nova Prompt Router"):
        receipt = connect(bedrock).converse(modelId=name, messages=[user("Hi?")])["bedrock_routing"]
        assert receipt["router_arn"] == arn
        assert receipt["invoked_model_id"].endswith("inference-profile/us.amazon.nova-lite-v1:0")
        assert (receipt["model"], receipt["complete"]) == ("amazon.nova-lite-v1:0", True)
        assert receipt["cost_usd"] > 0


def test_a_call_straight_to_a_model_names_no_router(bedrock: LocalBedrock, connect: Connect) -> None:
    """Without a router the model that was asked is the one that answered."""
    receipt = connect(bedrock, "us.amazon.nova-pro-v1:0").converse(messages=[user("Hi?")])["bedrock_routing"]
    assert (receipt["router_arn"], receipt["model"]) == (None, "amazon.nova-pro-v1:0")
    assert receipt["invoked_model_id"] == "us.amazon.nova-pro-v1:0"


def test_an_application_profile_is_cached_and_priced_as_its_model(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """What stands behind an application inference profile is looked up, so its calls have a price."""
    client = connect(bedrock, bedrock.create_application_profile("amazon.nova-lite-v1:0"))
    receipts = [
        client.converse(system=[{"text": document}], messages=[user(question)])["bedrock_routing"]
        for question in ("Who?", "When?")
    ]
    assert receipts[1]["cache"]["read"] > 2_000
    assert receipts[1]["model"] == "amazon.nova-lite-v1:0"
    assert receipts[1]["cost_usd"] is not None


def test_an_application_profile_is_known_to_be_warm(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """What a call through a profile wrote is found by the next call through it."""
    client = connect(bedrock, bedrock.create_application_profile("anthropic.claude-sonnet-5"))
    warm = []
    for question in ("Who?", "When?"):
        turn = client._begin({"system": [{"text": document}], "messages": [user(question)]})
        warm.append([point.boundary.warm for point in turn.placed])
        client.converse(system=[{"text": document}], messages=[user(question)])
    assert warm == [[(False,)], [(True,)]]


def test_calls_are_counted_where_they_are_collected(bedrock: LocalBedrock, connect: Connect) -> None:
    """A client's own ledger and the surrounding block both see each call once."""
    own = Ledger()
    client = connect(bedrock, "amazon.nova:1", ledger=own)
    with collect() as block:
        client.converse(messages=[user("Hi?")])
    client.converse(messages=[user("Hi?")])
    assert (own.total.calls, block.total.calls) == (2, 1)


def test_everything_else_is_the_wrapped_clients(bedrock: LocalBedrock) -> None:
    """Methods, metadata and exceptions that are not about Converse are boto3's own."""
    runtime = bedrock.client()
    client = RoutedClient(runtime, model="amazon.nova:1")
    assert client.meta is runtime.meta
    assert client.exceptions.ValidationException is runtime.exceptions.ValidationException
    with pytest.raises(AttributeError):
        client.no_such_method  # noqa: B018


def test_a_client_may_be_made_on_first_use(bedrock: LocalBedrock) -> None:
    """A callable in place of a client is called once, when the first call needs it."""
    made = []

    def make() -> Any:
        made.append(1)
        return bedrock.client()

    client = RoutedClient(make, model="amazon.nova:1")
    assert made == []
    client.converse(messages=[user("Hi?")])
    client.converse(messages=[user("Hi?")])
    assert made == [1]
