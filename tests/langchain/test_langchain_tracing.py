"""What five tracers and LangSmith report of a routed call, beside what the service counted."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from langchain_aws import ChatBedrockConverse
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.tracers import BaseTracer, LangChainTracer
from langchain_support import LITE
from langsmith import Client

from bedrock_local import Fault, LocalBedrock
from bedrock_routing import trace_invoked_models
from langchain_bedrock_routing import ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]
Said = Mapping[str, Any]

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
WAYS = ("whole", "stream", "async", "async stream")
TEXT = "\n".join(f"Glaciers chapter {number}: the keeper wrote {number * 7} pages." for number in range(200))
DOCS = Path(__file__).parents[2] / "docs" / "langchain.md"

_GENAI = {
    "asked": "gen_ai.request.model",
    "answered": "gen_ai.response.model",
    "prompt": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "read": "gen_ai.usage.cache_read.input_tokens",
    "write": "gen_ai.usage.cache_creation.input_tokens",
}
_OPENINFERENCE = {
    "asked": "llm.request.model_name",
    "answered": "llm.model_name",
    "prompt": "llm.token_count.prompt",
    "output": "llm.token_count.completion",
    "read": "llm.token_count.prompt_details.cache_read",
    "write": "llm.token_count.prompt_details.cache_write",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Be one tracer: its instrumentor, the attributes of its spans, and whether it needs to be asked for."""

    module: str
    instrumentor: str
    names: Mapping[str, str]
    on_client: bool


TRACERS = {
    "OpenTelemetry botocore": Kind(
        module="opentelemetry.instrumentation.botocore",
        instrumentor="BotocoreInstrumentor",
        names=_GENAI,
        on_client=True,
    ),
    "Traceloop Bedrock": Kind(
        module="opentelemetry.instrumentation.bedrock",
        instrumentor="BedrockInstrumentor",
        names=_GENAI,
        on_client=True,
    ),
    "Traceloop LangChain": Kind(
        module="opentelemetry.instrumentation.langchain",
        instrumentor="LangchainInstrumentor",
        names=_GENAI,
        on_client=False,
    ),
    "OpenInference Bedrock": Kind(
        module="openinference.instrumentation.bedrock",
        instrumentor="BedrockInstrumentor",
        names=_OPENINFERENCE,
        on_client=True,
    ),
    "OpenInference LangChain": Kind(
        module="openinference.instrumentation.langchain",
        instrumentor="LangChainInstrumentor",
        names=_OPENINFERENCE,
        on_client=False,
    ),
}


class Tracer:
    """Be a tracer that is switched on and exports into memory."""

    def __init__(self, name: str, kind: Kind, provider: Any, exporter: Any) -> None:
        self.name, self.kind, self.provider = name, kind, provider
        self._exporter = exporter

    def spans(self) -> list[Any]:
        """Return the spans of model calls, the oldest first."""
        ended = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)
        return [span for span in ended if span.attributes.keys() & {"gen_ai.request.model", "llm.model_name"}]

    def forget(self) -> None:
        """Forget the spans so far."""
        self._exporter.clear()

    def calls(self) -> list[Said]:
        """Return what each of them says."""
        return [
            {fact: each.attributes.get(name) for fact, name in self.kind.names.items()}
            for each in self.spans()
        ]


@contextmanager
def switched_on(name: str) -> Iterator[Tracer]:
    """Switch a tracer on; Traceloop would otherwise leave its handler behind."""
    kind = TRACERS[name]
    tracing = pytest.importorskip("opentelemetry.sdk.trace")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    instrumentor = getattr(pytest.importorskip(kind.module), kind.instrumentor)()
    before = BaseCallbackManager.__init__
    exporter = memory.InMemorySpanExporter()
    provider = tracing.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    yield Tracer(name, kind, provider, exporter)
    instrumentor.uninstrument()
    BaseCallbackManager.__init__ = before


@pytest.fixture(params=TRACERS, ids=lambda name: name.lower().replace(" ", "-"))
def tracer(request: pytest.FixtureRequest) -> Iterator[Tracer]:
    with switched_on(request.param) as tracer:
        yield tracer


def cached(ttl: str = "5m") -> list[Any]:
    """Ask about a text that ends in a cache point."""
    point = {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl != "5m" else {})}}
    blocks = [{"type": "text", "text": TEXT}, point, {"type": "text", "text": "How many pages?"}]
    return [("human", blocks)]


