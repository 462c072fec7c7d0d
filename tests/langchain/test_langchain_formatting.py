"""Documents as content blocks of prompts that are built by hand."""

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps, loads
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    convert_to_openai_messages,
)
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langchain_support import DOCUMENTS, ListRetriever, blocks, prompt_text

from bedrock_local import LocalBedrock
from bedrock_local.recording import Request
from bedrock_routing import ConfigurationError
from langchain_bedrock_routing import ChatBedrockRouter, DocumentsMessage, documents_as_blocks

Make = Callable[..., ChatBedrockRouter]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
FOUR = DOCUMENTS[:4]
TEXT = "The keeper of the tides keeps them, high and low, on all days of the year."
POINT = {"cachePoint": {"type": "default"}}


def calls(bedrock: LocalBedrock) -> list[Request]:
    return [each for each in bedrock.requests if each.operation.startswith("Converse")]


def check_the_second_reads(bedrock: LocalBedrock, last: dict[str, Any]) -> None:
    """Check that a point stands right after the last document, and the second call reads up to there."""
    first, second = calls(bedrock)
    for call in (first, second):
        flat = blocks(call.body)
        assert flat[flat.index(last) + 1] == POINT
    written = (first.usage or {})["cacheWriteInputTokens"]
    assert (second.usage or {})["cacheReadInputTokens"] == written > 1_000
    assert (second.usage or {})["cacheWriteInputTokens"] == 0


def on_the_wire(document: Document, kind: str) -> dict[str, Any]:
    source, text = document.metadata["source"], document.page_content
    if kind == "text":
        return {"text": f"Source: {source}\n\n{text}"}
    cited = {"source": source, "title": source, "content": [{"text": text}], "citations": {"enabled": True}}
    return {"searchResult": cited}


@pytest.mark.parametrize(
    ("model", "kind"), [("amazon.nova:1", "text"), (CLAUDE, "text"), (CLAUDE, "search_result")]
)
def test_blocks_in_a_message(make_llm: Make, bedrock: LocalBedrock, model: str, kind: Any) -> None:
    """Each document is a block of its own on the wire; behind the last one stands the point."""
    llm = make_llm(model)
    for question in ("How many pages are there?", "Who wrote them?"):
        asked = {"type": "text", "text": question}
        llm.invoke([HumanMessage([*documents_as_blocks(FOUR, kind=kind), asked])])
    expected = [on_the_wire(each, kind) for each in FOUR]
    sent = [block for block in blocks(calls(bedrock)[0].body) if block != POINT]
    assert sent == [*expected, {"text": "How many pages are there?"}]
    check_the_second_reads(bedrock, expected[-1])


def in_lcel(llm: ChatBedrockRouter, message: DocumentsMessage) -> Runnable[str, Any]:
    prompt = ChatPromptTemplate.from_messages([("placeholder", "{context}"), ("human", "{question}")])
    context = ListRetriever(answers=[FOUR]) | message
    return {"context": context, "question": RunnablePassthrough()} | prompt | llm


@pytest.mark.parametrize(
    "message", [DocumentsMessage(), DocumentsMessage(role="system")], ids=["human", "system"]
)
@pytest.mark.parametrize("model", ["amazon.nova:1", CLAUDE])
async def test_a_message_in_a_template(
    make_llm: Make, bedrock: LocalBedrock, model: str, message: DocumentsMessage
) -> None:
    """In a placeholder the documents are a part of the prompt that is paid for once, awaited or not."""
    chain = in_lcel(make_llm(model), message)
    chain.invoke("How many pages are there?")
    await chain.ainvoke("Who wrote them?")
    check_the_second_reads(bedrock, on_the_wire(FOUR[-1], "text"))
    assert len(calls(bedrock)[0].body["messages"]) == 1


