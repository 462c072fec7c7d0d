"""A LangChain agent with a search tool, asked through a prompt router; each step reads what is cached.

python examples/agent.py            # a local Bedrock answers, nothing to configure
python examples/agent.py us-east-1  # AWS, with your credentials: this costs money
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import create_retriever_tool
from langgraph.checkpoint.memory import InMemorySaver

from bedrock_local import LocalBedrock
from bedrock_routing.cli.reading import read_files
from bedrock_routing.cli.retrieval import HybridRetriever
from langchain_bedrock_routing import BedrockRoutingMiddleware, ChatBedrockRouter, routing_usage

GUIDES = Path(__file__).parent / "documents"
QUESTIONS = (
    "Search the guides: which service turns text into speech?",
    "Search them again: which one turns speech into text?",
)


def main(region: str | None = None) -> None:
    """Ask two questions in one conversation and print who answered each step, and the table of all."""
    documents = read_files(sorted(GUIDES.glob("*.pdf"))).documents
    search = create_retriever_tool(
        HybridRetriever.from_documents(documents, k=6),
        "search_guides",
        "Search the guides to AWS's services.",
    )
    with LocalBedrock() if region is None else nullcontext() as bedrock, routing_usage() as usage:
        agent = create_agent(
            ChatBedrockRouter(model="amazon.nova:1", **_where(bedrock, region)),
            [search],
            system_prompt="Search the guides, then answer in one sentence.",
            middleware=[BedrockRoutingMiddleware()],
            checkpointer=InMemorySaver(),
        )
        thread: Any = {"configurable": {"thread_id": "1"}}
        for question in QUESTIONS:
            done = agent.invoke({"messages": [("human", question)]}, thread)
        for message in done["messages"]:
            if isinstance(message, AIMessage):
                receipt = message.response_metadata["bedrock_routing"]
                decided_by = receipt["decided_by"].partition(":")[0]
                did = message.text or ", ".join(call["name"] for call in message.tool_calls)
                print(f"{receipt['model']} (decided by: {decided_by}): {did}\n")
        print(usage)


def _where(bedrock: LocalBedrock | None, region: str | None) -> dict[str, Any]:
    if bedrock is None:
        return {"region_name": region}
    local = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return {"region_name": bedrock.region, "endpoint_url": bedrock.endpoint_url, **local}


if __name__ == "__main__":
    main(*sys.argv[1:2])