async def ask(llm: Any, way: str, messages: list[Any], **config: Any) -> None:
    if way == "whole":
        llm.invoke(messages, config)
    elif way == "stream":
        list(llm.stream(messages, config))
    elif way == "async":
        await llm.ainvoke(messages, config)
    elif way == "events v2":
        async for _ in llm.astream_events(messages, config, version="v2"):
            pass
    elif way == "events v3":
        list(llm.stream_events(messages, config, version="v3"))
    else:
        async for _ in llm.astream(messages, config):
            pass


def on_the_wire(bedrock: LocalBedrock, asked: str | None) -> list[Said]:
    """Return what the service counted for each call; its own `inputTokens` leaves cached tokens out."""
    return [
        _counted(each.usage or {}, asked=asked, answered=each.invoked_model)
        for each in bedrock.requests
        if each.operation in {"Converse", "ConverseStream"}
    ]


def _counted(usage: Said, **more: Any) -> Said:
    read, write = (usage.get(f"cache{name}InputTokens", 0) for name in ("Read", "Write"))
    prompt = usage["inputTokens"] + read + write
    return {**more, "prompt": prompt, "output": usage["outputTokens"], "read": read, "write": write}


@pytest.mark.parametrize("way", WAYS)
async def test_a_span_says_who_answered_and_what_was_counted(
    tracer: Tracer, make_llm: Make, custom_arn: str, bedrock: LocalBedrock, way: str
) -> None:
    """A span has the router, the model that answered and the whole prompt, cache written and cache read."""
    if tracer.kind.on_client:
        trace_invoked_models(tracer.provider)
    llm = make_llm(custom_arn)
    for _ in range(2):
        await ask(llm, way, cached())
    wire = on_the_wire(bedrock, custom_arn)
    assert wire[0]["write"] == wire[1]["read"] > 1_000
    assert tracer.calls() == wire
    responses = {each.attributes.get("llm.response.model_name") for each in tracer.spans()}
    assert responses == ({LITE} if tracer.kind.names is _OPENINFERENCE else {None})


@pytest.mark.parametrize("way", ["whole", "stream"])
async def test_a_span_counts_writes_for_an_hour(
    tracer: Tracer, make_llm: Make, bedrock: LocalBedrock, way: str
) -> None:
    """Tokens written for an hour are in a span's count of writes, also of a model that no router chose."""
    trace_invoked_models(tracer.provider)
    await ask(make_llm(CLAUDE), way, cached("1h"))
    [wire], [said] = on_the_wire(bedrock, CLAUDE), tracer.calls()
    assert wire["write"] > 1_000
    assert {**said, "asked": CLAUDE} == wire


