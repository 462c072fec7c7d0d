"""Say on OpenTelemetry spans which model answered, and of how many tokens the whole prompt was.

Tracers read a span's model from the request, where a router's ARN stands, and those that sit on the boto3
client take `inputTokens`, which leaves cached tokens out, for the whole prompt. The receipt knows better, but
it is made when the spans of the client have just ended. So, where `trace_invoked_models` is on, a span that
is started while the service is being called ends when its receipt is there, with the time at which it was
meant to end.

Nothing here imports OpenTelemetry, and nothing here ever breaks a call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from bedrock_routing.errors import ConfigurationError, MissingExtraError
from bedrock_routing.receipt import Receipt

__all__ = ["CallSpans", "attributes_of", "describe_call", "trace_invoked_models"]

logger = logging.getLogger("bedrock_routing")

_OPENINFERENCE = "openinference."
_CLIENT_SCOPES = (
    "opentelemetry.instrumentation.botocore.bedrock-runtime",
    "opentelemetry.instrumentation.bedrock",
    "openinference.instrumentation.bedrock",
)
"""The tracers whose spans stand for a call of the boto3 client; spans of others may stand for anything."""

_providers: WeakSet[Any] = WeakSet()
_lock = threading.Lock()


def trace_invoked_models(provider: Any = None) -> None:
    """Let the spans that tracers open around the boto3 client say what the receipt says.

    `provider` is an OpenTelemetry `TracerProvider`, else the global one. It gets one more span processor, and
    calls of `RoutedClient`, so of both frameworks' models, are described from then on. Covers OpenTelemetry's
    instrumentation of botocore, and those of Traceloop and OpenInference for Bedrock; their metrics are not
    changed.

    Raises `MissingExtraError` without the OpenTelemetry SDK, `ConfigurationError` where no provider is set.
    """
    try:
        from opentelemetry.trace import get_tracer_provider  # noqa: PLC0415 - only who asks for it needs it

        from bedrock_routing.span_processor import CallSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("trace_invoked_models", "otel") from error
    provider = provider or get_tracer_provider()
    if not hasattr(provider, "add_span_processor"):
        raise ConfigurationError(
            f"{type(provider).__name__} takes no span processor: set a TracerProvider of the OpenTelemetry "
            "SDK first, or pass it as provider="
        )
    with _lock:
        if provider in _providers:
            return
        _providers.add(provider)
    provider.add_span_processor(CallSpanProcessor())


def describe_call(span: Any, receipt: Receipt) -> None:
    """Say on a span what a receipt says, now and once more when it ends: tracers write last.

    Uses the attributes of OpenInference on its own spans, of OpenTelemetry's GenAI conventions on all others.
    What is unknown is left as it is. A span that has ended, or is not recorded, is left alone.
    """
    if not span.is_recording():
        return
    attributes = attributes_of(receipt, _scope(span))
    _set(span, attributes)
    end = span.end

    def describe_and_end(end_time: int | None = None) -> None:
        _set(span, attributes)
        end(end_time)

    _replace_end(span, describe_and_end)


def attributes_of(receipt: Receipt, scope: str = "") -> Mapping[str, Any]:
    """Return what a receipt says in the words of the tracer whose scope is given. All counts are inclusive.

    Sources: OpenTelemetry's semantic conventions for generative AI (`gen_ai.usage.input_tokens` includes
    cached tokens) and OpenInference's (`llm.response.model_name`), both read 2026-11-23.
    """
    usage = receipt.usage
    asked = receipt.router_arn
    counts = (
        {}
        if usage is None
        else {
            "prompt": usage.prompt,
            "output": usage.output,
            "total": usage.prompt + usage.output,
            "read": usage.read,
            "write": usage.write,
        }
    )
    facts: Mapping[str, Any] = {"asked": asked, "answered": receipt.model, **counts}
    names = _IN_OPENINFERENCE if scope.startswith(_OPENINFERENCE) else _IN_GENAI
    return {name: facts[fact] for name, fact in names.items() if facts.get(fact) is not None}


_TOTAL = "gen_ai.usage.total_tokens"
"""An attribute of Traceloop's own; corrected where a span has it."""
_IN_GENAI = {
    "gen_ai.request.model": "asked",
    "gen_ai.response.model": "answered",
    "gen_ai.usage.input_tokens": "prompt",
    "gen_ai.usage.output_tokens": "output",
    _TOTAL: "total",
    "gen_ai.usage.cache_read.input_tokens": "read",
    "gen_ai.usage.cache_creation.input_tokens": "write",
}
_IN_OPENINFERENCE = {
    "llm.model_name": "answered",
    "llm.request.model_name": "asked",
    "llm.response.model_name": "answered",
    "llm.token_count.prompt": "prompt",
    "llm.token_count.completion": "output",
    "llm.token_count.total": "total",
    "llm.token_count.prompt_details.cache_read": "read",
    "llm.token_count.prompt_details.cache_write": "write",
}
_current: ContextVar[CallSpans | None] = ContextVar("bedrock_routing_call_spans", default=None)


