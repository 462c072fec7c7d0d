"""Where the cache point lands in engines as users build them: right after the last document."""

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import VectorStoreIndex, get_response_synthesizer
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.llms import ChatMessage
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.postprocessor import MetadataReplacementPostProcessor
from llama_index.core.query_engine import CitationQueryEngine, RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index_support import (
    CLAUDE,
    LITE,
    SUBJECTS,
    ListRetriever,
    blocks,
    make_index,
    make_nodes,
    pasted,
    prompt_text,
    text_about,
    texts_before_points,
)
from pydantic import BaseModel

from bedrock_local import LocalBedrock
from llama_index_bedrock_routing import BedrockRouter, CachePolicy, StableOrderPostprocessor

Make = Callable[..., BedrockRouter]
Ask = Callable[[str], Any]


class Pages(BaseModel):
    """How many pages."""

    count: int


def query(**settings: Any) -> Callable[[VectorStoreIndex], Ask]:
    return lambda index: index.as_query_engine(similarity_top_k=4, **settings).query


def streamed(index: VectorStoreIndex) -> Ask:
    engine = index.as_query_engine(similarity_top_k=4, streaming=True)
    return lambda question: str(engine.query(question))


def context_chat(index: VectorStoreIndex) -> Ask:
    return index.as_chat_engine(chat_mode=ChatMode.CONTEXT, similarity_top_k=4).chat


def condensed_chat(index: VectorStoreIndex) -> Ask:
    engine = CondensePlusContextChatEngine.from_defaults(
        index.as_retriever(similarity_top_k=4), skip_condense=True
    )
    return engine.chat


ENGINES: dict[str, Callable[[VectorStoreIndex], Ask]] = {
    "compact": query(response_mode="compact"),
    "tree_summarize": query(response_mode="tree_summarize"),
    "simple_summarize": query(response_mode="simple_summarize"),
    "compact_accumulate": query(response_mode="compact_accumulate"),
    "multimodal": query(multimodal=True),
    "output_cls": query(output_cls=Pages, response_mode="tree_summarize"),
    "streaming": streamed,
    "context chat": context_chat,
    "condense plus context": condensed_chat,
}


@pytest.mark.usefixtures("only_llm")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_point_stands_after_the_last_document(bedrock: LocalBedrock, engine: str) -> None:
    """With only Settings.llm replaced, one point follows the documents; the second question reads it."""
    ask = ENGINES[engine](make_index())
    ask("How many pages are there?")
    ask("Who wrote them?")
    calls = [each for each in bedrock.requests if each.operation.startswith("Converse")]
    for call in calls[:2]:
        before = [each for each in texts_before_points(call.body) if "chapter" in each][-1]
        assert before.rstrip("]'\"").endswith("wrote 203 careful pages.")
        assert "chapter" not in prompt_text(call.body).rpartition(before)[2]
    first, second = (call.usage or {} for call in calls[:2])
    assert first["cacheWriteInputTokens"] > 1_000
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]


@pytest.mark.usefixtures("only_llm")
@pytest.mark.parametrize("mode", ["refine", "accumulate"])
def test_one_document_a_call(bedrock: LocalBedrock, mode: str) -> None:
    """Modes that ask once per document have a point after the one document of each call."""
    nodes = [TextNode(id_=subject, text=text_about(subject, lines=90)) for subject in SUBJECTS[:4]]
    synthesizer = get_response_synthesizer(response_mode=ResponseMode(mode))
    RetrieverQueryEngine(ListRetriever(nodes), synthesizer).query("How many pages?")
    calls = [each for each in bedrock.requests if each.operation == "Converse"]
    assert len(calls) == 4
    for call in calls:
        *_, before = texts_before_points(call.body)
        assert before.endswith("wrote 623 careful pages.")