async def test_tracers_stand_beside_each_other(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Where several tracers see one call, the spans of each are right."""
    with ExitStack() as stack:
        names = ("OpenTelemetry botocore", "OpenInference Bedrock")
        tracers = [stack.enter_context(switched_on(name)) for name in names]
        for each in tracers:
            trace_invoked_models(each.provider)
        llm = make_llm()
        for way in ("whole", "stream"):
            await ask(llm, way, cached())
    arn = bedrock.router_arn("amazon.nova:1")
    assert [each.calls() for each in tracers] == [on_the_wire(bedrock, arn)] * 2


def test_without_being_asked_the_client_is_left_alone(make_llm: Make) -> None:
    """Spans around the client are the tracer's own where `trace_invoked_models` was not called."""
    with switched_on("OpenTelemetry botocore") as tracer:
        make_llm().invoke(cached())
    assert [each["answered"] for each in tracer.calls()] == [None]


def words(said: Said, wire: Said, fact: str) -> str:
    """Say in a word what a tracer made of a fact."""
    value = said[fact]
    if value == wire[fact]:
        return "right"
    if value is None:
        return "missing"
    return {wire["asked"]: "the router", 0: "0"}.get(value, "without cached")


def row(tracer: Tracer, wire: list[Said]) -> list[str]:
    first, second = tracer.calls()
    return [
        words(second, wire[1], "answered"),
        words(first, wire[0], "prompt"),
        words(second, wire[1], "read"),
        words(first, wire[0], "write"),
    ]


def documented(name: str) -> tuple[list[str], list[str]]:
    """Return what the table in the docs says of a tracer, before and after."""
    [line] = re.findall(rf"^\| {name} [^|]*\|(.+)\|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [cell.strip().replace("**", "") for cell in line.split("|")]
    pairs = [cell.partition(" → ") for cell in cells]
    return [before for before, _, _ in pairs], [after or before for before, _, after in pairs]


def test_the_table_in_the_docs(
    tracer: Tracer, make_llm: Make, custom_arn: str, bedrock: LocalBedrock
) -> None:
    """The docs' table of five tracers says what is seen, of langchain-aws's own model and of ours."""
    theirs = ChatBedrockConverse(
        model=custom_arn, provider="amazon", region_name="us-east-1", endpoint_url=bedrock.endpoint_url
    )
    for _ in range(2):
        theirs.invoke(cached())
    before = row(tracer, on_the_wire(bedrock, custom_arn))
    tracer.forget()
    bedrock.clear_caches()
    trace_invoked_models(tracer.provider)
    llm = make_llm(custom_arn)
    for _ in range(2):
        llm.invoke(cached())
    assert (before, row(tracer, on_the_wire(bedrock, custom_arn)[2:])) == documented(tracer.name)


@pytest.mark.parametrize("way", [*WAYS, "events v2", "events v3"])
async def test_langsmith_prices_the_model_that_answered(
    make_llm: Make, custom_arn: str, bedrock: LocalBedrock, way: str
) -> None:
    """A run's end carries `ls_model_name` of the model that answered, and counts that do not overlap."""
    client = MagicMock(spec=Client)
    tracer = LangChainTracer(client=client)
    for _ in range(2):
        await ask(make_llm(custom_arn), way, cached(), callbacks=[tracer])
    started = [each.kwargs["extra"]["metadata"] for each in client.create_run.call_args_list]
    ended = [each.kwargs["extra"]["metadata"] for each in client.update_run.call_args_list]
    wire = on_the_wire(bedrock, custom_arn)
    assert [each["ls_model_name"] for each in started] == [custom_arn] * 2
    assert [each["ls_model_name"] for each in ended] == [LITE] * 2
    details = [each["usage_metadata"]["input_token_details"] for each in ended]
    counted = [{key: value for key, value in each.items() if value} for each in details]
    assert counted == [{"cache_creation": wire[0]["write"]}, {"cache_read": wire[1]["read"]}]


@pytest.mark.parametrize("streaming", [False, True])
def test_writes_are_counted_once(make_llm: Make, streaming: bool) -> None:
    """Writes for five minutes are `cache_creation`, those for an hour stand apart: together they are all."""
    llm = make_llm(CLAUDE)
    if streaming:
        first, *rest = llm.stream(cached("1h"))
        answer: Any = sum(rest, first)
    else:
        answer = llm.invoke(cached("1h"))
    details = answer.usage_metadata["input_token_details"]
    said = answer.response_metadata["bedrock_routing"]["cache"]
    assert details["ephemeral_1h_input_tokens"] == said["write_1h"] > 1_000
    assert details["cache_creation"] == said["write_5m"]
    assert sum(details.values()) + said["fresh"] == answer.usage_metadata["input_tokens"]


def test_a_tracer_that_fails_breaks_nothing(make_llm: Make) -> None:
    """A tracer whose span cannot be found costs nothing, and the others are told all the same."""

    class Broken(BaseTracer):
        def _persist_run(self, run: Any) -> None:
            pass

        def get_span(self, run_id: Any) -> Any:
            raise RuntimeError("tracer")

    class Seeing(BaseTracer):
        name = ""

        def _persist_run(self, run: Any) -> None:
            self.name = run.extra["metadata"]["ls_model_name"]

    seeing = Seeing()
    assert make_llm().invoke("Hello", {"callbacks": [Broken(), seeing]}).text
    assert seeing.name == LITE


def test_other_runs_keep_their_metadata(make_llm: Make) -> None:
    """What is corrected in one tracer's run is not changed in the metadata that the caller gave."""
    mine = {"team": "tides"}
    tracer = LangChainTracer(client=MagicMock(spec=Client))
    make_llm().invoke("Hello", {"callbacks": [tracer], "metadata": mine})
    assert mine == {"team": "tides"}


def test_a_failed_call_says_nothing(make_llm: Make, bedrock: LocalBedrock) -> None:
    """The span of a call that failed ends, and names no model."""
    bedrock.fail(Fault.throttling(), times=9)
    with switched_on("OpenTelemetry botocore") as tracer:
        trace_invoked_models(tracer.provider)
        with pytest.raises(Exception, match="Throttling"):
            make_llm(LITE, max_retries=0).invoke("Hello")
    assert [each["answered"] for each in tracer.calls()] == [None]
