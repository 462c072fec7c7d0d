"""Spans around the boto3 client, with a tracer of the test's own in the place of an instrumentation."""

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import (
    ConfigurationError,
    MissingExtraError,
    Receipt,
    RoutedClient,
    Usage,
    collect,
    describe_call,
    trace_invoked_models,
)

trace = pytest.importorskip("opentelemetry.sdk.trace")
SCOPE = "opentelemetry.instrumentation.botocore.bedrock-runtime"
LITE = "amazon.nova-lite-v1:0"
RECEIPT = Receipt(
    router_arn="arn:router", model=LITE, usage=Usage(fresh=1, read=20, write_5m=300, write_1h=4000, output=5)
)
Spans = list[Any]


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    with LocalBedrock(answers=FixedAnswer()) as local:
        yield local


@pytest.fixture
def exported() -> Spans:
    return []


@pytest.fixture
def provider(exported: Spans) -> Any:
    export = pytest.importorskip("opentelemetry.sdk.trace.export")

    class Exporter(export.SpanExporter):
        def export(self, spans: Any) -> Any:
            exported.extend(spans)
            return export.SpanExportResult.SUCCESS

    made = trace.TracerProvider(shutdown_on_exit=False)
    made.add_span_processor(export.SimpleSpanProcessor(Exporter()))
    return made


@pytest.fixture
def ask(bedrock: LocalBedrock, provider: Any) -> Callable[..., Any]:
    """Return a way to call through a client whose calls open a span of the scope."""

    def call(operation: str = "converse", scope: str = SCOPE) -> Any:
        client = bedrock.client()
        tracer, wrapped = provider.get_tracer(scope), getattr(client, operation)

        def traced(**params: Any) -> Any:
            with tracer.start_as_current_span("chat"):
                return wrapped(**params)

        setattr(client, operation, traced)
        routed = RoutedClient(client, model="amazon.nova:1", control=bedrock.client("bedrock"))
        messages = [{"role": "user", "content": [{"text": "Hello"}]}]
        return getattr(routed, operation)(messages=messages)

    return call


def models(spans: Spans) -> list[Any]:
    return [each.attributes.get("gen_ai.response.model") for each in spans]


def test_a_span_is_exported_with_its_receipt(ask: Callable[..., Any], provider: Any, exported: Spans) -> None:
    """The span of a call names the model, and ends when the call did, not when it was exported."""
    trace_invoked_models(provider)
    ask()
    assert models(exported) == [LITE]
    assert exported[0].start_time < exported[0].end_time


def test_a_span_of_a_stream_waits_for_the_receipt(
    ask: Callable[..., Any], provider: Any, exported: Spans
) -> None:
    """The span of a stream is exported when the stream has said who answers."""
    trace_invoked_models(provider)
    stream = ask("converse_stream")["stream"]
    assert exported == []
    list(stream)
    assert models(exported) == [LITE]


@pytest.mark.parametrize("way", ["closed", "dropped"])
def test_a_stream_that_is_left_lets_its_span_end(
    ask: Callable[..., Any], provider: Any, exported: Spans, way: str
) -> None:
    """A stream that is closed, or dropped unread, ends its span; who would have answered is not known."""
    trace_invoked_models(provider)
    reply = ask("converse_stream")
    if way == "closed":
        next(iter(reply["stream"]))
        reply["stream"].close()
    del reply
    gc.collect()
    assert models(exported) == [None]


@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
def test_a_processor_that_fails_breaks_no_call(
    ask: Callable[..., Any], provider: Any, exported: Spans, operation: str
) -> None:
    """A span processor that raises when a span ends costs no reply, and the call is counted once."""

    class Broken(trace.SpanProcessor):
        def on_end(self, span: Any) -> None:
            raise RuntimeError("a processor's own trouble")

    trace_invoked_models(provider)
    provider.add_span_processor(Broken())
    with collect() as ledger:
        reply = ask(operation)
        assert list(reply.get("stream", ())) or reply["output"]
    assert models(exported) == [LITE]
    assert [receipt.complete for receipt in ledger.receipts] == [True]


def test_other_spans_are_left_alone(ask: Callable[..., Any], provider: Any, exported: Spans) -> None:
    """A span that is open meanwhile but does not stand for a call of the service says what it said."""
    trace_invoked_models(provider)
    ask(scope="opentelemetry.instrumentation.botocore")
    assert models(exported) == [None]


def test_asking_twice_is_asking_once(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider gets one processor, however often it is asked for."""
    added: Spans = []
    monkeypatch.setattr(provider, "add_span_processor", added.append)
    trace_invoked_models(provider)
    trace_invoked_models(provider)
    assert len(added) == 1


def test_a_provider_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK's provider, or without the SDK, the error says what to do."""
    with pytest.raises(ConfigurationError, match="set a TracerProvider"):
        trace_invoked_models(object())
    monkeypatch.delitem(sys.modules, "bedrock_routing.span_processor", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"bedrock-routing\[otel\]"):
        trace_invoked_models()


def test_describe_a_span_of_ones_own(provider: Any, exported: Spans) -> None:
    """A receipt has the last word on a span: what is written after it is corrected when the span ends."""
    with provider.get_tracer("mine").start_as_current_span("ask") as span:
        describe_call(span, RECEIPT)
        span.set_attribute("gen_ai.usage.input_tokens", 1)
    describe_call(span, RECEIPT)
    assert dict(exported[0].attributes) == {
        "gen_ai.request.model": "arn:router",
        "gen_ai.response.model": LITE,
        "gen_ai.usage.input_tokens": 4321,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "gen_ai.usage.cache_creation.input_tokens": 4300,
    }


def test_what_is_unknown_is_not_said(provider: Any, exported: Spans) -> None:
    """A receipt that knows nothing leaves a span as it is."""
    with provider.get_tracer("mine").start_as_current_span("ask") as span:
        span.set_attribute("gen_ai.request.model", "mine")
        describe_call(span, Receipt(complete=False))
    assert dict(exported[0].attributes) == {"gen_ai.request.model": "mine"}
