"""An agent that looks at pages, and the calls that it makes, for the tests of agents."""

from collections.abc import Callable, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import BaseTool, tool

from bedrock_local import LocalBedrock
from bedrock_routing import Receipt
from langchain_bedrock_routing import BedrockRoutingMiddleware, ChatBedrockRouter, routing_usage

CLAUDE, HAIKU = (
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.anthropic.claude-haiku-4-5-20251001-v1:0",
)
PAIR = [CLAUDE, HAIKU]
SYSTEM = "You answer from the pages of the lighthouse. " * 150
FIRST, SECOND = "What do the pages say of the tide?", "And what do they say of the bridge?"

Serve = Callable[..., LocalBedrock]


@tool
def look(query: str) -> str:
    """Look at a page."""
    return f"{query}: the keeper of tides wrote careful lines. " * 12


@tool
def fetch(query: str) -> str:
    """Fetch a page from the tower."""
    return f"{query}: fetched"


@tool
def admire(query: str) -> str:
    """Admire a page."""
    return f"{query}: admired"


def model_of(bedrock: LocalBedrock, model: str, **settings: Any) -> ChatBedrockRouter:
    return ChatBedrockRouter(
        model=model, region_name="us-east-1", endpoint_url=bedrock.endpoint_url, max_retries=0, **settings
    )


def agent_of(
    llm: Any,
    tools: Sequence[BaseTool | dict[str, Any]] = (look,),
    *more: AgentMiddleware,
    middleware: AgentMiddleware | None = None,
    **settings: Any,
) -> Any:
    ours = BedrockRoutingMiddleware() if middleware is None else middleware
    return create_agent(llm, [*tools], system_prompt=SYSTEM, middleware=[*more, ours], **settings)


def talk(agent: Any, *questions: str) -> tuple[list[BaseMessage], Sequence[Receipt]]:
    """Ask one question after the other in one conversation."""
    messages: list[BaseMessage] = []
    with routing_usage() as usage:
        for question in questions:
            messages = agent.invoke({"messages": [*messages, HumanMessage(question)]})["messages"]
    return messages, usage.receipts


def usages(receipts: Sequence[Receipt]) -> list[tuple[int, int]]:
    """Return what each call read, and read or wrote."""
    assert all(each.usage for each in receipts)
    return [(each.usage.read, each.usage.read + each.usage.write) for each in receipts if each.usage]
