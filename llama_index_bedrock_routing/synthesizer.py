"""A response synthesizer that sends each document as a block of its own, and keeps the receipt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

from llama_index.core import Settings
from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.callbacks import CallbackManager
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.instrumentation.events.synthesis import (
    GetMessageResponseEndEvent,
    GetMessageResponseStartEvent,
    GetResponseEndEvent,
    GetResponseStartEvent,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts.base import BasePromptTemplate
from llama_index.core.prompts.default_prompt_selectors import (
    DEFAULT_REFINE_PROMPT_SEL,
    DEFAULT_TEXT_QA_PROMPT_SEL,
)
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.response_synthesizers.base import BaseSynthesizer
from llama_index.core.schema import NodeWithScore
from llama_index.core.types import RESPONSE_TEXT_TYPE
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel
from typing_extensions import override

from bedrock_routing import Ledger, Receipt, collect
from llama_index_bedrock_routing.document_prompts import Asking, document_of
from llama_index_bedrock_routing.replies import RECEIPT

__all__ = ["CachedDocumentsSynthesizer"]

_ALL_CALLS = f"{RECEIPT}_calls"

_answered: ContextVar[tuple[Any, _Calls] | None] = ContextVar("bedrock_routing_answered", default=None)
"""The answer made last, and its calls: LlamaIndex's base class hands on the bare answer to be wrapped up."""
dispatcher = get_dispatcher(__name__)