class CallSpans:
    """Hold the spans that tracers start while the service is called, until their receipt is there.

    Used as a context around the call; `describe`, `release` or an error in the context lets the spans end.
    """

    def __init__(self) -> None:
        self._receipt: Receipt | None = None
        self._over = False
        self._waiting: list[Callable[[], None]] = []
        self._token: Token[CallSpans | None] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._token = _current.set(self) if _providers else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)
        if kind is not None:
            self.release()

    def __del__(self) -> None:
        """Let spans of a stream that nobody read end."""
        self.release()

    @classmethod
    def started(cls, span: Any) -> None:
        """Take note of a span that was started; it belongs to the call under way, if there is one."""
        call = _current.get()
        if call is not None and _scope(span).startswith(_CLIENT_SCOPES):
            call._hold(span)

    def describe(self, receipt: Receipt) -> None:
        """Say on all spans what the receipt says, and let them end; on those that failed it says nothing."""
        self._receipt = receipt
        self.release()

    def release(self) -> None:
        """Let spans that wait end, and those still open end when their tracer says so."""
        with self._lock:
            self._over = True
            waiting, self._waiting = self._waiting, []
        for end in waiting:
            try:
                end()
            except Exception:
                logger.warning("a span could not be ended; the call itself is not affected", exc_info=True)

    def _hold(self, span: Any) -> None:
        end: Callable[[int | None], None] = span.end
        asked = False

        def finish(at: int | None) -> None:
            if self._receipt is not None and not _failed(span):
                _set(span, attributes_of(self._receipt, _scope(span)))
            end(at)

        def end_with_receipt(end_time: int | None = None) -> None:
            nonlocal asked
            at = end_time if end_time is not None else time.time_ns()
            with self._lock:
                if asked and not self._over:
                    return
                asked = True
                if not self._over:
                    self._waiting.append(lambda: finish(at))
                    return
            finish(at)

        _replace_end(span, end_with_receipt)


def _set(span: Any, attributes: Mapping[str, Any]) -> None:
    try:
        if span.is_recording():
            left_out = {_TOTAL} - set(getattr(span, "attributes", None) or ())
            span.set_attributes({key: said for key, said in attributes.items() if key not in left_out})
    except Exception:
        logger.debug("a span could not be described; the call is not affected", exc_info=True)


def _replace_end(span: Any, end: Callable[..., None]) -> None:
    """Give one span another `end`: a processor's `on_end`, and its `_on_ending` too, find it frozen."""
    try:
        span.end = end
    except AttributeError:
        logger.debug("a span of %s keeps its own end", type(span).__name__)


def _failed(span: Any) -> bool:
    status = getattr(getattr(span, "status", None), "status_code", None)
    return getattr(status, "name", "") == "ERROR"


def _scope(span: Any) -> str:
    return str(getattr(getattr(span, "instrumentation_scope", None), "name", ""))
