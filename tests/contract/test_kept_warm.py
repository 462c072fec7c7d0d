"""Prefixes of calls through either framework are kept warm where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from llama_index.core.llms import ChatMessage

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import KeepWarm, collect, remember_documents
from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TEXT = "\n".join(f"Tides chapter {number}: {number * 7} careful pages." for number in range(200))
DUE_AT_ONCE = 299.999
"""Seconds before its end from which on an entry is due: just after the call, so that no test has to wait."""

Ask = Callable[[str], None]


def langchain(url: str, *, stream: bool) -> Ask:
    llm = ChatBedrockRouter(model=CLAUDE, region_name="us-east-1", endpoint_url=url)

    def ask(question: str) -> None:
        messages = [SystemMessage(TEXT), HumanMessage(question)]
        _ = list(llm.stream(messages)) if stream else llm.invoke(messages)

    return ask


def llama_index(url: str, *, stream: bool) -> Ask:
    llm = BedrockRouter(model=CLAUDE, region_name="us-east-1", endpoint_url=url)

    def ask(question: str) -> None:
        messages = [
            ChatMessage(role="system", content=TEXT),
            ChatMessage(role="user", content=question),
        ]
        _: Any = list(llm.stream_chat(messages)) if stream else llm.chat(messages)

    return ask


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    with LocalBedrock(answers=FixedAnswer(), tokens="fast") as running:
        yield running


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("make", [langchain, llama_index])
def test_calls_through_a_framework_are_kept_warm(
    bedrock: LocalBedrock, make: Callable[..., Ask], stream: bool
) -> None:
    """Inside the block the prefix of a chain's call is asked for again, and the ping is in its ledger."""
    remember_documents([TEXT])
    ask = make(bedrock.endpoint_url, stream=stream)
    with collect() as ledger, KeepWarm(margin=DUE_AT_ONCE, thread=False) as warm:
        ask("How many pages are there?")
        while not warm.ledger.receipts:
            warm.tend()
    first, ping = [each for each in bedrock.requests if each.operation.startswith("Converse")][:2]
    assert first.usage is not None
    assert ping.usage is not None
    assert ping.usage["cacheReadInputTokens"] == first.usage["cacheWriteInputTokens"] > 0
    assert [each.purpose for each in ledger.receipts][:2] == [None, "ping"]
