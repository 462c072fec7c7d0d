"""Receipts through callbacks and through a block."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableParallel
from langchain_support import DOCUMENTS, LITE, PRO, ListRetriever

import langchain_bedrock_routing.callbacks as ours
from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import MissingExtraError
from langchain_bedrock_routing import BedrockRoutingCallbackHandler, ChatBedrockRouter, routing_usage

Make = Callable[..., ChatBedrockRouter]


def test_handler_collects_every_way_to_ask(make_llm: Make) -> None:
    """The handler has one receipt per call, whether it was waited for, awaited, streamed or batched."""
    handler = BedrockRoutingCallbackHandler()
    llm, config = make_llm(), {"callbacks": [handler]}
    assert handler.last is None

    async def ask() -> None:
        await llm.ainvoke("Hello", config)
        assert [chunk async for chunk in llm.astream("Hello", config)]

    llm.invoke("Hello", config)
    list(llm.stream("Hello", config))
    llm.batch(["Hello", "Good evening"], config)
    asyncio.run(ask())
    assert len(handler.receipts) == handler.ledger.total.calls == 6
    assert {each.model for each in handler.receipts} == {LITE}
    assert handler.last == handler.receipts[-1]


def test_handler_does_not_count_answers_from_a_cache(make_llm: Make, bedrock: LocalBedrock) -> None:
    """An answer that LangChain's own cache repeats was paid for once and is counted once."""
    handler = BedrockRoutingCallbackHandler()
    llm = make_llm(cache=InMemoryCache())
    for _ in range(3):
        llm.invoke("Hello", {"callbacks": [handler]})
    assert len([each for each in bedrock.requests if each.operation == "Converse"]) == 1
    assert len(handler.receipts) == 1


def test_handler_ignores_other_models() -> None:
    """Answers without a receipt are not counted."""
    handler = BedrockRoutingCallbackHandler()
    FakeListChatModel(responses=["Hi"]).invoke("Hello", {"callbacks": [handler]})
    assert handler.receipts == ()


def test_block_counts_a_chain(make_llm: Make) -> None:
    """A block counts the calls of chains, in threads too, and only those made inside."""
    chain = RunnableParallel(
        one=ChatPromptTemplate.from_template("{x}") | make_llm(),
        two=ChatPromptTemplate.from_template("{x}!") | make_llm(),
    )
    chain.invoke({"x": "before"})
    with routing_usage() as usage:
        chain.invoke({"x": "inside"})
        chain.batch([{"x": "a"}, {"x": "b"}])
    chain.invoke({"x": "after"})
    assert usage.total.calls == 6


async def test_blocks_nest(make_llm: Make) -> None:
    """An outer block counts what an inner one counts, and more."""
    llm = make_llm()
    with routing_usage() as outer:
        await llm.ainvoke("Hello")
        with routing_usage() as inner:
            await asyncio.gather(llm.ainvoke("Hello"), llm.ainvoke("Good evening"))
            assert [chunk async for chunk in llm.astream("Hello")]
    assert (outer.total.calls, inner.total.calls) == (4, 3)


def test_table(make_llm: Make) -> None:
    """What a block yields prints as a table with a row per model that really answered."""
    with LocalBedrock(answers=FixedAnswer(), routing="alternate") as bedrock, routing_usage() as usage:
        make_llm(endpoint_url=bedrock.endpoint_url).batch(["Hello", "Good evening"])
    rows = str(usage).splitlines()
    assert rows[0].split() == ["model", "calls", "fresh", "read", "written", "out", "cost", "saved"]
    assert {row.split()[0] for row in rows[2:]} == {LITE, PRO, "total"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(ours, "remember_documents", texts.extend)
    return texts


def test_watcher_hears_retrievers(told: list[str]) -> None:
    """Every retriever's documents are told, without any callback of the caller's."""
    ListRetriever(answers=[DOCUMENTS[:2]]).invoke("?")
    assert told == [each.page_content for each in DOCUMENTS[:2]]


async def test_watcher_hears_async_retrievers(told: list[str]) -> None:
    """Documents of async retrieval are told before the caller has them."""
    await ListRetriever(answers=[DOCUMENTS[:2]]).ainvoke("?")
    assert told == [each.page_content for each in DOCUMENTS[:2]]


def test_watcher_hears_nothing_else(told: list[str]) -> None:
    """Chains without documents tell nothing."""
    (ChatPromptTemplate.from_template("{x}") | str).invoke({"x": ["a", 1, {"b": DOCUMENTS}]})
    assert told == []


def test_watcher_that_fails_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher that fails costs a log line, not the retrieval."""

    def fail(_: object) -> None:
        raise RuntimeError("watcher")

    monkeypatch.setattr(ours, "remember_documents", fail)
    assert ListRetriever(answers=[DOCUMENTS[:2]]).invoke("?") == DOCUMENTS[:2]


def test_watcher_leaves_other_callbacks_alone(told: list[str]) -> None:
    """The caller's own handlers see what they always saw."""

    class Mine(BaseCallbackHandler):
        seen: Sequence[Document] = ()

        def on_retriever_end(self, documents: Sequence[Document], **kwargs: Any) -> None:
            self.seen = documents

    mine = Mine()
    ListRetriever(answers=[DOCUMENTS[:2]]).invoke("?", {"callbacks": [mine]})
    assert list(mine.seen) == DOCUMENTS[:2]
    assert len(told) == 2


def test_import_without_langchain_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without langchain-aws the import says what to install."""
    for name in [each for each in sys.modules if each.startswith("langchain_bedrock_routing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langchain_aws", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bedrock-routing\[langchain\]'"):
        importlib.import_module("langchain_bedrock_routing")
