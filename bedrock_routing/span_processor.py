"""The span processor of `trace_invoked_models`; it needs the OpenTelemetry SDK (extra `otel`)."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from bedrock_routing.tracing import CallSpans

__all__ = ["CallSpanProcessor"]


class CallSpanProcessor(SpanProcessor):
    """Tell the call under way which spans are started in it; nothing is exported here."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - its signature
        """Take note of a span, in the thread and context that start it."""
        CallSpans.started(span)