def test_a_function_in_a_chain(make_llm: Make, bedrock: LocalBedrock) -> None:
    """The function stands in a chain as it is, or with its kind bound."""
    as_blocks = ListRetriever(answers=[FOUR]) | RunnableLambda(documents_as_blocks).bind(kind="search_result")
    chain = (
        as_blocks
        | (lambda found: [HumanMessage([*found, {"type": "text", "text": "Why?"}])])
        | make_llm(CLAUDE)
    )
    chain.invoke("?")
    chain.invoke("?")
    check_the_second_reads(bedrock, on_the_wire(FOUR[-1], "search_result"))


def test_a_message_list_in_a_template(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Among the messages of a template documents stand as they are, braces and all."""
    braces = Document(page_content=f"{FOUR[0].page_content}\nA set is written {{a, b}}, a slot {{question}}.")
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be brief."), *DocumentsMessage().invoke([braces]), ("human", "{question}")]
    )
    (prompt | make_llm()).invoke({"question": "Why?"})
    assert prompt_text(calls(bedrock)[0].body) == f"Be brief.{braces.page_content}Why?"


def test_a_conversation_over_blocks(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Kept in a history, through storage and back, the blocks are read by every later turn."""
    llm = make_llm(CLAUDE)
    history: list[BaseMessage] = DocumentsMessage(kind="search_result").invoke(FOUR)
    for question in ("How many pages are there?", "Who wrote them?", "When?"):
        history = [*history, HumanMessage(question)]
        history = [*history, llm.invoke(history)]
        stored = dumps(history)
        assert "cachePoint" not in stored
        history = loads(stored, allowed_objects="messages")
    assert [(call.usage or {})["cacheReadInputTokens"] > 2_000 for call in calls(bedrock)] == [
        False,
        True,
        True,
    ]


def test_blocks_as_a_tool_result(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A tool may return the blocks: they stand in its result, which is followed by the point."""

    @tool
    def search(query: str) -> list[dict[str, Any]]:
        """Search the library."""
        return documents_as_blocks(FOUR, kind="search_result")

    call = {"name": "search", "args": {"query": "pages"}, "id": "1", "type": "tool_call"}
    messages = [HumanMessage("How many pages?"), AIMessage("", tool_calls=[call]), search.invoke(call)]
    make_llm(CLAUDE).bind_tools([search]).invoke(messages)
    *_, result, point = blocks(calls(bedrock)[0].body)
    assert result["toolResult"]["content"] == [on_the_wire(each, "search_result") for each in FOUR]
    assert point == POINT


def test_what_changes_with_the_question_is_not_said() -> None:
    """Scores and ranks do not reach the prompt, and the documents stay as they were."""
    plain = Document(page_content=TEXT, metadata={"source": "tides.md"})
    scored = Document(
        page_content=TEXT, metadata={"source": "tides.md", "score": 0.7, "bedrock_routing_rank": 2}
    )
    before = copy.deepcopy(scored)
    assert documents_as_blocks([scored]) == documents_as_blocks([plain])
    assert documents_as_blocks([scored], kind="search_result") == documents_as_blocks(
        [plain], kind="search_result"
    )
    assert scored == before


@pytest.mark.parametrize(
    ("metadata", "line", "source", "title"),
    [
        (
            {"source": "a/tides.pdf", "page_label": "iv"},
            "a/tides.pdf, page iv",
            "a/tides.pdf",
            "tides.pdf, page iv",
        ),
        ({"source": "tides.pdf", "page": 0}, "tides.pdf", "tides.pdf", "tides.pdf"),
        (
            {"url": "https://a.b/c/", "title": "Of Tides"},
            "Of Tides, https://a.b/c/",
            "https://a.b/c/",
            "Of Tides",
        ),
        (
            {
                "location": {"type": "S3", "s3Location": {"uri": "s3://library/tides.md"}},
                "score": 0.5,
                "source_metadata": {"x-amz-bedrock-kb-document-page-number": 3.0},
            },
            "s3://library/tides.md, page 3",
            "s3://library/tides.md",
            "tides.md, page 3",
        ),
    ],
)
def test_sources(metadata: dict[str, Any], line: str, source: str, title: str) -> None:
    """A source is named by path, address, title and page, as loaders and knowledge bases give them."""
    document = Document(page_content=TEXT, metadata=metadata)
    assert documents_as_blocks([document]) == [{"type": "text", "text": f"Source: {line}\n\n{TEXT}"}]
    (cited,) = documents_as_blocks([document], kind="search_result")
    assert (cited["source"], cited["title"]) == (source, title)


def test_no_source() -> None:
    """Without a source a text stands alone, and a search result is named by the document's id or its text."""
    nameless, known = Document(page_content=TEXT), Document(page_content=TEXT, id="tides-1")
    assert documents_as_blocks([nameless]) == [{"type": "text", "text": TEXT}]
    first, second, other = documents_as_blocks(
        [nameless, known, Document(page_content=TEXT * 2)], kind="search_result"
    )
    assert first["source"].startswith("document ")
    assert second["source"] == second["title"] == "tides-1"
    assert other["source"] != first["source"]


def test_images_of_a_knowledge_base(make_llm: Make, bedrock: LocalBedrock) -> None:
    """An image that a knowledge base found is sent as an image, not as letters."""
    data = base64.b64encode(b"\x89PNG").decode()
    found = Document(
        page_content=f"data:image/png;base64,{data}",
        metadata={"type": "IMAGE", "location": {"type": "S3", "s3Location": {"uri": "s3://library/map.png"}}},
    )
    sent = documents_as_blocks([found], kind="search_result")
    make_llm(CLAUDE).invoke([HumanMessage([*sent, {"type": "text", "text": "What is this?"}])])
    line, image, _ = (block for block in blocks(calls(bedrock)[0].body) if block != POINT)
    assert line == {"text": "Source: s3://library/map.png"}
    assert image == {"image": {"format": "png", "source": {"bytes": data}}}


def test_nothing_found(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Blank documents are left out, and where nothing is left the prompt goes out without them."""
    empty = [Document(page_content=" \n"), Document(page_content="")]
    assert documents_as_blocks(empty) == []
    assert DocumentsMessage().invoke(empty) == []
    prompt = ChatPromptTemplate.from_messages([("placeholder", "{context}"), ("human", "{question}")])
    (prompt | make_llm()).invoke({"context": DocumentsMessage().invoke(empty), "question": "Why?"})
    assert prompt_text(calls(bedrock)[0].body) == "Why?"


def test_wrong_kinds() -> None:
    """An unknown kind, and what no system message can hold, are errors that say what to do."""
    with pytest.raises(ConfigurationError, match="'text', 'search_result'"):
        documents_as_blocks(FOUR, kind="pdf")  # pyright: ignore[reportArgumentType] - what is tested
    with pytest.raises(ConfigurationError, match='role="human"'):
        DocumentsMessage(kind="search_result", role="system").invoke(FOUR)
    with pytest.raises(ValueError, match="kind"):
        DocumentsMessage(kind="pdf")  # pyright: ignore[reportArgumentType] - what is tested


def test_storage_and_other_providers() -> None:
    """The runnable and its messages are stored and read back; texts are read by other providers, too."""
    stored = dumps(DocumentsMessage(kind="search_result"))
    read = loads(stored, allowed_objects=[DocumentsMessage], valid_namespaces=["langchain_bedrock_routing"])
    assert read == DocumentsMessage(kind="search_result")
    (message,) = DocumentsMessage(role="system").invoke(FOUR)
    assert isinstance(message, SystemMessage)
    assert loads(dumps(message), allowed_objects="messages") == message
    assert json.loads(json.dumps(message.content)) == message.content
    (converted,) = convert_to_openai_messages([message], text_format="block")
    assert converted == {"role": "system", "content": documents_as_blocks(FOUR)}