class CachedDocumentsSynthesizer(BaseSynthesizer):
    """Answer from documents that are blocks of one message, so that cache points can stand between them.

    The prompts are those of LlamaIndex, divided: what stands before the documents, each document, and what
    follows them. Documents that do not fit the context window are asked about in groups, each of which
    refines the answer so far; only a document that alone is too long is split.

    The receipt of the call that wrote the answer stands in `Response.metadata["bedrock_routing"]`, and where
    there were several calls, those of all in `metadata["bedrock_routing_calls"]`; a stream has them when it
    has ended. Any LLM will do; one that is not asked through this library leaves no receipt.

    `llm` is `Settings.llm` unless given. `text_qa_template` and `refine_template` are what other synthesizers
    have under these names. With `output_cls` the answer is an object, and never streamed. `multimodal` sends
    images of nodes, too, and needs a chat model.

        index.as_query_engine(response_synthesizer=CachedDocumentsSynthesizer())
    """

    def __init__(
        self,
        llm: LLM | None = None,
        *,
        text_qa_template: BasePromptTemplate | None = None,
        refine_template: BasePromptTemplate | None = None,
        output_cls: type[BaseModel] | None = None,
        streaming: bool = False,
        multimodal: bool = False,
        empty_response: str | None = None,
        prompt_helper: PromptHelper | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(
            llm=llm or Settings.llm,
            callback_manager=callback_manager,
            prompt_helper=prompt_helper,
            streaming=streaming,
            output_cls=output_cls,
            empty_response=empty_response,
            multimodal=multimodal,
        )
        self._prompts: PromptDictType = {
            "text_qa_template": text_qa_template or DEFAULT_TEXT_QA_PROMPT_SEL,
            "refine_template": refine_template or DEFAULT_REFINE_PROMPT_SEL,
        }

    @override
    def _get_prompts(self) -> PromptDictType:
        return dict(self._prompts)

    @override
    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        self._prompts = {name: prompts_dict.get(name, prompt) for name, prompt in self._prompts.items()}

    # Answers

    @override
    def get_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from texts, each of them one document; `response_kwargs` are variables of the templates."""
        dispatcher.event(GetResponseStartEvent(query_str=query_str, text_chunks=list(text_chunks)))
        answer = self._respond(self._asking(query_str, _blocks(text_chunks), response_kwargs))
        dispatcher.event(GetResponseEndEvent())
        return answer

    @override
    async def aget_response(
        self, query_str: str, text_chunks: Sequence[str], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from texts without blocking the event loop."""
        dispatcher.event(GetResponseStartEvent(query_str=query_str, text_chunks=list(text_chunks)))
        answer = await self._arespond(self._asking(query_str, _blocks(text_chunks), response_kwargs))
        dispatcher.event(GetResponseEndEvent())
        return answer

    @override
    def get_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages, the blocks of each being one document."""
        given = list(message_chunks)
        dispatcher.event(GetMessageResponseStartEvent(query_str=query_str, message_chunks=given))
        answer = self._respond(self._asking(query_str, (each.blocks for each in given), response_kwargs))
        dispatcher.event(GetMessageResponseEndEvent())
        return answer

    @override
    async def aget_response_from_messages(
        self, query_str: str, message_chunks: Sequence[ChatMessage], **response_kwargs: Any
    ) -> RESPONSE_TEXT_TYPE:
        """Answer from messages without blocking the event loop."""
        given = list(message_chunks)
        dispatcher.event(GetMessageResponseStartEvent(query_str=query_str, message_chunks=given))
        answer = await self._arespond(
            self._asking(query_str, (each.blocks for each in given), response_kwargs)
        )
        dispatcher.event(GetMessageResponseEndEvent())
        return answer

    @override
    def _prepare_response_output(
        self, response_str: RESPONSE_TEXT_TYPE | None, source_nodes: list[NodeWithScore]
    ) -> RESPONSE_TYPE:
        response = super()._prepare_response_output(response_str, source_nodes)
        answer, calls = _answered.get() or (None, None)
        if calls is not None and answer is response_str and response.metadata is not None:
            calls.tell(response.metadata)
        _answered.set(None)
        return response

    def _asking(self, query: str, documents: Iterable[Iterable[Any]], more: Mapping[str, Any]) -> Asking:
        return Asking(
            llm=self._llm,
            helper=self._prompt_helper,
            prompts=self._prompts,
            documents=map(document_of, documents),
            variables={**more, "query_str": query},
        )

    @property
    def _streams(self) -> bool:
        return self._streaming and self._output_cls is None and not isinstance(self._llm, StructuredLLM)

    def _respond(self, asking: Asking) -> RESPONSE_TEXT_TYPE:
        calls = _Calls()
        with collect(calls):
            while not asking.done:
                variables, prompt = asking.variables, asking.prompt()
                if asking.done and self._streams:
                    return _made(
                        _read(partial(self._llm.stream, prompt, **variables), calls.awaiting()), calls
                    )
                if self._output_cls is None:
                    asking.answer = self._llm.predict(prompt, **variables)
                else:
                    asking.answer = self._llm.structured_predict(self._output_cls, prompt, **variables)
        empty = self._empty_response_generator() if self._streams else self._empty_response
        return _made(asking.answer or empty, calls)

    async def _arespond(self, asking: Asking) -> RESPONSE_TEXT_TYPE:
        calls = _Calls()
        with collect(calls):
            while not asking.done:
                variables, prompt = asking.variables, asking.prompt()
                if asking.done and self._streams:
                    return _made(
                        _aread(partial(self._llm.astream, prompt, **variables), calls.awaiting()), calls
                    )
                if self._output_cls is None:
                    asking.answer = await self._llm.apredict(prompt, **variables)
                else:
                    asking.answer = await self._llm.astructured_predict(self._output_cls, prompt, **variables)
        empty = self._empty_response_agenerator() if self._streams else self._empty_response
        return _made(asking.answer or empty, calls)


class _Calls(Ledger):
    """Collect the receipts of one answer; they go into its metadata when the call that wrote it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._metadata: dict[str, Any] | None = None
        self._before = 0

    def awaiting(self) -> _Calls:
        """Tell nothing until one more call has ended."""
        self._before = len(self.receipts)
        return self

    def tell(self, metadata: dict[str, Any]) -> None:
        """Name the metadata of the answer."""
        self._metadata = metadata
        self._tell()

    @override
    def add(self, receipt: Receipt) -> None:
        super().add(receipt)
        self._tell()

    def _tell(self) -> None:
        told = [each.to_dict() for each in self.receipts]
        if self._metadata is None or len(told) <= self._before:
            return
        self._metadata[RECEIPT] = told[-1]
        if len(told) > 1:
            self._metadata[_ALL_CALLS] = told


def _blocks(texts: Iterable[str]) -> Iterable[Iterable[Any]]:
    return ([TextBlock(text=each)] for each in texts)


def _made(answer: Any, calls: _Calls) -> Any:
    _answered.set((answer, calls))
    return answer


def _read(ask: Callable[[], Generator[str]], calls: _Calls) -> Generator[str]:
    """Yield tokens; only while the LLM is at work are its calls collected, never in the reader's own time."""
    with collect(calls):
        tokens = ask()
    try:
        while True:
            with collect(calls):
                token = next(tokens, None)
            if token is None:
                return
            yield token
    finally:
        with collect(calls):
            tokens.close()


async def _aread(ask: Callable[[], Awaitable[AsyncGenerator[str]]], calls: _Calls) -> AsyncGenerator[str]:
    with collect(calls):
        tokens = await ask()
    try:
        while True:
            with collect(calls):
                token = await anext(tokens, None)
            if token is None:
                return
            yield token
    finally:
        with collect(calls):
            await tokens.aclose()
