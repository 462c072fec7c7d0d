"""The chat model: langchain-aws's Converse model, for prompt routers, with each document paid for once.

Rules:

1. A call runs on a copy of the model (`_for_call`) that knows what stands behind the router; the user's
   object stays as it was configured.
2. Cache points, receipts and the checks on streams are the business of `RoutedClient`; here is translation.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from functools import partial
from typing import Any, Self, cast

from langchain_aws import ChatBedrockConverse
from langchain_aws.utils import count_tokens_api_supported_for_model
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from typing_extensions import override

from bedrock_routing import parse
from langchain_bedrock_routing.behind import common_profile, read_model
from langchain_bedrock_routing.calls import RECEIPT, Call, as_chunk, copied, has_tools, name_model
from langchain_bedrock_routing.errors import handed_out, is_retryable, model_errors
from langchain_bedrock_routing.locking import note_callers
from langchain_bedrock_routing.tools import ToolsConverse
from langchain_bedrock_routing.tracing import TracedConverse, count_writes, tell_tracers

__all__ = ["ChatBedrockRouter"]

_NAMES_OF_MODEL = ("model", "router", "model_id", "modelId")
_OWN_POINTS = "cache_control: points are placed by prompt_cache; CachePolicy(ttl=...) sets their lifetime"


class ChatBedrockRouter(TracedConverse, ToolsConverse):
    """Ask an Amazon Bedrock prompt router, or a model, with each retrieved document paid for once.

    `model` takes a router's ARN, its name ("Nova Prompt Router"), its short form ("amazon.nova:1"), or any id
    or ARN of a model; `router` says the same. Nothing else is needed: what the models behind a router can do
    is looked up at the first call that depends on it; where that is not permitted, `router_models` says it.

    `cache` takes a `CachePolicy`, or `False` for no automatic cache points; it is kept as `prompt_cache`,
    because a LangChain model already has a `cache` (of whole answers), which may still be given.

    Each answer carries its receipt in `response_metadata["bedrock_routing"]`, and the model that wrote it in
    `response_metadata["model_name"]`. All other settings are those of `ChatBedrockConverse`.

        llm = ChatBedrockRouter(model="amazon.nova:1", region_name="us-east-1")
        llm.invoke("Hello").response_metadata["model_name"]  # 'amazon.nova-lite-v1:0'
    """

    # What stands behind the model string

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        given = [parse(each).model_id for each in self.router_models or ()]
        names = (self.base_model_id,) if self.base_model_id else self._behind().model_ids or tuple(given)
        if not names or None in names:
            return None
        singles = [self.model_copy(update={"model_id": each, "base_model_id": each}) for each in names]
        return common_profile([ChatBedrockConverse._resolve_model_profile(each) or {} for each in singles])

    def _for_call(self, kwargs: Mapping[str, Any], call: Call) -> tuple[Self, dict[str, Any]]:
        """Return a copy of this model that knows what it asks, and the call's other arguments."""
        arguments = {key: value for key, value in kwargs.items() if key not in _NAMES_OF_MODEL}
        model = next((kwargs[name] for name in _NAMES_OF_MODEL if kwargs.get(name)), self.model_id)
        update: dict[str, Any] = {
            "client": call,
            "model_id": model,
            "raw_blocks": copy.deepcopy(self.raw_blocks),
        }
        if model != self.model_id:
            update |= {"base_model_id": None, "provider": "", "profile": None}
        elif self.reasoning_effort is not None and not self._known_offline:
            arguments.setdefault("reasoning_effort", self.reasoning_effort)
        asked = self.model_copy(update=update)
        asked.provider = asked.provider or asked._behind().provider
        # Not kept on this object: `create_agent` reads it before each step, and would change its ways.
        if asked.profile is None:
            asked.profile = asked._resolve_model_profile()
        return asked, arguments

    # Calls

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = Call(self.client)
        with model_errors(call):
            note_callers(self.client, messages)
            asked, arguments = self._for_call(kwargs, call)
            return asked._answer(messages, stop, run_manager, arguments)

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = Call(self.client)
        return handed_out(call, self._chunks(call, messages, stop, run_manager, kwargs))

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        manager = run_manager.get_sync() if run_manager else None
        return await self._runner().run(partial(self._generate, messages, stop, manager, **kwargs))

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = Call(self.client)
        chunks = self._runner().iterate(
            partial(handed_out, call, self._chunks(call, messages, stop, None, kwargs)),
            interrupt=call.interrupt,
        )
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                tell_tracers(run_manager, chunk.message)
                if run_manager:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    @override
    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """Ask many at once: as many as `max_concurrency`, unless `config` sets a bound of its own."""
        bound = min(len(inputs), self.max_concurrency)
        bounded = [
            RunnableConfig({**each, "max_concurrency": each.get("max_concurrency") or bound})
            for each in get_config_list(config, len(inputs))
        ]
        return super().batch(inputs, bounded, return_exceptions=return_exceptions, **kwargs)

    @override
    def with_retry(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Make a failed call again where that may help, unless `retry_if_exception_type` says otherwise.

        LangChain's own default makes any call again, also one that is not permitted.
        """
        kwargs.setdefault("retry_if_exception_type", is_retryable)
        return super().with_retry(**kwargs)

    def _answer(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | None,
        arguments: dict[str, Any],
    ) -> ChatResult:
        """Make the call of a copy that `_for_call` made for it."""
        result = ChatBedrockConverse._generate(self, copied(messages), stop, run_manager, **arguments)
        for generation in result.generations:
            message = cast("ChatGeneration", generation).message
            name_model(message, self._behind(), self.client)
            count_writes(message)
        return result

    def _chunks(
        self,
        call: Call,
        messages: list[BaseMessage],
        stop: list[str] | None,
        run_manager: CallbackManagerForLLMRun | None,
        kwargs: Mapping[str, Any],
    ) -> Generator[ChatGenerationChunk]:
        """Stream one call; closing the generator closes the HTTP stream."""
        note_callers(self.client, messages)
        asked, arguments = self._for_call(kwargs, call)
        if has_tools(arguments) and asked._cannot_stream_tools():
            yield as_chunk(asked._answer(messages, stop, run_manager, arguments))
            return
        chunks = ChatBedrockConverse._stream(asked, copied(messages), stop, run_manager, **arguments)
        with contextlib.closing(cast("Generator[ChatGenerationChunk]", chunks)):
            for chunk in chunks:
                if RECEIPT in chunk.message.response_metadata:
                    name_model(chunk.message, asked._behind(), call)
                    count_writes(chunk.message)
                    tell_tracers(run_manager, chunk.message)
                yield chunk

    def _cannot_stream_tools(self) -> bool:
        return any(
            self._get_streaming_support(ref.provider or "", (ref.model_id or "").lower()) == "no_tools"
            for ref in self._behind().models
        )

    @override
    def _apply_cache_points(
        self,
        cache_control: dict[str, Any] | None,
        system: list[dict[str, Any]],
        bedrock_messages: list[dict[str, Any]],
        params: dict[str, Any] | None = None,
    ) -> None:
        """Leave cache points to the client, which knows the models; where it places none, place them."""
        if self.prompt_cache is False:
            super()._apply_cache_points(cache_control, system, bedrock_messages, params)
        elif cache_control and isinstance(self.client, Call):
            self.client.skipped.append({"path": "*", "reason": _OWN_POINTS})

    @override
    def get_num_tokens(self, text: str) -> int:
        """Count as `get_num_tokens_from_messages` does."""
        return self.get_num_tokens_from_messages([HumanMessage(text)])

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Any = None) -> int:
        """Count with the service where the model behind allows it, else estimate; no tokenizer is loaded."""
        if count_tokens_api_supported_for_model(self._get_base_model()):
            return super().get_num_tokens_from_messages(copied(messages), tools)
        return count_tokens_approximately(messages)

    # Tracing

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        # without its client: the Region is not worth making one for
        provider = self.provider or read_model(self.model_id).provider
        traced = self.model_copy(update={"client": None, "provider": provider})
        return ChatBedrockConverse._get_ls_params(traced, stop=stop, **kwargs)
