"""Wide tool turns, as each framework's own agent makes them: no step loses what the one before cached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import StructuredTool
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import AffinityPolicy, Receipt
from langchain_bedrock_routing import ChatBedrockRouter
from langchain_bedrock_routing import routing_usage as langchain_usage
from llama_index_bedrock_routing import BedrockRouter
from llama_index_bedrock_routing import routing_usage as llama_index_usage

pytest.importorskip("langchain.agents")

from langchain.agents import create_agent

from langchain_bedrock_routing import BedrockRoutingMiddleware

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SYSTEM = "You answer from the pages of the lighthouse. " * 150
QUESTIONS = ("What do the pages say?", "And what else do they say?", "Is that all?")
WIDTH = 30
NAMES = [f"page_{number}" for number in range(WIDTH)]
CALLS: dict[str, Mapping[str, Any]] = {name: {"line": "first"} for name in NAMES}

Usages = list[tuple[int, int]]
"""What each call read, and what it read or wrote."""


def page_of(name: str) -> Callable[[str], str]:
    def page(line: str) -> str:
        return f"{name}, {line} line: the keeper wrote careful pages. " * 6

    return page


LOCKED = AffinityPolicy(lock_tools=True)


def langchain(model: str, endpoint: str) -> Sequence[Receipt]:
    """Ask an agent of LangChain, whose middleware locks tool calls."""
    llm = ChatBedrockRouter(model=model, region_name="us-east-1", endpoint_url=endpoint, max_retries=0)
    tools = [StructuredTool.from_function(page_of(name), name=name, description=name) for name in NAMES]
    agent = create_agent(llm, tools, system_prompt=SYSTEM, middleware=[BedrockRoutingMiddleware()])
    messages: list[Any] = []
    with langchain_usage() as usage:
        for question in QUESTIONS:
            messages = agent.invoke({"messages": [*messages, HumanMessage(question)]})["messages"]
    return usage.receipts


def llama_index(model: str, endpoint: str) -> Sequence[Receipt]:
    """Ask a FunctionAgent of LlamaIndex, whose LLM locks tool calls."""
    connection = {"region_name": "us-east-1", "endpoint_url": endpoint, "max_retries": 0}
    llm = BedrockRouter(model=model, affinity=LOCKED, **connection)
    pages = [(name, page_of(name)) for name in NAMES]
    tools: list[Any] = [FunctionTool.from_defaults(page, name=name, description=name) for name, page in pages]
    agent = FunctionAgent(tools=tools, llm=llm, system_prompt=SYSTEM)

    async def ask_all() -> None:
        memory = ChatMemoryBuffer.from_defaults(token_limit=1_000_000)
        for question in QUESTIONS:
            await agent.run(question, memory=memory)

    with llama_index_usage() as usage:
        asyncio.run(ask_all())
    return usage.receipts


def usages(receipts: Sequence[Receipt]) -> Usages:
    assert all(each.usage for each in receipts)
    return [(each.usage.read, each.usage.read + each.usage.write) for each in receipts if each.usage]


FRAMEWORKS = (langchain, llama_index)


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    with LocalBedrock(answers=FixedAnswer("The pages say a lot. " * 9, tool_calls=CALLS)) as local:
        local.create_router("pair", [CLAUDE, HAIKU])
        yield local


def results(body: Mapping[str, Any]) -> list[int]:
    """Return how many tool results each message brings."""
    return [sum("toolResult" in block for block in message["content"]) for message in body["messages"]]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("model", [CLAUDE, "pair"])
def test_a_wide_turn_keeps_the_cache(bedrock: LocalBedrock, framework: Any, model: str) -> None:
    """Thirty calls and thirty results are more than Claude looks back; all that was cached is read."""
    seen = usages(framework(model, bedrock.endpoint_url))
    bodies = [each.body for each in bedrock.requests if each.operation.startswith("Converse")]
    assert [results(each)[-1] for each in bodies] == [0, WIDTH] * len(QUESTIONS)
    assert [later[0] for _, later in pairwise(seen)] == [held for _, held in seen[:-1]]
    assert seen[-1][0] > 6_000


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_wide_turn_of_nova(bedrock: LocalBedrock, framework: Any) -> None:
    """Nova takes no point after results: they are written with the next question, and read from then on."""
    seen = usages(framework("amazon.nova:1", bedrock.endpoint_url))
    assert [later[0] for _, later in pairwise(seen)] == [held for _, held in seen[:-1]]
    for asked, answered in zip(seen[2::2], seen[3::2], strict=True):
        assert asked[1] - asked[0] > 2_000
        assert answered == (asked[1], asked[1])


@pytest.mark.parametrize("model", [CLAUDE, "amazon.nova:1"])
def test_both_agents_keep_as_much(model: str) -> None:
    """Both frameworks' agents read and write the same tokens, step by step."""
    seen: list[Usages] = []
    for framework in FRAMEWORKS:
        with LocalBedrock(answers=FixedAnswer("The pages say a lot. " * 9, tool_calls=CALLS)) as bedrock:
            seen.append(usages(framework(model, bedrock.endpoint_url)))
    for one, other in zip(*seen, strict=True):
        assert one == pytest.approx(other, rel=0.1)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_lock_holds_under_a_router_that_alternates(framework: Any) -> None:
    """Each result goes to the model that asked for it and reads all that is cached; questions are routed."""
    answers = FixedAnswer("The pages say a lot. " * 9, tool_calls=CALLS)
    with LocalBedrock(answers=answers, routing="alternate") as bedrock:
        arn = bedrock.create_router("pair", [CLAUDE, HAIKU])
        receipts = framework("pair", bedrock.endpoint_url)
        asked = [each.model_id or "" for each in bedrock.requests if each.operation.startswith("Converse")]
    calls = [each if each == arn else each.rpartition("/")[2] for each in asked]
    assert calls == [arn, CLAUDE, arn, HAIKU, arn, CLAUDE]
    assert {each.router_arn for each in receipts} == {arn}
    assert [each.decided_by.partition(":")[0] for each in receipts] == ["router", "tool lock"] * 3
    assert [each.router_choice is None for each in receipts] == [False, True] * 3
    seen = usages(receipts)
    assert [seen[number + 1][0] for number in (0, 2, 4)] == [seen[number][1] for number in (0, 2, 4)]
