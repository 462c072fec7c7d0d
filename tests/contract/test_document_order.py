"""The order of documents through both frameworks: the same order, and less to pay."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainRetriever
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from bedrock_local import FixedAnswer, LocalBedrock
from langchain_bedrock_routing import CachedDocumentsRetriever as LangChainCached
from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter, StableOrderPostprocessor
from llama_index_bedrock_routing import CachedDocumentsRetriever as LlamaIndexCached

CLAUDE = "us.anthropic.claude-sonnet-4-6"
SUBJECTS = ("Tides", "Bridges", "Lanterns", "Orchards", "Glaciers", "Violins")
TEXTS = {
    subject: "\n".join(f"{subject} chapter {number}: {number * 7} careful pages." for number in range(120))
    for subject in SUBJECTS
}
WRITE, READ = 1.25, 0.1

Found = Sequence[Sequence[str]]
Retrieve = Callable[[str], list[str]]


class Documents(LangChainRetriever):
    """Return the documents that a question names, with a score that falls."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [
            Document(page_content=TEXTS[each], id=each, metadata={"score": 1 / rank})
            for rank, each in enumerate(query.split(), start=1)
        ]


class Nodes(LlamaIndexRetriever):
    """Return the nodes that a question names, with a score that falls."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=TextNode(id_=each, text=TEXTS[each]), score=1 / rank)
            for rank, each in enumerate(query_bundle.query_str.split(), start=1)
        ]


def langchain(**settings: Any) -> Retrieve:
    retriever = LangChainCached(retriever=Documents(), **settings)
    return lambda question: [str(each.id) for each in retriever.invoke(question)]


def llama_index(**settings: Any) -> Retrieve:
    retriever = LlamaIndexCached(Nodes(), **settings)
    return lambda question: [each.node.node_id for each in retriever.retrieve(question)]


def postprocessor(**settings: Any) -> Retrieve:
    inner, order = Nodes(), StableOrderPostprocessor(**settings)
    return lambda question: [
        each.node.node_id for each in order.postprocess_nodes(inner.retrieve(question), query_str=question)
    ]


def langchain_sticky(**settings: Any) -> Retrieve:
    return langchain(sticky=True, keep=4, **settings)


def llama_index_sticky(**settings: Any) -> Retrieve:
    return postprocessor(sticky=True, keep=4, **settings)


def questions(seed: int, count: int = 24) -> list[str]:
    """Return questions that name three subjects each, popular ones more often, in no order."""
    chance = random.Random(seed)
    found: list[str] = []
    for _ in range(count):
        left = list(SUBJECTS)
        for _ in SUBJECTS[3:]:
            left.remove(chance.choices(left, [1 + SUBJECTS.index(each) for each in left])[0])
        chance.shuffle(left)
        found.append(" ".join(left))
    return found


@pytest.mark.parametrize(
    "settings",
    [{}, {"order": "stable"}, {"order": "preserve"}, {"preserve_top_k": 1}, {"remembered": 3}],
    ids=str,
)
@pytest.mark.parametrize(
    "ways",
    [(langchain, llama_index, postprocessor), (langchain_sticky, llama_index_sticky)],
    ids=["each question", "sticky"],
)
def test_the_same_order(ways: Sequence[Callable[..., Retrieve]], settings: dict[str, Any]) -> None:
    """The same retrieval is put into the same order, whoever asks, with any setting."""
    orders = [[retrieve(each) for each in questions(1)] for retrieve in (way(**settings) for way in ways)]
    assert orders[0] == orders[1] == orders[-1]
    assert all(set(each.split()) <= set(order) for each, order in zip(questions(1), orders[0], strict=True))


@pytest.fixture
def start() -> Iterator[Callable[[], LocalBedrock]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(LocalBedrock(answers=FixedAnswer("Yes."), tokens="fast"))


def _where(bedrock: LocalBedrock) -> dict[str, Any]:
    return {"region_name": bedrock.region, "endpoint_url": bedrock.endpoint_url}


def with_langchain(bedrock: LocalBedrock, order: str) -> Callable[[str], object]:
    llm = ChatBedrockRouter(model=CLAUDE, **_where(bedrock))
    retriever = LangChainCached(retriever=Documents(), order=order)  # type: ignore[arg-type]

    def ask(question: str) -> object:
        context = "\n\n".join(each.page_content for each in retriever.invoke(question))
        return llm.invoke(f"Use only this:\n\n{context}\n\nWhat of {question}?")

    return ask


def with_llama_index(bedrock: LocalBedrock, order: str) -> Callable[[str], object]:
    llm = BedrockRouter(model=CLAUDE, **_where(bedrock))
    retriever = LlamaIndexCached(Nodes(), order=order)  # type: ignore[arg-type]

    def ask(question: str) -> object:
        context = "\n\n".join(each.node.get_content() for each in retriever.retrieve(question))
        return llm.complete(f"Use only this:\n\n{context}\n\nWhat of {question}?")

    return ask


@pytest.mark.parametrize("framework", [with_langchain, with_llama_index])
def test_a_shared_order_costs_less(
    start: Callable[[], LocalBedrock], framework: Callable[[LocalBedrock, str], Callable[[str], object]]
) -> None:
    """Over overlapping retrieval, the shared order costs far less than the retriever's own, on the wire."""
    costs: dict[str, float] = {}
    for order in ("shared", "preserve"):
        bedrock = start()
        ask = framework(bedrock, order)
        for question in questions(2):
            ask(question)
        costs[order] = _cost(bedrock)
    assert costs["shared"] < 0.75 * costs["preserve"] < 0.75


def _cost(bedrock: LocalBedrock) -> float:
    """Return what the prompts cost in units of no caching, by the tokens on the wire."""
    paid = plain = 0.0
    for each in bedrock.requests:
        usage = each.usage or {}
        kinds = ("inputTokens", "cacheWriteInputTokens", "cacheReadInputTokens")
        fresh, written, read = (usage.get(kind, 0) for kind in kinds)
        paid += fresh + WRITE * written + READ * read
        plain += fresh + written + read
    return paid / plain
