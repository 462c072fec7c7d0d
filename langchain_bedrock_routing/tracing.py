"""Correct what tracers were told at a call's start, when it is known which model answered.

A tracer hears the model's name before the call (`ls_model_name`): of a router, the router's. LangSmith prices
a run by that name, and OpenInference shows it; both read it again at the end of the run. So a handler of ours
is the first to hear of the end, and tells its neighbours.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol, cast
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    Callbacks,
)
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import InputTokenDetails
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langchain_core.tracers.base import BaseTracer
from typing_extensions import override

from bedrock_routing import Receipt, describe_call
from langchain_bedrock_routing.callbacks import fresh_receipt
from langchain_bedrock_routing.calls import RECEIPT
from langchain_bedrock_routing.configured import ConfiguredConverse

__all__ = ["TracedConverse", "count_writes", "tell_tracers"]

logger = logging.getLogger("bedrock_routing")

_FIVE_MINUTES = "ephemeral_5m_input_tokens"


class TracedConverse(ConfiguredConverse):
    """Be a Converse model whose tracers are told at the end which model answered."""

    @override
    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        return super().generate(messages, stop, self._telling(CallbackManager, callbacks), **kwargs)

    @override
    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        telling = self._telling(AsyncCallbackManager, callbacks)
        return await super().agenerate(messages, stop, telling, **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessageChunk]:
        config = ensure_config(config)
        config["callbacks"] = self._telling(CallbackManager, config.get("callbacks"))
        return super().stream(input, config, **kwargs)

    @override
    def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessageChunk]:
        config = ensure_config(config)
        config["callbacks"] = self._telling(AsyncCallbackManager, config.get("callbacks"))
        return super().astream(input, config, **kwargs)

    def _telling(self, kind: type[CallbackManager | AsyncCallbackManager], callbacks: Callbacks) -> Callbacks:
        """Return the callbacks with one of ours in front; the same ones where no tracer is among them."""
        try:
            manager = kind.configure(callbacks)
            tracers = [each for each in (*manager.handlers, *_handlers(self.callbacks)) if _traces(each)]
            if not tracers or any(isinstance(each, _Teller) for each in manager.handlers):
                return callbacks
            manager.handlers.insert(0, _Teller(tracers))
        except Exception:
            logger.debug("tracers will not be told which model answered", exc_info=True)
            return callbacks
        return manager


class _Teller(BaseCallbackHandler):
    """Hear of the end of a run first, and tell the tracers."""

    run_inline = True

    def __init__(self, tracers: Sequence[BaseCallbackHandler]) -> None:
        self._tracers = tracers

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        for generations in response.generations:
            for each in generations:
                if isinstance(each, ChatGeneration) and fresh_receipt(each):
                    _tell_all(self._tracers, run_id, each.message)


class RunManager(Protocol):
    """Be what both of LangChain's run managers are to us."""

    run_id: UUID
    handlers: list[BaseCallbackHandler]


def tell_tracers(manager: RunManager | None, message: BaseMessage) -> None:
    """Tell the tracers of a run which model answered, where langchain-core gives its manager to the model."""
    if manager is not None and RECEIPT in message.response_metadata:
        _tell_all(manager.handlers, manager.run_id, message)


def count_writes(message: BaseMessage) -> None:
    """Count tokens written for five minutes as `cache_creation`, which is what langchain-core calls them.

    Where the service says lifetimes, langchain-aws sets `cache_creation` to 0 and counts under
    `ephemeral_5m_input_tokens` and `ephemeral_1h_input_tokens`; most tracers read `cache_creation` alone.
    Moved, not copied: LangSmith prices the details apart, so they must not overlap. Writes for an hour, which
    cost more, keep a count of their own.
    """
    usage = message.usage_metadata if isinstance(message, AIMessage) else None
    details = cast("dict[str, int]", (usage or {}).get("input_token_details") or {})
    if usage is None or _FIVE_MINUTES not in details:
        return
    moved = {key: value for key, value in details.items() if key != _FIVE_MINUTES}
    moved["cache_creation"] = moved.get("cache_creation", 0) + details[_FIVE_MINUTES]
    usage["input_token_details"] = cast("InputTokenDetails", moved)


def _tell_all(handlers: Sequence[BaseCallbackHandler], run_id: UUID, message: BaseMessage) -> None:
    """Tell every tracer; one that cannot be told costs nothing but a log line."""
    receipt = Receipt.from_dict(message.response_metadata[RECEIPT])
    for handler in handlers:
        try:
            _tell(handler, run_id, receipt, message.response_metadata.get("model_name"))
        except Exception:
            logger.debug("%s was not told which model answered", type(handler).__name__, exc_info=True)


def _tell(handler: BaseCallbackHandler, run_id: UUID, receipt: Receipt, model: str | None) -> None:
    run = handler.run_map.get(str(run_id)) if isinstance(handler, BaseTracer) else None
    if run is not None and model:
        # not in place: the runs of a call share their metadata with each other
        extra = run.extra or {}
        run.extra = {**extra, "metadata": {**extra.get("metadata", {}), "ls_model_name": model}}
    span = _span(handler, run_id)
    if span is not None:
        describe_call(span, receipt)


def _traces(handler: BaseCallbackHandler) -> bool:
    return isinstance(handler, BaseTracer) or isinstance(getattr(handler, "spans", None), dict)


def _span(handler: Any, run_id: UUID) -> Any:
    """Return a handler's span of a run: OpenInference's by its method, Traceloop's by its table."""
    if callable(get_span := getattr(handler, "get_span", None)):
        return get_span(run_id)
    spans = getattr(handler, "spans", None)
    holder = cast("dict[UUID, Any]", spans).get(run_id) if isinstance(spans, dict) else None
    return getattr(holder, "span", None)


def _handlers(callbacks: Callbacks) -> Sequence[BaseCallbackHandler]:
    return callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ()
