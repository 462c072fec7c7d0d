"""The synthesizer whose documents are blocks: what goes out, what is read, where the receipt stands."""

import asyncio
import base64
import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import PromptTemplate, Settings, get_response_synthesizer
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.llms import MockLLM
from llama_index.core.prompts import ChatPromptTemplate, RichPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode, NodeWithScore, TextNode
from llama_index.core.types import PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.event_handlers.base import BaseEventHandler
from llama_index_support import (
    LITE,
    NOVA,
    SUBJECTS,
    ListRetriever,
    blocks,
    make_index,
    make_nodes,
    pasted,
    prompt_text,
    texts_before_points,
)
from pydantic import BaseModel, PrivateAttr
from typing_extensions import override

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import ConfigurationError
from llama_index_bedrock_routing import BedrockRouter, CachedDocumentsSynthesizer, routing_usage

Make = Callable[..., BedrockRouter]
ANSWER = "This is a fixed answer."
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "query_engine.py"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Pages(BaseModel):
    """How many pages."""

    count: int


def scored(nodes: Sequence[TextNode]) -> list[NodeWithScore]:
    return [NodeWithScore(node=each, score=0.5) for each in nodes]


def calls(bedrock: LocalBedrock) -> list[Any]:
    return [each for each in bedrock.requests if each.operation.startswith("Converse")]


def sent(call: Any) -> list[str]:
    """Return the texts of the last message, block by block, without cache points and separators."""
    return [each["text"].strip() for each in call.body["messages"][-1]["content"] if "text" in each]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def answered(synthesizer: CachedDocumentsSynthesizer, way: str, nodes: list[NodeWithScore]) -> Any:
    """Synthesize in one of four ways; streams are read to their end."""
    if way in ("whole", "stream"):
        response = synthesizer.synthesize("How many pages?", nodes)
    else:
        response = await synthesizer.asynthesize("How many pages?", nodes)
    if isinstance(response, StreamingResponse):
        str(response)
    if isinstance(response, AsyncStreamingResponse):
        await response.get_response()
    return response


WAYS = {
    "whole": Response,
    "async": Response,
    "stream": StreamingResponse,
    "async stream": AsyncStreamingResponse,
}


# What goes out


