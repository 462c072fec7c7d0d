"""Turns that lie further back: what a model still has of a conversation is read when it is asked again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bedrock_local import LocalBedrock
from bedrock_routing import Ledger, RoutedClient

Serve = Callable[..., LocalBedrock]
Connect = Callable[..., RoutedClient]
Wire = dict[str, Any]

SYSTEM = [{"text": "You answer from pages. " * 300}]
TOOLS = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]}
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def say(role: str, text: str) -> Wire:
    return {"role": role, "content": [{"text": text}]}


def rounds(name: str, *widths: int) -> list[Wire]:
    """Return rounds of tool calls and their results."""
    found: list[Wire] = []
    for number, width in enumerate(widths):
        ids = [f"{name}-{number}-{each}" for each in range(width)]
        calls = [{"toolUse": {"toolUseId": each, "name": "look", "input": {}}} for each in ids]
        results = [
            {"toolResult": {"toolUseId": each, "content": [{"text": f"Page {each}. " * 20}]}} for each in ids
        ]
        found += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    return found


def test_a_model_that_a_router_comes_back_to_reads_what_it_had(serve: Serve, connect: Connect) -> None:
    """Nova looks back at nothing: the end of the turn that a model answered last is asked for again."""
    bedrock = serve(routing=["small", "small", *["large"] * 5, "small"])
    ledger = Ledger()
    client = connect(bedrock, "amazon.nova:1", ledger=ledger)
    messages: list[Wire] = []
    for number in range(8):
        messages.append(say("user", f"Question {number}? " * 100))
        client.converse(system=SYSTEM, messages=messages)
        messages.append(say("assistant", "An answer. " * 100))
    usages = [each.usage for each in ledger.receipts]
    assert all(usages)
    small, again = usages[1], usages[-1]
    assert small
    assert again
    assert again.read == small.read + small.write
    assert all(len(each.points) <= 4 for each in ledger.receipts)


def test_rounds_that_others_added_do_not_lose_the_conversation(serve: Serve, connect: Connect) -> None:
    """Where other agents added rounds to a shared history, what was cached is read, and these are added."""
    ledger = Ledger()
    client = connect(serve(), CLAUDE, ledger=ledger)
    messages = [say("user", "Look at all pages. " * 300)]
    for added in ([], rounds("own", 2), rounds("other", 12, 12, 12, 12), rounds("last", 1)):
        messages = [*messages, *added]
        client.converse(system=SYSTEM, messages=messages, toolConfig=TOOLS)
    first, own, shared, last = (each.usage for each in ledger.receipts)
    assert first
    assert own
    assert shared
    assert last
    assert own.read == first.write
    assert shared.read == own.read + own.write
    assert last.read == shared.read + shared.write


def test_a_long_conversation_has_few_points_at_its_end(serve: Serve, connect: Connect) -> None:
    """Of many turns that are all cached no more than the newest keep their points."""
    bedrock = serve()
    client = connect(bedrock, CLAUDE)
    messages: list[Wire] = [say("user", "Tell me a story. " * 300)]
    for number in range(20):
        client.converse(system=SYSTEM, messages=messages)
        messages = [*messages, say("assistant", "A part. " * 30), say("user", f"Go on, {number}.")]
    body = bedrock.requests[-1].body
    pointed = [
        number for number, each in enumerate(body["messages"]) if {"cachePoint"} in map(set, each["content"])
    ]
    assert pointed == [34, 36, 38]
