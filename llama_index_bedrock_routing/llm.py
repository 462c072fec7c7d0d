"""The LLM: LlamaIndex's calls for prompt routers, with each document paid for once.

Cache points, receipts and the checks on streams are the business of `RoutedClient`; here is translation.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from llama_index.core.base.llms.generic_utils import (
    achat_to_completion_decorator,
    astream_chat_to_completion_decorator,
    chat_to_completion_decorator,
    stream_chat_to_completion_decorator,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.program.utils import get_program_for_llm
from llama_index.core.tools.types import BaseTool
from typing_extensions import override

from bedrock_routing import Common
from llama_index_bedrock_routing.configured import ConfiguredRouter
from llama_index_bedrock_routing.content import Wire
from llama_index_bedrock_routing.locking import note_callers
from llama_index_bedrock_routing.replies import read_content, response_of
from llama_index_bedrock_routing.requests import converse_request
from llama_index_bedrock_routing.streaming import responses
from llama_index_bedrock_routing.tools import selections, single_call, tool_config, with_possible_choice

__all__ = ["BedrockRouter"]


class BedrockRouter(ConfiguredRouter):
    """Ask an Amazon Bedrock prompt router, or a model, with each retrieved document paid for once.

    `model` takes a router's ARN, its name ("Nova Prompt Router"), its short form ("amazon.nova:1"), or any id
    or ARN of a model; `router` says the same. Nothing else is needed: what the models behind a router can do
    is looked up at the first call; where that is not permitted, `router_models` says it.

    Each answer carries its receipt in `additional_kwargs["bedrock_routing"]`, and the model that wrote it in
    `raw["model"]`. `raw["usage"]["prompt_tokens"]` is the whole prompt, cached tokens included. As with all
    LLMs of LlamaIndex, `system_prompt` is for `predict` and its kin, not for `chat`.

        Settings.llm = BedrockRouter(model="amazon.nova:1", region_name="us-east-1")
    """

    @classmethod
    @override
    def class_name(cls) -> str:
        """Name the class in what `to_dict` writes."""
        return "BedrockRouter"

    # Calls

    @llm_chat_callback()
    @override
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Ask and return the whole answer."""
        return self._ask(messages, **kwargs)

    @llm_chat_callback()
    @override
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Ask and yield the answer so far; one last item has no delta but all metadata."""
        return self._stream(messages, **kwargs)

    @llm_chat_callback()
    @override
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Ask without blocking the event loop, nor its default executor."""
        return await self._aask(messages, **kwargs)

    @llm_chat_callback()
    @override
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Stream without blocking the event loop; leaving early closes the HTTP stream."""
        return await self._astream(messages, **kwargs)

    @llm_completion_callback()
    @override
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Ask a single prompt."""
        return chat_to_completion_decorator(self._ask)(prompt, **kwargs)

    @llm_completion_callback()
    @override
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Ask a single prompt and yield the answer so far."""
        return stream_chat_to_completion_decorator(self._stream)(prompt, **kwargs)

    @llm_completion_callback()
    @override
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Ask a single prompt without blocking the event loop."""
        return await achat_to_completion_decorator(self._aask)(prompt, **kwargs)

    @llm_completion_callback()
    @override
    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseAsyncGen:
        """Stream the answer to a single prompt without blocking the event loop."""
        return await astream_chat_to_completion_decorator(self._astream)(prompt, **kwargs)

    # A completion asks below the decorated methods: one call is one event, and one turn of the rate limiter

    def _ask(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        request = self._request(messages, kwargs, stream=False)
        reply = self._routed.converse(**request)
        content = ((reply.get("output") or {}).get("message") or {}).get("content") or ()
        return response_of(reply, read_content(content), asked=request["modelId"])

    async def _aask(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return await self._runner().run(partial(self._ask, list(messages), **kwargs))

    def _stream(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return self._chunks(_Call(), messages, kwargs)

    async def _astream(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return self._achunks(list(messages), kwargs)

    def _chunks(
        self, call: _Call, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]
    ) -> Generator[ChatResponse]:
        """Stream one call; closing the generator closes the HTTP stream."""
        request = self._request(messages, kwargs, stream=True)
        with contextlib.closing(call.open(self._routed.converse_stream, request)) as stream:
            yield from responses(stream, asked=request["modelId"])

    async def _achunks(
        self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]
    ) -> AsyncGenerator[ChatResponse]:
        call = _Call()
        chunks = self._runner().iterate(
            partial(self._chunks, call, messages, kwargs), interrupt=call.interrupt
        )
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    def _request(self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any], *, stream: bool) -> Wire:
        """Return the request; may ask the service what the models behind the router can do."""
        note_callers(self._routed, messages)
        given = {**self._call_settings(stream=stream), **kwargs}
        able = self._known(given.get("model"))
        request = converse_request(messages, given, sampling=able.sampling)
        if "toolConfig" in request:
            accepted = ("auto",) if given.get("thinking") else able.tool_choice
            request["toolConfig"] = with_possible_choice(request["toolConfig"], accepted)
        return {**request, "modelId": given.get("model") or self.model}

    def _known(self, model: str | None) -> Common:
        try:
            return self._abilities(model)
        except (BotoCoreError, ClientError):  # the call itself will say what is wrong
            return Common(cache=None, tool_choice=())

    # Tools

    @override
    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or ())
        if user_msg is not None:
            asked = user_msg if isinstance(user_msg, ChatMessage) else ChatMessage(content=user_msg)
            messages.append(asked)
        config = tool_config(tools, choice=tool_choice, required=tool_required)
        return {"messages": messages, **({"tools": config} if config else {}), **kwargs}

    @override
    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,
    ) -> ChatResponse:
        return response if allow_parallel_tool_calls else single_call(response)

    @override
    def stream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseGen:
        """Stream an answer that may call tools; only the first call unless several are allowed."""
        prepared = self._prepare_chat_with_tools(
            tools, user_msg, chat_history, tool_required=tool_required, **kwargs
        )
        chunks = self.stream_chat(**prepared)
        return chunks if allow_parallel_tool_calls else _single_calls(chunks)

    @override
    async def astream_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> ChatResponseAsyncGen:
        """Stream an answer that may call tools; only the first call unless several are allowed."""
        prepared = self._prepare_chat_with_tools(
            tools, user_msg, chat_history, tool_required=tool_required, **kwargs
        )
        chunks = await self.astream_chat(**prepared)
        return chunks if allow_parallel_tool_calls else _asingle_calls(chunks)

    @override
    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Return the calls that an answer makes."""
        return selections(response, error_on_no_tool_call=error_on_no_tool_call)

    # Structured output: core forces the tool call in whole answers, but not in streamed ones

    @override
    def _structured_stream_call(
        self, output_cls: Any, prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        return self._program(output_cls, prompt).stream_call(llm_kwargs=llm_kwargs, **prompt_args)

    @override
    async def _structured_astream_call(
        self, output_cls: Any, prompt: Any, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Any:
        return await self._program(output_cls, prompt).astream_call(llm_kwargs=llm_kwargs, **prompt_args)

    def _program(self, output_cls: Any, prompt: Any) -> Any:
        forced = {"tool_choice": "any"} if self.metadata.is_function_calling_model else {}
        mode = self.pydantic_program_mode
        by_function = mode.value in ("default", "function")
        return get_program_for_llm(
            output_cls, prompt, self, pydantic_program_mode=mode, **(forced if by_function else {})
        )


class _Call:
    """Keep hold of one call's stream: another thread may end it."""

    def __init__(self) -> None:
        self._stream: Any = None
        self._interrupted = False

    def open(self, converse_stream: Callable[..., Mapping[str, Any]], request: Wire) -> Any:
        """Open the stream, unless its reader has already left: then end it at once."""
        self._stream = converse_stream(**request)["stream"]
        if self._interrupted:
            self._stream.close()
        return self._stream

    def interrupt(self) -> None:
        """Make the stream end: now, even while a thread waits for its next event, or once it is open."""
        self._interrupted = True
        if self._stream is not None:
            self._stream.interrupt()


def _single_calls(chunks: ChatResponseGen) -> ChatResponseGen:
    with contextlib.closing(chunks):
        for chunk in chunks:
            yield single_call(chunk)


async def _asingle_calls(chunks: ChatResponseAsyncGen) -> ChatResponseAsyncGen:
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            yield single_call(chunk)
