"""The same cases through both frameworks: the same wire, the same receipt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever as LangChainRetriever
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexRetriever
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import IncompleteStreamError
from langchain_bedrock_routing import CachedDocumentsRetriever as LangChainCached
from langchain_bedrock_routing import ChatBedrockRouter
from langchain_bedrock_routing import routing_usage as langchain_usage
from llama_index_bedrock_routing import BedrockRouter, CachePolicy
from llama_index_bedrock_routing import CachedDocumentsRetriever as LlamaIndexCached
from llama_index_bedrock_routing import routing_usage as llama_index_usage

NOVA = ["amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
TEXTS = [
    "\n".join(f"{subject} chapter {number}: {number * 7} careful pages." for number in range(60))
    for subject in ("Tides", "Bridges", "Lanterns", "Orchards")
]
SHUFFLED = [TEXTS[index] for index in (2, 0, 3, 1)]
QUESTIONS = ("How many pages are there?", "Who wrote them?", "Where are they kept?")
TOOL = {"name": "look", "description": "Look.", "inputSchema": {"json": {"type": "object", "properties": {}}}}

Receipts = list[Mapping[str, Any]]


class DocumentList(LangChainRetriever):
    """Return the texts as LangChain's documents."""

    texts: Sequence[str] = TEXTS

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        texts = SHUFFLED if "shuffled" in query else self.texts
        return [Document(page_content=each) for each in texts]


class NodeList(LlamaIndexRetriever):
    """Return the texts as LlamaIndex's nodes."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        texts = SHUFFLED if "shuffled" in query_bundle.query_str else TEXTS
        return [NodeWithScore(node=TextNode(id_=each[:5], text=each)) for each in texts]


class LangChain:
    """Do each case with LangChain."""

    usage = staticmethod(langchain_usage)

    def __init__(self, endpoint: str, model: str, **settings: Any) -> None:
        self.llm = ChatBedrockRouter(
            model=model, region_name="us-east-1", endpoint_url=endpoint, max_retries=0, **settings
        )
        self.retriever: Any = LangChainCached(retriever=DocumentList())

    def ask(self, system: str, user: str, question: str, *, stream: bool) -> Mapping[str, Any]:
        """Retrieve, ask, and return the receipt."""
        context = "\n\n".join(each.page_content for each in self.retriever.invoke(question))
        messages = [
            SystemMessage(system.format(context=context)),
            HumanMessage(user.format(context=context, question=question)),
        ]
        if stream:
            whole: Any = None
            for chunk in self.llm.stream(messages):
                whole = chunk if whole is None else whole + chunk
            return whole.response_metadata["bedrock_routing"]
        return self.llm.invoke(messages).response_metadata["bedrock_routing"]

    def loop(self) -> None:
        """Send a tool result that holds the documents."""
        call = {"name": "look", "args": {}, "id": "1", "type": "tool_call"}
        result = ToolMessage("\n\n".join(TEXTS), tool_call_id="1")
        messages = [HumanMessage("Look."), AIMessage("", tool_calls=[call]), result]
        self.llm.bind_tools([{"toolSpec": TOOL}]).invoke(messages)


class LlamaIndex:
    """Do each case with LlamaIndex."""

    usage = staticmethod(llama_index_usage)

    def __init__(self, endpoint: str, model: str, **settings: Any) -> None:
        self.llm = BedrockRouter(
            model=model, region_name="us-east-1", endpoint_url=endpoint, max_retries=0, **settings
        )
        self.retriever: Any = LlamaIndexCached(NodeList())

    def ask(self, system: str, user: str, question: str, *, stream: bool) -> Mapping[str, Any]:
        """Retrieve, ask, and return the receipt."""
        nodes = self.retriever.retrieve(question)
        context = "\n\n".join(each.node.get_content(MetadataMode.LLM) for each in nodes)
        template = ChatPromptTemplate.from_messages([("system", system), ("user", user)])
        messages = template.format_messages(context=context, question=question)
        response = list(self.llm.stream_chat(messages))[-1] if stream else self.llm.chat(messages)
        return response.additional_kwargs["bedrock_routing"]

    def loop(self) -> None:
        """Send a tool result that holds the documents."""
        call = {"block_type": "tool_call", "tool_call_id": "1", "tool_name": "look", "tool_kwargs": {}}
        result = ChatMessage(role="tool", content="\n\n".join(TEXTS), additional_kwargs={"tool_call_id": "1"})
        messages = [
            ChatMessage(role="user", content="Look."),
            ChatMessage(role="assistant", blocks=[call]),
            result,
        ]
        self.llm.chat(messages, tools={"tools": [{"toolSpec": TOOL}]})


FRAMEWORKS: tuple[type[Any], ...] = (LangChain, LlamaIndex)
PROMPTS = {
    "system": ("Use only this:\n\n{context}\n\nAnswer briefly.", "{question}"),
    "user": ("Answer briefly.", "Context:\n{context}\n\nQuestion: {question}"),
}


@pytest.fixture
def services() -> Iterator[Callable[[], LocalBedrock]]:
    """Give each framework a service of its own, whose caches are cold."""
    running: list[LocalBedrock] = []

    def start() -> LocalBedrock:
        running.append(LocalBedrock(answers=FixedAnswer()).start())
        return running[-1]

    yield start
    for each in running:
        each.stop()


Start = Callable[[], LocalBedrock]


def prompt_of(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body.get(name) for name in ("system", "messages")}


def numbers(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receipt without what differs from call to call."""
    return {name: value for name, value in receipt.items() if name != "latency_ms"}