def test_each_document_is_a_block(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Instructions, each document and the question are blocks; the point follows the last document."""
    nodes = make_nodes()
    engine = RetrieverQueryEngine(ListRetriever(nodes), CachedDocumentsSynthesizer(make_llm(LITE)))
    engine.query("How many pages?")
    (call,) = calls(bedrock)
    instructions, *documents, question = sent(call)
    assert instructions.startswith("Context information is below.")
    assert documents == [pasted(each) for each in nodes]
    assert "How many pages?" in question
    assert texts_before_points(call.body)[-1].strip() == pasted(nodes[-1])
    assert "cachePoint" in call.body["messages"][0]["content"][-2]


def test_the_second_question_reads_the_documents(make_llm: Make, bedrock: LocalBedrock) -> None:
    """All that the first question wrote is read by the second; both receipts say so."""
    synthesizer = CachedDocumentsSynthesizer(make_llm(LITE))
    nodes = scored(make_nodes())
    first, second = (
        (synthesizer.synthesize(question, nodes).metadata or {})["bedrock_routing"]["cache"]
        for question in ("How many pages?", "Who wrote them?")
    )
    assert first["write"] > 1_000
    assert (second["read"], second["write"]) == (first["write"], 0)
    assert [(each.usage or {})["cacheReadInputTokens"] for each in calls(bedrock)] == [0, first["write"]]


def test_shared_documents_are_read(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Where questions share their first documents only, the shared part is written once and then read."""
    nodes = make_nodes(SUBJECTS)
    found = [nodes[:4], [*nodes[:3], nodes[4]], [*nodes[:3], nodes[5]]]
    engine = RetrieverQueryEngine(ListRetriever(*found), CachedDocumentsSynthesizer(make_llm(LITE)))
    caches = [
        (engine.query(question).metadata or {})["bedrock_routing"]["cache"]
        for question in ("How many pages?", "Who wrote them?", "Where are they?")
    ]
    shared = [each.strip() for each in texts_before_points(calls(bedrock)[1].body)]
    assert shared == [pasted(nodes[0]), pasted(nodes[2]), pasted(nodes[4])]  # the first costs nothing
    assert caches[2]["read"] > 1_000
    assert 0 < caches[2]["write"] < caches[2]["read"] / 2


def test_a_growing_set_reads_what_it_began_with(make_llm: Make) -> None:
    """When a question finds more documents, those of the question before are read."""
    nodes = make_nodes(SUBJECTS)
    engine = RetrieverQueryEngine(ListRetriever(nodes[:4], nodes), CachedDocumentsSynthesizer(make_llm(LITE)))
    first, second = (
        (engine.query(each).metadata or {})["bedrock_routing"]["cache"] for each in ("One?", "Two?")
    )
    assert second["read"] == first["write"] > 1_000


def test_the_prompt_reads_as_that_of_llama_index(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Joined, the blocks are character by character the prompt of the compact synthesizer."""
    nodes = scored(make_nodes())
    CachedDocumentsSynthesizer(make_llm(cache=False)).synthesize("How many pages?", nodes)
    get_response_synthesizer(make_llm(cache=False)).synthesize("How many pages?", nodes)
    ours, theirs = (prompt_text(each.body) for each in calls(bedrock))
    assert ours == theirs


def test_texts_that_look_like_variables(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Braces in documents and questions go out as they are."""
    text = "A document about {query_str} and {context_str}, with {{braces}} and {unknown} names in it."
    answer = CachedDocumentsSynthesizer(make_llm()).get_response("What is {context_str}?", [text])
    assert answer == ANSWER
    _, document, question = sent(calls(bedrock)[0])
    assert document == text
    assert "What is {context_str}?" in question


async def test_texts_without_nodes(make_llm: Make, bedrock: LocalBedrock) -> None:
    """The entry points that take bare texts send a block for each that is not empty, and remember it."""
    synthesizer = CachedDocumentsSynthesizer(make_llm(LITE))
    texts = [f"\n{pasted(each)}\n" for each in make_nodes()]
    assert synthesizer.get_response("How many?", [*texts, " \n"]) == ANSWER
    assert await synthesizer.aget_response("Who?", texts) == ANSWER
    first, second = calls(bedrock)
    assert sent(first)[1:-1] == sent(second)[1:-1] == [each.strip() for each in texts]
    assert (second.usage or {})["cacheReadInputTokens"] > 1_000


def test_nothing_given_is_changed(make_llm: Make) -> None:
    """Nodes and prompts are as they were."""
    nodes = scored(make_nodes())
    synthesizer = CachedDocumentsSynthesizer(make_llm())
    before = [each.model_dump() for each in nodes], str(synthesizer.get_prompts())
    synthesizer.synthesize("How many pages?", nodes)
    assert ([each.model_dump() for each in nodes], str(synthesizer.get_prompts())) == before


# Responses


@pytest.mark.parametrize("way", WAYS)
async def test_responses(make_llm: Make, bedrock: LocalBedrock, way: str) -> None:
    """Each way gives the response that LlamaIndex gives, with sources, their metadata and the receipt."""
    nodes = scored(make_nodes())
    synthesizer = CachedDocumentsSynthesizer(make_llm(), streaming="stream" in way)
    with routing_usage() as usage:
        response = await answered(synthesizer, way, nodes)
    assert type(response) is WAYS[way]
    assert (response.response if way in ("whole", "async") else response.response_txt) == ANSWER
    assert response.source_nodes == nodes
    assert response.metadata["Tides"] == {"source": "tides.md"}
    assert response.metadata["bedrock_routing"] == usage.receipts[0].to_dict()
    assert response.metadata["bedrock_routing"]["model"] in NOVA
    assert "bedrock_routing_calls" not in response.metadata
    assert calls(bedrock)[0].operation == ("ConverseStream" if "stream" in way else "Converse")


def test_a_stream_is_one(make_llm: Make) -> None:
    """Tokens come one by one; the receipt is there when the last has come, and not before the first."""
    response = CachedDocumentsSynthesizer(make_llm(), streaming=True).synthesize("Who?", scored(make_nodes()))
    assert isinstance(response, StreamingResponse)
    assert response.metadata is not None
    assert "bedrock_routing" not in response.metadata
    tokens = list(response.response_gen)
    assert len([each for each in tokens if each]) > 1
    assert response.metadata["bedrock_routing"]["complete"] is True


def test_a_reader_of_a_stream_keeps_its_own_calls(make_llm: Make) -> None:
    """A call made between two tokens is not taken for one of the answer's."""
    llm = make_llm()
    response = CachedDocumentsSynthesizer(llm, streaming=True).synthesize("Who?", scored(make_nodes()))
    assert isinstance(response, StreamingResponse)
    for _ in response.response_gen:
        llm.complete("Hello")
    assert "bedrock_routing_calls" not in (response.metadata or {})


def test_leaving_a_stream(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A stream that is left early is closed then and there, and its receipt says that it is incomplete."""
    bedrock.fail(Fault(kind="drip", seconds=0.2), operation="ConverseStream")
    response = CachedDocumentsSynthesizer(make_llm(), streaming=True).synthesize("Who?", scored(make_nodes()))
    assert isinstance(response, StreamingResponse)
    next(response.response_gen)
    response.response_gen.close()
    assert (response.metadata or {})["bedrock_routing"]["complete"] is False


async def test_leaving_an_async_stream(make_llm: Make, bedrock: LocalBedrock) -> None:
    """The same without blocking the event loop: the receipt comes when the stream has been closed."""
    bedrock.fail(Fault(kind="drip", seconds=0.2), operation="ConverseStream")
    synthesizer = CachedDocumentsSynthesizer(make_llm(), streaming=True)
    response = await synthesizer.asynthesize("Who?", scored(make_nodes()))
    assert isinstance(response, AsyncStreamingResponse)
    metadata = response.metadata or {}
    await anext(response.response_gen)
    await response.response_gen.aclose()
    await until(lambda: "bedrock_routing" in metadata)
    assert metadata["bedrock_routing"]["complete"] is False


async def test_answers_at_once_keep_their_own_receipts(make_llm: Make) -> None:
    """Many questions to one synthesizer at once: each response has the receipt of its own call."""
    synthesizer = CachedDocumentsSynthesizer(make_llm())
    nodes = scored(make_nodes())
    with routing_usage() as usage:
        responses = await asyncio.gather(*(synthesizer.asynthesize("Who?", nodes[: n + 1]) for n in range(4)))
    receipts = [(each.metadata or {})["bedrock_routing"] for each in responses]
    prompts = [each["cache"]["read"] + each["cache"]["write"] + each["cache"]["fresh"] for each in receipts]
    assert prompts == sorted(set(prompts))
    assert usage.total.calls == 4
    assert not any("bedrock_routing_calls" in (each.metadata or {}) for each in responses)


@pytest.mark.parametrize("way", WAYS)
async def test_no_nodes(make_llm: Make, bedrock: LocalBedrock, way: str) -> None:
    """Without nodes, or with empty ones only, nobody is asked."""
    synthesizer = CachedDocumentsSynthesizer(make_llm(), streaming="stream" in way)
    for nodes in ([], scored([TextNode(text=" ")])):
        response = await answered(synthesizer, way, nodes)
        assert type(response) is WAYS[way]
        assert (response.response if way in ("whole", "async") else response.response_txt) == "Empty Response"
    assert calls(bedrock) == []


@pytest.mark.parametrize("way", ["whole", "async", "stream", "async stream"])
@pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.LLM])
async def test_objects(make_llm: Make, way: str, mode: PydanticProgramMode) -> None:
    """With `output_cls` the response is the object, by tool call or by text, and has its receipt."""
    answers = FixedAnswer('{"count": 7}', tool_calls={"Pages": {"count": 7}})
    with LocalBedrock(answers=answers) as bedrock:
        llm = make_llm(LITE, endpoint_url=bedrock.endpoint_url, pydantic_program_mode=mode)
        synthesizer = CachedDocumentsSynthesizer(llm, output_cls=Pages, streaming="stream" in way)
        response = await answered(synthesizer, way, scored(make_nodes()))
        (call,) = calls(bedrock)
    assert isinstance(response, PydanticResponse)
    assert response.response == Pages(count=7)
    assert (response.metadata or {})["bedrock_routing"]["complete"] is True
    assert sent(call)[1:-1] == [pasted(each) for each in make_nodes()]
    assert pasted(make_nodes()[-1]) in [each.strip() for each in texts_before_points(call.body)]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_structured_llm(make_llm: Make, streaming: bool) -> None:
    """An LLM that answers in objects gives its object, and the receipt of the LLM inside."""
    with LocalBedrock(answers=FixedAnswer(tool_calls={"Pages": {"count": 7}})) as bedrock:
        llm = make_llm(LITE, endpoint_url=bedrock.endpoint_url).as_structured_llm(Pages)
        synthesizer = CachedDocumentsSynthesizer(llm, streaming=streaming)
        response = await answered(synthesizer, "async", scored(make_nodes()))
    assert response.response == Pages(count=7)
    assert response.metadata["bedrock_routing"]["model"] == LITE


# Several calls


@pytest.mark.parametrize("way", WAYS)
async def test_more_than_the_window_holds(make_llm: Make, bedrock: LocalBedrock, way: str) -> None:
    """Groups of whole documents are asked about in turn; the receipts of all calls are kept, in order."""
    nodes = make_nodes(SUBJECTS)
    synthesizer = CachedDocumentsSynthesizer(make_llm(LITE, context_window=3_000), streaming="stream" in way)
    with routing_usage() as usage:
        response = await answered(synthesizer, way, scored(nodes))
    asked = calls(bedrock)
    assert len(asked) > 1
    documents = {pasted(each) for each in nodes}
    groups = [[text for text in sent(each) if text in documents] for each in asked]
    assert [text for group in groups for text in group] == [pasted(each) for each in nodes]
    assert all(sum(map(len, sent(each))) < 12_000 for each in asked)
    assert f"Original Answer: {ANSWER}" in sent(asked[-1])[-1]
    for call, group in zip(asked, groups, strict=True):
        assert call is asked[-1] or texts_before_points(call.body)[-1].strip() == group[-1]
    told = response.metadata["bedrock_routing_calls"]
    assert told == [each.to_dict() for each in usage.receipts]
    assert response.metadata["bedrock_routing"] == told[-1]
    streamed = [each.operation == "ConverseStream" for each in asked]
    assert streamed == [False] * (len(asked) - 1) + ["stream" in way]


@pytest.mark.parametrize("window", [3_060, 3_080, 3_580, 3_600])  # exactly measured, each would shift a group
def test_groups_do_not_depend_on_the_question(make_llm: Make, bedrock: LocalBedrock, window: int) -> None:
    """A longer question leaves the documents in their groups, so that each group is read from the cache."""
    synthesizer = CachedDocumentsSynthesizer(make_llm(LITE, context_window=window))
    nodes = scored(make_nodes(SUBJECTS))
    synthesizer.synthesize("Who?", nodes)
    count = len(calls(bedrock))
    synthesizer.synthesize(
        "Who wrote these pages, and when, and why did they write so carefully? " * 3, nodes
    )
    first, second = calls(bedrock)[:count], calls(bedrock)[count:]
    assert [sent(each)[1:-1] for each in first] == [sent(each)[1:-1] for each in second]
    written = [(each.usage or {})["cacheWriteInputTokens"] for each in first]
    assert [(each.usage or {})["cacheReadInputTokens"] for each in second] == written
    assert written[0] > 1_000


def test_receipts_of_a_stream_come_together(make_llm: Make) -> None:
    """As long as the last of several calls is being streamed, no earlier receipt stands for the answer's."""
    synthesizer = CachedDocumentsSynthesizer(make_llm(LITE, context_window=3_000), streaming=True)
    response = synthesizer.synthesize("Who?", scored(make_nodes(SUBJECTS)))
    assert isinstance(response, StreamingResponse)
    metadata = response.metadata or {}
    assert set(metadata) == set(SUBJECTS)
    str(response)
    assert {"bedrock_routing", "bedrock_routing_calls"} < set(metadata)


def test_a_document_that_alone_is_too_long(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Such a document is split, and nothing of it is lost."""
    synthesizer = CachedDocumentsSynthesizer(make_llm(LITE, context_window=800))
    node = make_nodes()[0]
    synthesizer.synthesize("Who?", scored([node]))
    asked = calls(bedrock)
    assert len(asked) > 1
    together = " ".join(text for each in asked for text in sent(each))
    assert all(line in together for line in node.text.splitlines())


def test_objects_of_several_calls(make_llm: Make) -> None:
    """An object refines the object before it."""
    with LocalBedrock(answers=FixedAnswer(tool_calls={"Pages": {"count": 7}})) as bedrock:
        llm = make_llm(LITE, endpoint_url=bedrock.endpoint_url, context_window=3_000)
        synthesizer = CachedDocumentsSynthesizer(llm, output_cls=Pages)
        response = synthesizer.synthesize("How many?", scored(make_nodes(SUBJECTS)))
        assert 'Original Answer: {"count":7}' in sent(calls(bedrock)[-1])[-1]
    assert isinstance(response, PydanticResponse)
    assert len((response.metadata or {})["bedrock_routing_calls"]) > 1


# Prompts


PROMPTS = {
    "text": PromptTemplate("Read:\n{context_str}\nNow say: {query_str}"),
    "chat": ChatPromptTemplate.from_messages(
        [("system", "Read:\n{context_str}"), ("user", "Now say: {query_str}")]
    ),
    "rich": RichPromptTemplate("Read:\n{{ context_str }}\nNow say: {{ query_str }}"),
    "other names": PromptTemplate(
        "Read:\n{facts}\nNow say: {question}",
        template_var_mappings={"context_str": "facts", "query_str": "question"},
    ),
}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_can_be_replaced(make_llm: Make, bedrock: LocalBedrock, prompt: str) -> None:
    """A template of any kind is divided at its context, in whatever message that stands."""
    engine = RetrieverQueryEngine(ListRetriever(make_nodes()), CachedDocumentsSynthesizer(make_llm(LITE)))
    engine.update_prompts({"response_synthesizer:text_qa_template": PROMPTS[prompt]})
    assert engine.get_prompts()["response_synthesizer:text_qa_template"] == PROMPTS[prompt]
    engine.query("Who?")
    texts = [each["text"].strip() for each in blocks(calls(bedrock)[0].body) if "text" in each]
    assert texts == ["Read:", *map(pasted, make_nodes()), "Now say: Who?"]
    assert texts_before_points(calls(bedrock)[0].body)[-1].strip() == pasted(make_nodes()[-1])


def test_names_of_prompts(make_llm: Make) -> None:
    """The prompts have the names that other synthesizers give theirs; an unknown name changes nothing."""
    given = PromptTemplate("{context_msg}{query_str}{existing_answer}")
    synthesizer = CachedDocumentsSynthesizer(make_llm(), refine_template=given)
    synthesizer.update_prompts({"unknown": given})
    prompts = synthesizer.get_prompts()
    assert set(prompts) == {"text_qa_template", "refine_template"}
    assert prompts["refine_template"] == given


def test_a_prompt_without_a_place_for_documents(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A template that has no context is an error that says so; nothing is sent."""
    synthesizer = CachedDocumentsSynthesizer(make_llm(), text_qa_template=PromptTemplate("Say: {query_str}"))
    with pytest.raises(ConfigurationError, match=r"no place for documents.*\{context_str\}"):
        synthesizer.synthesize("Who?", scored(make_nodes()))
    assert calls(bedrock) == []


def test_variables_of_ones_own(make_llm: Make, bedrock: LocalBedrock) -> None:
    """What is given to `synthesize` besides the nodes fills variables of the template."""
    template = PromptTemplate("{context_str}\nSay in {language}: {query_str}")
    synthesizer = CachedDocumentsSynthesizer(make_llm(), text_qa_template=template)
    synthesizer.synthesize("Who?", scored(make_nodes()), language="Greek")
    assert sent(calls(bedrock)[0])[-1] == "Say in Greek: Who?"


def test_the_system_prompt(make_llm: Make, bedrock: LocalBedrock) -> None:
    """The system prompt of the LLM comes first, as with all synthesizers."""
    llm = make_llm(system_prompt="Be brief.")
    CachedDocumentsSynthesizer(llm).synthesize("Who?", scored(make_nodes()))
    assert calls(bedrock)[0].body["system"][0] == {"text": "Be brief."}


# Images


def test_images(make_llm: Make, bedrock: LocalBedrock) -> None:
    """With `multimodal`, the image of a node is a block beside its texts."""
    image = ImageNode(image=base64.b64encode(PIXEL).decode(), image_mimetype="image/png")
    image.metadata = {"caption": "A single pixel."}
    nodes = [*make_nodes(SUBJECTS[:3]), image]
    response = CachedDocumentsSynthesizer(make_llm(LITE), multimodal=True).synthesize("Who?", scored(nodes))
    content = [each for each in blocks(calls(bedrock)[0].body) if "cachePoint" not in each]
    assert ["image" in each for each in content[-3:]] == [False, True, False]
    assert content[-3]["text"].strip() == "caption: A single pixel."
    assert (response.metadata or {})["bedrock_routing"]["complete"] is True


async def test_images_async(make_llm: Make, bedrock: LocalBedrock) -> None:
    """The same without blocking the event loop."""
    image = ImageNode(image=base64.b64encode(PIXEL).decode(), image_mimetype="image/png")
    synthesizer = CachedDocumentsSynthesizer(make_llm(LITE), multimodal=True)
    response = await synthesizer.asynthesize("Who?", scored([image]))
    assert any("image" in each for each in blocks(calls(bedrock)[0].body))
    assert str(response) == ANSWER


# Other LLMs, defaults, tracing


@pytest.mark.parametrize("way", WAYS)
async def test_another_llm(way: str) -> None:
    """An LLM that only completes is asked with one text, as LlamaIndex would, and leaves no receipt."""
    synthesizer = CachedDocumentsSynthesizer(MockLLM(), streaming="stream" in way)
    response = await answered(synthesizer, way, scored(make_nodes()))
    said = response.response if way in ("whole", "async") else response.response_txt
    assert "\n\n".join(map(pasted, make_nodes())) in said
    assert set(response.metadata) == set(SUBJECTS[:4])


@pytest.mark.usefixtures("only_llm")
def test_the_llm_of_the_settings(bedrock: LocalBedrock) -> None:
    """One line is enough: the LLM is that of the settings."""
    engine = make_index().as_query_engine(response_synthesizer=CachedDocumentsSynthesizer())
    response = engine.query("How many pages?")
    assert str(response) == ANSWER
    assert (response.metadata or {})["bedrock_routing"]["model"] in NOVA
    assert len(sent(calls(bedrock)[0])) == 4


class Names(BaseEventHandler):
    """Keep the names of events."""

    _seen: list[str] = PrivateAttr(default_factory=list)

    @override
    def handle(self, event: Any, **_: Any) -> None:
        self._seen.append(event.class_name())


@pytest.fixture
def names() -> Iterator[list[str]]:
    handler = Names()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(handler)
    yield handler._seen
    dispatcher.event_handlers.remove(handler)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("multimodal", [False, True])
def test_events(make_llm: Make, names: list[str], streaming: bool, multimodal: bool) -> None:
    """Tracers see the very events that they see of the compact synthesizer, in the same order."""
    settings: dict[str, Any] = {"streaming": streaming, "multimodal": multimodal}
    synthesizers = (
        get_response_synthesizer(make_llm(), **settings),
        CachedDocumentsSynthesizer(make_llm(), **settings),
    )
    seen = []
    for each in synthesizers:
        names.clear()
        str(each.synthesize("How many pages?", scored(make_nodes())))
        seen.append(list(names))
    assert seen[0] == seen[1]
    assert seen[0][0] == "SynthesizeStartEvent"


@pytest.mark.parametrize("way", WAYS)
async def test_callbacks(make_llm: Make, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Callback handlers see the synthesis, its response and the call inside."""
    debug = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([debug])
    llm = make_llm(callback_manager=manager)
    synthesizer = CachedDocumentsSynthesizer(llm, streaming="stream" in way, callback_manager=manager)
    response = await answered(synthesizer, way, scored(make_nodes()))
    ((start, end),) = debug.get_event_pairs(CBEventType.SYNTHESIZE)
    assert (start.payload or {})["query_str"] == "How many pages?"
    assert (end.payload or {})["response"] is response
    assert len(debug.get_event_pairs(CBEventType.LLM)) == 1


def test_the_example_runs_as_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example works without credentials and ends with a table in which the cache was read."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(Settings, "_llm", None)
    runpy.run_path(str(EXAMPLE))["main"]()
    out = capsys.readouterr().out
    assert "Amazon Polly turns text into speech." in out
    assert out.count("(amazon.nova-") == 4
    heading, _, row, *_ = out[out.index("model  ") :].splitlines()
    assert heading.split()[:4] == ["model", "calls", "fresh", "read"]
    assert int(row.split()[3].replace(",", "")) > 1_000
