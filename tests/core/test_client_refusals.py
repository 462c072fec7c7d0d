from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bedrock_local import Fault, LocalBedrock, ManualClock
from bedrock_routing import CacheRules, Catalog, ModelFacts, RoutedClient

Connect = Callable[..., RoutedClient]
POINT = {"cachePoint": {"type": "default"}}
LLAMA = "meta.llama3-1-8b-instruct-v1:0"
SONNET = "anthropic.claude-sonnet-5"
E1 = (
    "You invoked an unsupported model or your request did not allow prompt caching. "
    "See the documentation for more information."
)
EVERYWHERE = CacheRules(min_tokens=1, sections=frozenset({"tools", "system", "messages"}))
BELIEVER = Catalog.default().with_models(
    ModelFacts(id=LLAMA, cache=EVERYWHERE), ModelFacts(id="amazon.nova-lite", cache=EVERYWHERE)
)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text}]}


def outcomes(bedrock: LocalBedrock) -> list[tuple[bool, str | None]]:
    """Return, for each call to a model, whether a point went out and which error came back."""
    return [
        ("cachePoint" in str(each.body), each.error)
        for each in bedrock.requests
        if each.operation.startswith("Converse")
    ]


def test_a_refused_point_is_dropped_and_remembered(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """A model that takes no points is asked again once without, and from then on without."""
    client = connect(bedrock, LLAMA, catalog=BELIEVER)
    replies = [client.converse(system=[{"text": document}, POINT], messages=[user("Who?")]) for _ in range(3)]
    assert outcomes(bedrock) == [(True, "AccessDeniedException"), (False, None), (False, None), (False, None)]
    skipped = replies[0]["bedrock_routing"]["cache"]["skipped"]
    assert {"path": "system.1", "reason": f"refused by the service: {E1}"} in skipped
    assert replies[0]["bedrock_routing"]["cache"]["points"] == []


def test_a_retry_sends_what_the_caller_wrote(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """Without its points the second request is whole: no text is lost, no block is left out."""
    client = connect(bedrock, SONNET)
    bedrock.fail(Fault.error("AccessDeniedException", E1), operation="Converse")
    client.converse(messages=[user(f"Use this:\n{document}\nWho pays?")])
    sent = bedrock.requests[-1].body["messages"][0]["content"]
    assert "".join(block["text"] for block in sent) == f"Use this:\n{document}\nWho pays?"


def test_a_refusal_is_believed_for_a_day(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Models gain abilities, so a point is tried again after 24 hours."""
    client = connect(bedrock, LLAMA, catalog=BELIEVER)
    request = {"system": [{"text": document}, POINT], "messages": [user("Who?")]}
    client.converse(**request)
    clock.advance(23 * 3_600)
    client.converse(**request)
    clock.advance(2 * 3_600)
    client.converse(**request)
    assert [error for _, error in outcomes(bedrock)] == [
        "AccessDeniedException",
        None,
        None,
        "AccessDeniedException",
        None,
    ]


def test_a_refusal_in_one_section_leaves_the_others(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """Nova refuses points in tools; the next call still caches the system prompt."""
    client = connect(bedrock, "amazon.nova-lite-v1:0", catalog=BELIEVER)
    tool = {"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}
    request = {
        "toolConfig": {"tools": [tool, POINT]},
        "system": [{"text": document}],
        "messages": [user("Who?")],
    }
    client.converse(**request)
    reply = client.converse(**request)
    assert [error for _, error in outcomes(bedrock)] == ["ValidationException", None, None]
    assert reply["bedrock_routing"]["cache"]["points"][0] == "system.1"


@pytest.mark.parametrize("given", [None, "models"])
def test_a_router_without_caching_is_called_without_points(
    bedrock: LocalBedrock, connect: Connect, document: str, given: str | None
) -> None:
    """Every call to the Llama router succeeds at once, as the catalog knows that it takes no points."""
    client = connect(bedrock, "meta.llama:1", models=[LLAMA] if given else None)
    for number in range(3):
        client.converse(system=[{"text": document}, POINT], messages=[user(f"{number}?")])
    assert outcomes(bedrock) == [(False, None)] * 3


def test_a_mixed_pair_is_called_without_points(
    serve: Callable[..., LocalBedrock], connect: Connect, document: str
) -> None:
    """Where only one of two models caches, no point goes out, since the other would fail the call."""
    bedrock = serve(routing="alternate")
    client = connect(bedrock, bedrock.create_router("mixed", ["amazon.nova-lite-v1:0", LLAMA]))
    for number in range(4):
        client.converse(system=[{"text": document}], messages=[user(f"{number}?")])
    assert outcomes(bedrock) == [(False, None)] * 4


def test_an_unknown_model_keeps_the_points_of_the_caller(
    serve: Callable[..., LocalBedrock], connect: Connect, document: str
) -> None:
    """A model that the catalog does not list gets no automatic points; the caller's are tried once."""
    facts = ModelFacts(id="acme.thinker-9", cache=None)
    bedrock = serve(extra_models=[facts])
    client = connect(bedrock, "acme.thinker-9-v1:0")
    client.converse(system=[{"text": document}], messages=[user("Who?")])
    for number in range(3):
        client.converse(system=[{"text": document}, POINT], messages=[user(f"{number}?")])
    assert outcomes(bedrock)[:3] == [(False, None), (True, "AccessDeniedException"), (False, None)]
    assert outcomes(bedrock)[3:] == [(False, None), (False, None)]


def test_a_router_that_refuses_all_points_is_refused_once(
    serve: Callable[..., LocalBedrock], connect: Connect, document: str
) -> None:
    """If the service takes no points under a router at all, one call learns it for all."""
    bedrock = serve(points_under_router="refuse")
    client = connect(bedrock, "amazon.nova:1")
    for number in range(3):
        client.converse(system=[{"text": document}], messages=[user(f"{number}?")])
    assert [error is not None for _, error in outcomes(bedrock)] == [True, False, False, False]


def test_a_router_that_strips_points_costs_nothing(
    serve: Callable[..., LocalBedrock], connect: Connect, document: str
) -> None:
    """If the service removes points under a router, calls succeed and nothing was read."""
    bedrock = serve(points_under_router="strip")
    client = connect(bedrock, "amazon.nova:1")
    replies = [client.converse(system=[{"text": document}], messages=[user(f"{n}?")]) for n in range(2)]
    assert [reply["bedrock_routing"]["cache"]["read"] for reply in replies] == [0, 0]
    assert [error for _, error in outcomes(bedrock)] == [None, None]


def test_missing_rights_are_not_taken_for_a_refusal(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """A 403 that does not speak of caching is an error of its own: nothing is retried, nothing remembered."""
    client = connect(bedrock, SONNET)
    bedrock.fail(Fault.denied("InvokeModel", SONNET), operation="Converse")
    with pytest.raises(client.exceptions.AccessDeniedException):
        client.converse(system=[{"text": document}], messages=[user("Who?")])
    client.converse(system=[{"text": document}], messages=[user("Who?")])
    assert outcomes(bedrock) == [(True, "AccessDeniedException"), (True, None)]


def test_an_error_after_a_refusal_is_explained_too(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """The second attempt is a call like any other: its errors carry the same notes."""
    client = connect(bedrock, SONNET)
    bedrock.fail(Fault.error("AccessDeniedException", E1), operation="Converse")
    bedrock.fail(Fault.throttling(), operation="Converse")
    with pytest.raises(client.exceptions.ThrottlingException) as caught:
        client.converse(system=[{"text": document}], messages=[user("Who?")])
    assert "quota" in " ".join(getattr(caught.value, "__notes__", []))


def test_a_misplaced_point_of_one_request_does_not_end_caching_for_others(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """A point that a caller with `cache=False` put first in its list says nothing about the model."""
    connect(bedrock, SONNET, cache=False).converse(
        system=[POINT, {"text": document}], messages=[user("Who?")]
    )
    reply = connect(bedrock, SONNET).converse(system=[{"text": document}], messages=[user("Who?")])
    assert reply["bedrock_routing"]["cache"]["points"] == ["system.1"]