@pytest.mark.parametrize("where", PROMPTS)
@pytest.mark.parametrize("model", ["amazon.nova:1", "team-router", CLAUDE])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_wire_and_the_same_receipt(services: Start, where: str, model: str, stream: bool) -> None:
    """Same documents, same questions: the point at the same place, the same tokens, money and model."""
    seen: list[tuple[list[Any], Receipts]] = []
    for framework in FRAMEWORKS:
        bedrock = services()
        bedrock.create_router("team-router", NOVA)
        asker = framework(bedrock.endpoint_url, model)
        receipts = [asker.ask(*PROMPTS[where], each, stream=stream) for each in QUESTIONS]
        bodies = [each.body for each in bedrock.requests if each.operation.startswith("Converse")]
        seen.append(([prompt_of(each) for each in bodies], [numbers(each) for each in receipts]))
    assert seen[0][0] == seen[1][0]
    assert strip_arn(seen[0][1]) == strip_arn(seen[1][1])
    first, second, third = seen[1][1]
    assert first["cache"]["write"] > 1_000
    assert second["cache"]["read"] == third["cache"]["read"] == first["cache"]["write"]


def strip_arn(receipts: Receipts) -> Receipts:
    """Leave out a custom router's own ARN, which is made anew for each service."""
    return [{name: value for name, value in each.items() if name != "router_arn"} for each in receipts]


def test_a_shuffled_retrieval(services: Start) -> None:
    """Both retrievers give the same documents in another order the same order again."""
    reads: list[int] = []
    for framework in FRAMEWORKS:
        asker = framework(services().endpoint_url, NOVA[0])
        first = asker.ask(*PROMPTS["user"], "How many?", stream=False)
        second = asker.ask(*PROMPTS["user"], "How many, shuffled?", stream=False)
        assert second["cache"]["read"] == first["cache"]["write"]
        reads.append(second["cache"]["read"])
    assert reads[0] == reads[1] > 1_000


@pytest.mark.parametrize("cache", [False, CachePolicy(documents=False, history=False), CachePolicy(ttl="1h")])
def test_the_same_policy(services: Start, cache: CachePolicy | bool) -> None:
    """A policy means the same in both: no points, points elsewhere, another lifetime."""
    bodies: list[Any] = []
    for framework in FRAMEWORKS:
        bedrock = services()
        framework(bedrock.endpoint_url, CLAUDE, cache=cache).ask(*PROMPTS["system"], "How?", stream=False)
        bodies.append(prompt_of(bedrock.requests[-1].body))
    assert bodies[0] == bodies[1]
    assert ("cachePoint" in str(bodies[1])) is (cache == CachePolicy(ttl="1h"))


def test_a_tool_loop(services: Start) -> None:
    """After a tool result the point stands beside it, at the same place."""
    points: list[Any] = []
    for framework in FRAMEWORKS:
        bedrock = services()
        framework(bedrock.endpoint_url, CLAUDE).loop()
        turns = bedrock.requests[-1].body["messages"]
        points.append([[next(iter(block)) for block in turn["content"]] for turn in turns])
    assert points[0] == points[1] == [["text"], ["toolUse"], ["toolResult", "cachePoint"]]


def test_usage_of_a_block(services: Start) -> None:
    """Both routing_usage blocks add the same numbers up."""
    totals: list[Any] = []
    for framework in FRAMEWORKS:
        asker = framework(services().endpoint_url, "amazon.nova:1")
        with framework.usage() as usage:
            for each in QUESTIONS:
                asker.ask(*PROMPTS["user"], each, stream=False)
        totals.append((usage.total, usage.per_model))
    assert totals[0] == totals[1]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_same_errors(services: Start, framework: type[Any]) -> None:
    """A refusal of the service is botocore's ClientError; a stream that is cut is IncompleteStreamError."""
    bedrock = services()
    asker = framework(bedrock.endpoint_url, NOVA[0])
    bedrock.fail(Fault.error("ValidationException", "No."), operation="Converse")
    with pytest.raises(ClientError):
        asker.ask(*PROMPTS["user"], "How?", stream=False)
    bedrock.fail(Fault(kind="cut"), operation="ConverseStream")
    with pytest.raises(IncompleteStreamError):
        asker.ask(*PROMPTS["user"], "How?", stream=True)
