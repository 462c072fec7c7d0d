"""What token counters and tracers report of a routed call, beside what the service counted."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import CacheControl, CachePoint, TextBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index_instrumentation import get_dispatcher
from llama_index_support import make_index, text_about

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import trace_invoked_models
from llama_index_bedrock_routing import BedrockRouter

Make = Callable[..., BedrockRouter]
Said = Mapping[str, Any]

COUNTS = ("prompt", "completion", "total")
WAYS = ("whole", "stream", "async", "async stream")
TRACERS: Mapping[str, Mapping[str, str]] = {
    "openinference.instrumentation.llama_index": {
        "prompt": "llm.token_count.prompt",
        "completion": "llm.token_count.completion",
        "total": "llm.token_count.total",
        "read": "llm.token_count.prompt_details.cache_read",
        "write": "llm.token_count.prompt_details.cache_write",
        "asked": "llm.model_name",
    },
    "opentelemetry.instrumentation.llamaindex": {
        "prompt": "gen_ai.usage.input_tokens",
        "completion": "gen_ai.usage.output_tokens",
        "total": "gen_ai.usage.total_tokens",
        "read": "gen_ai.usage.cache_read.input_tokens",
        "asked": "gen_ai.request.model",
        "answered": "gen_ai.response.model",
    },
}
"""For each tracer, the attributes of its spans; a fact that it never reports is left out."""


class Tracer(Protocol):
    """A tracer that is switched on."""

    facts: frozenset[str]
    """What it reports."""

    def calls(self) -> list[Said]:
        """Return what each span with token counts says, the oldest first."""
        ...

    def spans(self) -> list[Said]:
        """Return the attributes of the same spans."""
        ...


class SpansOf:
    """Be a tracer that exports into memory."""

    def __init__(self, exporter: Any, names: Mapping[str, str]) -> None:
        self.facts = frozenset(names)
        self._exporter = exporter
        self._names = names

    def spans(self) -> list[Said]:  # noqa: D102 - the protocol says it
        ended = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)
        return [span.attributes for span in ended if self._names["prompt"] in span.attributes]

    def calls(self) -> list[Said]:  # noqa: D102 - the protocol says it
        return [{fact: each.get(name) for fact, name in self._names.items()} for each in self.spans()]


@pytest.fixture(params=TRACERS, ids=["openinference", "traceloop"])
def tracer(request: pytest.FixtureRequest) -> Iterator[Tracer]:
    """Trace into memory; afterwards every handler is gone, also those that a tracer would leave behind."""
    tracing = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    instrumentor = pytest.importorskip(request.param).LlamaIndexInstrumentor()
    dispatcher = get_dispatcher()
    before = (list(dispatcher.event_handlers), list(dispatcher.span_handlers))
    exporter = memory.InMemorySpanExporter()
    provider = tracing.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    yield SpansOf(exporter, TRACERS[request.param])
    instrumentor.uninstrument()
    dispatcher.event_handlers[:], dispatcher.span_handlers[:] = before


@pytest.fixture(params=["default router", "custom router"])
def llm(request: pytest.FixtureRequest, make_llm: Make, custom_arn: str) -> BedrockRouter:
    return make_llm(custom_arn) if request.param == "custom router" else make_llm()


def on_the_wire(bedrock: LocalBedrock, llm: BedrockRouter) -> list[Said]:
    """Return what the service counted for each call; its own `inputTokens` leaves cached tokens out."""
    return [
        _counted(each.usage or {}, asked=llm.model, answered=each.invoked_model)
        for each in bedrock.requests
        if each.operation in {"Converse", "ConverseStream"}
    ]


def _counted(usage: Said, **more: Any) -> Said:
    read, write = (usage.get(f"cache{name}InputTokens", 0) for name in ("Read", "Write"))
    prompt, completion = usage["inputTokens"] + read + write, usage["outputTokens"]
    counted = {"prompt": prompt, "completion": completion, "total": prompt + completion}
    return {**counted, "read": read, "write": write, **more}


def of(facts: frozenset[str] | tuple[str, ...], calls: list[Said]) -> list[Said]:
    return [{fact: each[fact] for fact in facts} for each in calls]


def cached(subject: str) -> list[ChatMessage]:
    """Ask about a text that ends in a cache point."""
    text = TextBlock(text=text_about(subject, lines=120))
    point = CachePoint(cache_control=CacheControl(type="default"))
    return [ChatMessage(role="user", blocks=[text, point, TextBlock(text="How many pages?")])]


async def ask(llm: BedrockRouter, way: str, messages: list[ChatMessage]) -> None:
    if way == "whole":
        llm.chat(messages)
    elif way == "stream":
        list(llm.stream_chat(messages))
    elif way == "async":
        await llm.achat(messages)
    else:
        async for _ in await llm.astream_chat(messages):
            pass


@pytest.mark.parametrize("way", WAYS)
async def test_a_span_says_what_the_service_counted(
    tracer: Tracer, llm: BedrockRouter, bedrock: LocalBedrock, way: str
) -> None:
    """The prompt of a span is the whole prompt, whether the cache was written or read, streamed or not."""
    for _ in range(2):
        await ask(llm, way, cached("Glaciers"))
    wire = on_the_wire(bedrock, llm)
    assert wire[0]["write"] == wire[1]["read"] > 1_000
    assert tracer.calls() == of(tracer.facts, wire)


@pytest.mark.parametrize("way", WAYS)
async def test_a_span_of_the_client_says_who_answered(
    make_llm: Make, bedrock: LocalBedrock, custom_arn: str, way: str
) -> None:
    """A tracer around the boto3 client names the model and counts the whole prompt, once it is asked to."""
    tracing = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    instrumentor = pytest.importorskip("opentelemetry.instrumentation.botocore").BotocoreInstrumentor()
    exporter = memory.InMemorySpanExporter()
    provider = tracing.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    trace_invoked_models(provider)
    try:
        llm = make_llm(custom_arn)
        await ask(llm, way, cached("Glaciers"))
    finally:
        instrumentor.uninstrument()
    names = TRACERS["opentelemetry.instrumentation.llamaindex"]
    facts = ("asked", "answered", "prompt", "completion", "read")
    said = SpansOf(exporter, {fact: names[fact] for fact in facts}).calls()
    assert said == of(facts, on_the_wire(bedrock, llm))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_query_engine_is_counted_once(
    tracer: Tracer, llm: BedrockRouter, bedrock: LocalBedrock, streaming: bool
) -> None:
    """Of all the spans that a query opens, one carries the tokens of its call."""
    engine = make_index().as_query_engine(llm=llm, similarity_top_k=4, streaming=streaming)
    for question in ("How many pages has chapter 2?", "Who wrote chapter 3?"):
        str(engine.query(question))
    wire = on_the_wire(bedrock, llm)
    assert wire[1]["read"] > 1_000
    assert tracer.calls() == of(tracer.facts, wire)


async def test_an_agent_is_counted_once(tracer: Tracer, make_llm: Make) -> None:
    """Each turn of an agent is one span with tokens: the one that calls a tool, and the one that answers."""

    def look(place: str) -> str:
        """Look at a place."""
        return f"Nothing at {place}."

    with LocalBedrock(answers=FixedAnswer(tool_calls={"look": {"place": "the sea"}})) as bedrock:
        llm = make_llm(endpoint_url=bedrock.endpoint_url)
        await FunctionAgent(tools=[look], llm=llm).run("What do you see?")
        wire = on_the_wire(bedrock, llm)
    assert len(wire) == 2
    assert tracer.calls() == of(tracer.facts, wire)


@pytest.mark.parametrize("way", WAYS)
async def test_the_token_counter_does_not_estimate(
    llm: BedrockRouter, bedrock: LocalBedrock, way: str
) -> None:
    """LlamaIndex's own counter records the service's counts; its tokenizer, here absurd, is never asked."""
    counter = TokenCountingHandler(tokenizer=lambda text: list(text) * 9)
    llm.callback_manager = CallbackManager([counter])
    for _ in range(2):
        await ask(llm, way, cached("Glaciers"))
    recorded = [
        dict(
            zip(
                COUNTS,
                (each.prompt_token_count, each.completion_token_count, each.total_token_count),
                strict=True,
            )
        )
        for each in counter.llm_token_counts
    ]
    assert recorded == of(COUNTS, on_the_wire(bedrock, llm))


async def test_a_span_names_the_tool_call(tracer: Tracer, make_llm: Make) -> None:
    """A tool call stands in a span with its id, its name and its arguments, and as the reason of the end."""

    def look(place: str) -> str:
        """Look at a place."""
        return f"Nothing at {place}."

    with LocalBedrock(answers=FixedAnswer(tool_calls={"look": {"place": "the sea"}})) as bedrock:
        await FunctionAgent(tools=[look], llm=make_llm(endpoint_url=bedrock.endpoint_url)).run("What?")
    said = bedrock.requests[-1].body["messages"]
    [wire] = [block["toolUse"] for turn in said for block in turn["content"] if "toolUse" in block]
    first = tracer.spans()[0]
    if "gen_ai.output.messages" in first:
        [part] = json.loads(first["gen_ai.output.messages"])[0]["parts"]
        called = (part["id"], part["name"], part["arguments"])
        ends = first["gen_ai.response.finish_reasons"]
    else:
        at = "llm.output_messages.0.message.tool_calls.0.tool_call."
        called = (first[f"{at}id"], first[f"{at}function.name"], json.loads(first[f"{at}function.arguments"]))
        ends = (first["llm.finish_reason"],)
    assert called == (wire["toolUseId"], "look", {"place": "the sea"})
    assert ends[0].startswith("tool_")


def test_a_completion_is_counted_once(llm: BedrockRouter, bedrock: LocalBedrock) -> None:
    """A completion is one event, although it goes out as a chat."""
    counter = TokenCountingHandler()
    llm.callback_manager = CallbackManager([counter])
    llm.complete("Hello")
    assert counter.total_llm_token_count == on_the_wire(bedrock, llm)[0]["total"]
