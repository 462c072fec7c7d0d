"""Where the cache point lands in chains as users write them: right after the last document."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from langchain_classic.chains import create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_support import DOCUMENTS, ListRetriever, blocks, prompt_text, texts_before_points

from bedrock_local import LocalBedrock
from langchain_bedrock_routing import CachedDocumentsRetriever, CachePolicy, ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]
Ask = Callable[[str], Any]
FOUR, SHUFFLED = DOCUMENTS[:4], [DOCUMENTS[index] for index in (2, 0, 3, 1)]
PROMPTS = {
    "system": ChatPromptTemplate.from_messages(
        [("system", "Use only this:\n\n{context}\n\nAnswer briefly."), ("human", "{input}")]
    ),
    "human": ChatPromptTemplate.from_messages([("human", "Context:\n{context}\n\nQuestion: {input}")]),
}


def joined(documents: Iterable[Document]) -> str:
    return "\n\n".join(each.page_content for each in documents)


def stuff(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    chain = create_stuff_documents_chain(llm, prompt)
    return lambda question: chain.invoke({"context": FOUR, "input": question})


def retrieval(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    chain = create_retrieval_chain(ListRetriever(answers=[FOUR]), create_stuff_documents_chain(llm, prompt))
    return lambda question: chain.invoke({"input": question})


def formatted(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    context = ListRetriever(answers=[FOUR]) | RunnableLambda(joined)
    return ({"context": context, "input": RunnablePassthrough()} | prompt | llm | StrOutputParser()).invoke


def printed(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    return ({"context": ListRetriever(answers=[FOUR]), "input": RunnablePassthrough()} | prompt | llm).invoke


def searched(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    search: RunnableLambda[str, list[Document]] = RunnableLambda(lambda _: FOUR)
    context = search | RunnableLambda(joined)
    return ({"context": context, "input": RunnablePassthrough()} | prompt | llm).invoke


def stable(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    retriever = CachedDocumentsRetriever(retriever=ListRetriever(answers=[FOUR, SHUFFLED]))
    chain = create_retrieval_chain(retriever, create_stuff_documents_chain(llm, prompt))
    return lambda question: chain.invoke({"input": question})


def stable_printed(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    retriever = CachedDocumentsRetriever(retriever=ListRetriever(answers=[FOUR, SHUFFLED]))
    return ({"context": retriever, "input": RunnablePassthrough()} | prompt | llm).invoke


@pytest.mark.parametrize("where", PROMPTS)
@pytest.mark.parametrize("chain", [stuff, retrieval, formatted, printed, searched, stable, stable_printed])
def test_the_point_stands_after_the_last_document(
    make_llm: Make, custom_arn: str, bedrock: LocalBedrock, chain: Callable[..., Ask], where: str
) -> None:
    """An unchanged chain gets one point, right after its documents; the second question reads the cache."""
    ask = chain(make_llm(custom_arn), PROMPTS[where])
    ask("How many pages are there?")
    ask("Who wrote them?")
    calls = [each for each in bedrock.requests if each.operation == "Converse"]
    last = FOUR[-1].page_content
    ends = (last, repr(Document(page_content=last)).removeprefix("Document(metadata={}, "))
    for call in calls:
        *_, before = texts_before_points(call.body)
        assert before.endswith(ends)
    first, second = (call.usage or {} for call in calls)
    assert first["cacheWriteInputTokens"] > 1_000
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]
    assert second["cacheWriteInputTokens"] == 0


async def test_async_chain(make_llm: Make, bedrock: LocalBedrock) -> None:
    """An async chain over a retriever is cached like any other."""
    chain = create_retrieval_chain(
        ListRetriever(answers=[FOUR]), create_stuff_documents_chain(make_llm(), PROMPTS["human"])
    )
    await chain.ainvoke({"input": "How many pages are there?"})
    *_, before = texts_before_points(bedrock.requests[-1].body)
    assert before.endswith(FOUR[-1].page_content)


def test_the_prompt_stays_the_same(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Splitting a text at its documents changes no character of what the model reads."""
    stuff(make_llm(), PROMPTS["human"])("How many pages are there?")
    expected = f"Context:\n{joined(FOUR)}\n\nQuestion: How many pages are there?"
    assert prompt_text(bedrock.requests[-1].body) == expected


def test_retriever_as_a_tool(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Documents that come back from a tool are followed by a point outside the tool result."""
    llm = make_llm("anthropic.claude-sonnet-4-5-20250929-v1:0")
    tool = create_retriever_tool(ListRetriever(answers=[FOUR]), "search", "Search the library.")
    call = {"name": "search", "args": {"query": "pages"}, "id": "1", "type": "tool_call"}
    messages = [HumanMessage("How many pages?"), AIMessage("", tool_calls=[call]), tool.invoke(call)]
    llm.bind_tools([tool]).invoke(messages)
    flat = blocks(bedrock.requests[-1].body)
    (result,) = [index for index, block in enumerate(flat) if "toolResult" in block]
    assert "cachePoint" in flat[result + 1]
    assert all("cachePoint" not in block for block in flat[result]["toolResult"]["content"])


@pytest.mark.parametrize("cache", [False, CachePolicy(documents=False, system=False, history=False)])
def test_cache_settings(make_llm: Make, bedrock: LocalBedrock, cache: CachePolicy | bool) -> None:
    """Where the caller wants no points, none is placed."""
    stuff(make_llm(cache=cache), PROMPTS["human"])("How many pages are there?")
    assert texts_before_points(bedrock.requests[-1].body) == []


def test_cache_control_does_not_double_the_points(make_llm: Make, bedrock: LocalBedrock) -> None:
    """cache_control, as langchain-aws's middleware passes it, adds no point after the question."""
    llm = make_llm("us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    bound = llm.bind(cache_control={"type": "ephemeral", "ttl": "5m"})
    stuff(bound, PROMPTS["human"])("How many pages are there?")
    *_, before = texts_before_points(bedrock.requests[-1].body)
    assert before.endswith(FOUR[-1].page_content)


def test_points_by_hand_are_kept(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A cache point that the caller wrote is sent where they wrote it."""
    point = {"cachePoint": {"type": "default"}}
    text = DOCUMENTS[5].page_content * 3
    make_llm().invoke([("human", [{"type": "text", "text": text}, point, {"type": "text", "text": "Why?"}])])
    assert texts_before_points(bedrock.requests[-1].body)[0] == text