def test_the_prompt_stays_the_same(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Splitting a text at its documents changes no character of what the model reads."""
    nodes = make_nodes()
    engine = RetrieverQueryEngine.from_args(ListRetriever(nodes), llm=make_llm())
    engine.query("How many pages?")
    engine = RetrieverQueryEngine.from_args(ListRetriever(nodes), llm=make_llm(cache=False))
    engine.query("How many pages?")
    cached, plain = (each.body for each in bedrock.requests if each.operation == "Converse")
    assert texts_before_points(plain) == []
    assert prompt_text(cached) == prompt_text(plain)
    assert "\n\n".join(map(pasted, nodes)) in prompt_text(plain)


@pytest.mark.usefixtures("only_llm")
def test_citations(bedrock: LocalBedrock) -> None:
    """The template of CitationQueryEngine asks an example first: its sources are cached once seen again."""
    splitter = TokenTextSplitter(chunk_size=2_000, chunk_overlap=0)
    engine = CitationQueryEngine.from_args(make_index(), similarity_top_k=4, text_splitter=splitter)
    for question in ("How many pages are there?", "Who wrote them?", "Where are they kept?"):
        engine.query(question)
    _, second, third = (each.usage or {} for each in bedrock.requests if each.operation == "Converse")
    assert second["cacheWriteInputTokens"] > 1_000
    assert third["cacheReadInputTokens"] == second["cacheWriteInputTokens"]


async def test_async_engine(make_llm: Make, bedrock: LocalBedrock) -> None:
    """An async query is cached like any other."""
    engine = RetrieverQueryEngine.from_args(ListRetriever(make_nodes()), llm=make_llm())
    await engine.aquery("How many pages?")
    *_, before = texts_before_points(bedrock.requests[-1].body)
    assert before.endswith(pasted(make_nodes()[-1]))


def test_documents_are_told_apart(make_llm: Make, bedrock: LocalBedrock) -> None:
    """When a question finds one document more, those it shares with the question before are read."""
    nodes = make_nodes(SUBJECTS)
    engine = RetrieverQueryEngine.from_args(ListRetriever(nodes[:4], nodes), llm=make_llm(LITE))
    engine.query("How many pages?")
    engine.query("Who wrote them?")
    first, second = (each.usage or {} for each in bedrock.requests if each.operation == "Converse")
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"] > 1_000


def test_rewritten_nodes(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Where a postprocessor replaces the texts that were retrieved, the point follows what is pasted."""
    nodes = [
        TextNode(
            text=f"A sentence about {subject}, found by itself.", metadata={"window": text_about(subject)}
        )
        for subject in ("Tides", "Bridges", "Lanterns", "Orchards")
    ]
    engine = RetrieverQueryEngine.from_args(
        ListRetriever(nodes),
        llm=make_llm(),
        node_postprocessors=[MetadataReplacementPostProcessor(target_metadata_key="window")],
    )
    engine.query("How many pages?")
    *_, before = texts_before_points(bedrock.requests[-1].body)
    assert before.endswith(text_about("Orchards"))


def test_nodes_given_to_a_synthesizer(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Nodes that no retriever returned are recognised through the prompt that they are pasted into."""
    nodes = [NodeWithScore(node=each) for each in make_nodes()]
    get_response_synthesizer(llm=make_llm()).synthesize("How many pages?", nodes)
    *_, before = texts_before_points(bedrock.requests[-1].body)
    assert before.endswith(pasted(make_nodes()[-1]))


@pytest.mark.parametrize("model", [CLAUDE, "amazon.nova:1"])
@pytest.mark.parametrize(
    "picked", [[[0, 1, 2], [1, 2, 3], [0, 1], [3], [2, 3]], [[0], [1], [2], [3], [0, 4]]]
)
def test_a_conversation_reads_its_history(
    make_llm: Make, bedrock: LocalBedrock, model: str, picked: list[list[int]]
) -> None:
    """Eight turns over overlapping documents, a new one now and then, read most of their input."""
    llm = make_llm(model)
    nodes = make_nodes(SUBJECTS)
    turns = [[nodes[each] for each in numbers] for numbers in (*picked, *picked[:3])]
    engine = ContextChatEngine.from_defaults(
        ListRetriever(*turns),
        llm=llm,
        memory=ChatMemoryBuffer.from_defaults(llm=llm),
        node_postprocessors=[StableOrderPostprocessor(sticky=True)],
    )
    for turn in range(8):
        engine.chat(f"Question {turn}: how many pages are there?")
    usages = [each.usage or {} for each in bedrock.requests if each.operation == "Converse"]
    read = sum(each.get("cacheReadInputTokens", 0) for each in usages)
    prompt = read + sum(each["inputTokens"] + each.get("cacheWriteInputTokens", 0) for each in usages)
    assert len(usages) == 8
    print(read / prompt)
    assert read / prompt >= 0.6


def test_documents_from_a_tool(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A tool result is followed by a point outside of it."""
    llm = make_llm(CLAUDE)
    texts = "\n\n".join(map(pasted, make_nodes()))
    call = {"block_type": "tool_call", "tool_call_id": "1", "tool_name": "search", "tool_kwargs": {}}
    messages = [
        ChatMessage(role="user", content="How many pages?"),
        ChatMessage(role="assistant", blocks=[call]),
        ChatMessage(role="tool", content=texts, additional_kwargs={"tool_call_id": "1"}),
    ]
    spec = {"name": "search", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    llm.chat(messages, tools={"tools": [{"toolSpec": spec}]})
    flat = blocks(bedrock.requests[-1].body)
    (result,) = [index for index, block in enumerate(flat) if "toolResult" in block]
    assert "cachePoint" in flat[result + 1]
    assert all("cachePoint" not in block for block in flat[result]["toolResult"]["content"])


@pytest.mark.parametrize("cache", [False, CachePolicy(documents=False, system=False, history=False)])
def test_cache_settings(make_llm: Make, bedrock: LocalBedrock, cache: CachePolicy | bool) -> None:
    """Where the caller wants no points, none is placed."""
    engine = RetrieverQueryEngine.from_args(ListRetriever(make_nodes()), llm=make_llm(cache=cache))
    engine.query("How many pages?")
    assert texts_before_points(bedrock.requests[-1].body) == []
