"""Templates as people write them: where the documents stand, and where the conversation."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from langchain_classic.chains import create_history_aware_retriever, create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_support import DOCUMENTS, ListRetriever, blocks, make_document, texts_before_points

from bedrock_local import LocalBedrock
from bedrock_local.recording import Request
from langchain_bedrock_routing import CachedDocumentsRetriever, ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]
Ask = Callable[[str, list[BaseMessage]], Any]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MODELS = {"nova": "amazon.nova:1", "claude": CLAUDE}
FOUR = DOCUMENTS[:4]
LAST_LINE = FOUR[-1].page_content.splitlines()[-1]
PASTED = make_document("Clocks", lines=80).page_content
HISTORY: list[BaseMessage] = [
    HumanMessage(f"Look at this: {PASTED}\n\nWho wrote it?"),
    AIMessage("The keeper of the clocks wrote it."),
]
SYSTEM = ("system", "Use only this:\n\n{context}\n\nAnswer briefly.")
HUMAN = ("human", "Context:\n{context}\n\nQuestion: {input}")
TURNS = MessagesPlaceholder("history")
TEMPLATES = {
    "system": [SYSTEM, ("human", "{input}")],
    "system, then history": [SYSTEM, TURNS, ("human", "{input}")],
    "system behind history": [TURNS, SYSTEM, ("human", "{input}")],
    "human": [("system", "Answer briefly."), HUMAN],
    "human behind history": [("system", "Answer briefly."), TURNS, HUMAN],
    "human, then history": [("human", "Context:\n{context}"), TURNS, ("human", "{input}")],
    "human, read, then history": [
        ("human", "Context:\n{context}\n\nSay when you have read it."),
        ("ai", "I have read it."),
        TURNS,
        ("human", "{input}"),
    ],
}
each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
each_template = pytest.mark.parametrize(
    "template",
    [pytest.param(each, id=name) for name, each in TEMPLATES.items() if name != "human behind history"],
)


def joined(documents: Iterable[Document]) -> str:
    return "\n\n".join(each.page_content for each in documents)


def stuff(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    chain = create_retrieval_chain(ListRetriever(answers=[FOUR]), create_stuff_documents_chain(llm, prompt))
    return lambda question, history: chain.invoke({"input": question, "history": history})["answer"]


def lcel(llm: Runnable[Any, Any], prompt: ChatPromptTemplate) -> Ask:
    question: RunnableLambda[dict[str, Any], str] = RunnableLambda(lambda given: given["input"])
    context = question | ListRetriever(answers=[FOUR]) | RunnableLambda(joined)
    chain = RunnablePassthrough.assign(context=context) | prompt | llm
    return lambda question, history: chain.invoke({"input": question, "history": history}).text


each_chain = pytest.mark.parametrize("chain", [stuff, lcel], ids=lambda each: each.__name__)


def calls(bedrock: LocalBedrock) -> list[Request]:
    return [each for each in bedrock.requests if each.operation.startswith("Converse")]


def has_point_after_documents(call: Request) -> bool:
    return any(before.endswith(LAST_LINE) for before in texts_before_points(call.body))


@each_model
@each_template
@each_chain
def test_two_questions_over_one_history(
    make_llm: Make,
    bedrock: LocalBedrock,
    chain: Callable[..., Ask],
    template: list[Any],
    model: str,
) -> None:
    """The point stands right after the documents, and the second question reads what the first one wrote."""
    ask = chain(make_llm(model), ChatPromptTemplate.from_messages(template))
    ask("How many pages are there?", HISTORY)
    ask("Who wrote them?", HISTORY)
    first, second = calls(bedrock)
    assert has_point_after_documents(first)
    assert has_point_after_documents(second)
    assert (first.usage or {})["cacheWriteInputTokens"] > 2_000
    assert (second.usage or {})["cacheReadInputTokens"] > 2_000


@each_model
@each_chain
def test_documents_behind_a_conversation(
    make_llm: Make, bedrock: LocalBedrock, chain: Callable[..., Ask], model: str
) -> None:
    """Behind turns that were asked before, the point stands after the documents, and both are read."""
    prompt = ChatPromptTemplate.from_messages(TEMPLATES["human behind history"])
    ask = chain(make_llm(model), prompt)
    for question in ("How many pages are there?", "Who wrote them?", "And when?"):
        ask(question, HISTORY)
    *_, second, third = calls(bedrock)
    assert has_point_after_documents(second)
    assert has_point_after_documents(third)
    assert (third.usage or {})["cacheReadInputTokens"] > 3_000


@each_model
@each_chain
@pytest.mark.parametrize("name", ["system, then history", "human, then history", "human, read, then history"])
def test_a_conversation(
    make_llm: Make, bedrock: LocalBedrock, chain: Callable[..., Ask], name: str, model: str
) -> None:
    """With the documents before it, a conversation reads them in each turn, and its own turns with them."""
    ask = chain(make_llm(model), ChatPromptTemplate.from_messages(TEMPLATES[name]))
    history = list(HISTORY)
    for question in ("How many pages are there?", "Who wrote them?", "And when?", "Where?"):
        answer = ask(question, history)
        history = [*history, HumanMessage(question), AIMessage(answer)]
    usages = [call.usage or {} for call in calls(bedrock)]
    assert has_point_after_documents(calls(bedrock)[-1])
    assert [usage["cacheReadInputTokens"] > 2_000 for usage in usages[1:]] == [True] * 3
    for before, after in itertools.pairwise(usages[1:]):
        held = before["cacheReadInputTokens"] + before["cacheWriteInputTokens"]
        assert after["cacheReadInputTokens"] >= 0.98 * held
    assert usages[-1]["inputTokens"] + usages[-1]["cacheWriteInputTokens"] < 100


@each_model
def test_another_conversation_over_the_same_documents(
    make_llm: Make, bedrock: LocalBedrock, model: str
) -> None:
    """Documents in the first message are read by a conversation that has other turns behind them."""
    ask = lcel(make_llm(model), ChatPromptTemplate.from_messages(TEMPLATES["human, then history"]))
    ask("How many pages are there?", HISTORY)
    ask("Who wrote them?", [HumanMessage("Are there any bridges?"), AIMessage("There are.")])
    assert (calls(bedrock)[-1].usage or {})["cacheReadInputTokens"] > 2_000


@each_model
def test_history_aware_retrieval(make_llm: Make, bedrock: LocalBedrock, model: str) -> None:
    """A question that is rephrased before it is looked up asks over documents that are paid for once."""
    rephrased = FakeListChatModel(responses=["How many pages?", "Who wrote the pages?"])
    rephrase = ChatPromptTemplate.from_messages([TURNS, ("human", "{input}\n\nAsk this on its own.")])
    retriever = CachedDocumentsRetriever(
        retriever=ListRetriever(answers=[FOUR, [FOUR[index] for index in (3, 1, 0, 2)]])
    )
    prompt = ChatPromptTemplate.from_messages(TEMPLATES["system, then history"])
    chain = create_retrieval_chain(
        create_history_aware_retriever(rephrased, retriever, rephrase),
        create_stuff_documents_chain(make_llm(model), prompt),
    )
    history = list(HISTORY)
    for question in ("How many?", "And who wrote them?"):
        answer = chain.invoke({"input": question, "history": history})["answer"]
        history = [*history, HumanMessage(question), AIMessage(answer)]
    first, second = calls(bedrock)
    assert has_point_after_documents(first)
    assert has_point_after_documents(second)
    assert (second.usage or {})["cacheReadInputTokens"] > 2_000


@pytest.mark.parametrize("response_format", ["content", "content_and_artifact"])
def test_retriever_tools(make_llm: Make, bedrock: LocalBedrock, response_format: Any) -> None:
    """What a retriever's tool found is followed by a point behind the result, and read by the next step."""
    tool = create_retriever_tool(
        ListRetriever(answers=[FOUR]), "search", "Search the library.", response_format=response_format
    )
    llm = make_llm(CLAUDE).bind_tools([tool])
    call = {"name": "search", "args": {"query": "pages"}, "id": "1", "type": "tool_call"}
    messages = [HumanMessage("How many pages?"), AIMessage("", tool_calls=[call]), tool.invoke(call)]
    llm.invoke(messages)
    again = {**call, "id": "2"}
    llm.invoke([*messages, AIMessage("", tool_calls=[again]), tool.invoke(again)])
    first, second = calls(bedrock)
    flat = blocks(first.body)
    (result,) = [index for index, block in enumerate(flat) if "toolResult" in block]
    assert "cachePoint" in flat[result + 1]
    written = (first.usage or {})["cacheWriteInputTokens"]
    assert (second.usage or {})["cacheReadInputTokens"] == written > 2_000


def test_retriever_tools_of_nova(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Nova takes no point behind a tool result: none is placed there, and the call goes through."""
    tool = create_retriever_tool(ListRetriever(answers=[FOUR]), "search", "Search the library.")
    call = {"name": "search", "args": {"query": "pages"}, "id": "1", "type": "tool_call"}
    messages = [HumanMessage("How many pages?"), AIMessage("", tool_calls=[call]), tool.invoke(call)]
    answer = make_llm().bind_tools([tool]).invoke(messages)
    assert answer.response_metadata["bedrock_routing"]["complete"] is True
    flat = blocks(calls(bedrock)[-1].body)
    (result,) = [index for index, block in enumerate(flat) if "toolResult" in block]
    assert all("cachePoint" not in block for block in flat[result:])
