"""The chat model's tools and structured output: only what every model behind the router can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, cast

from langchain_aws import ChatBedrockConverse
from langchain_aws.utils import thinking_enabled_in_params, thinking_forced_tool_use_unsupported
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableLambda
from typing_extensions import override

from bedrock_routing import ConfigurationError
from langchain_bedrock_routing.behind import Behind, look_behind, read_model, tool_choices
from langchain_bedrock_routing.configured import ConfiguredConverse
from langchain_bedrock_routing.structured import (
    answered,
    asking_for_json,
    is_pydantic,
    json_parser,
    json_schema_of,
    parsed,
)
from langchain_bedrock_routing.tool_choice import names_of, read_choice

__all__ = ["ToolsConverse"]

_METHODS = ("function_calling", "json_schema", "json_mode", "prompt_prefill")


class ToolsConverse(ConfiguredConverse):
    """Be a Converse model that knows which tool choices the models behind its router accept."""

    def _behind(self) -> Behind:
        return read_model(self.model_id) if self.client is None else look_behind(self.client, self.model_id)

    @override
    def _get_base_model(self) -> str:
        return self.base_model_id or next(iter(self._behind().model_ids), self.model_id)

    @override
    def bind_tools(
        self,
        tools: Sequence[Any],
        *,
        tool_choice: Any = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Offer tools; `tool_choice` in any form that `read_choice` reads.

        Raises `ConfigurationError`, already here, where a model behind cannot be forced as it says, and where
        it names no tool of these. "any" stands in for the name of the only tool where a model takes no names.
        """
        names = names_of(tools)
        choice = read_choice(tool_choice, names)
        if choice is not None and "tool" in choice and names is not None and len(names) == 1:
            accepted = self._knowing_tool_choices().supports_tool_choice_values or ()
            choice = {"any": {}} if "tool" not in accepted and "any" in accepted else choice
        bound = super().bind_tools(tools, tool_choice=cast("Any", choice), strict=strict, **kwargs)
        return cast("Runnable[LanguageModelInput, AIMessage]", bound)

    @override
    def with_structured_output(
        self,
        schema: Any,
        *,
        include_raw: bool = False,
        method: str = "function_calling",
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a model that answers in the form of a pydantic class, a TypedDict or a JSON schema.

        `function_calling` (the default) forces a call, and raises `ConfigurationError` here where a model
        behind cannot be forced. `json_schema` has the service keep to the schema. `json_mode` asks for JSON
        in the system prompt, which any model understands. `prompt_prefill` begins the answer itself, which
        newer Claude models refuse. The result is never `None`: an answer that is none raises
        `OutputParserException`, a withheld one `ModelRefusalError`; with `include_raw` the error stands
        beside the message.
        """
        if method not in _METHODS:
            raise ConfigurationError(f"method={method!r} is none of {', '.join(map(repr, _METHODS))}")
        if method == "json_mode":
            return self._with_json_mode(schema, include_raw=include_raw, **kwargs)
        if method != "function_calling" and not is_pydantic(schema):
            schema = json_schema_of(schema)
        plain = super().with_structured_output(schema, method=cast("Any", method), strict=strict, **kwargs)
        return answered(plain, include_raw=include_raw, needs_call=method == "function_calling")

    def _with_json_mode(
        self, schema: Any, *, include_raw: bool, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        wanted = None if schema is None else json_schema_of(schema)
        traced = {"kwargs": {"method": "json_mode"}, "schema": wanted}

        def ask(given: LanguageModelInput) -> list[BaseMessage]:
            return asking_for_json(self._convert_input(given).to_messages(), wanted)

        llm = RunnableLambda(ask) | self.bind(ls_structured_output_format=traced, **kwargs)
        plain = parsed(cast("Any", llm), json_parser(schema), include_raw=False)
        return answered(plain, include_raw=include_raw, needs_call=False)

    def _knowing_tool_choices(self) -> Self:
        """Return a model with `supports_tool_choice_values`: the caller's, else those of its models."""
        if self.supports_tool_choice_values is not None:
            return self
        base, fields = self._get_base_model(), self.additional_model_request_fields or {}
        if thinking_enabled_in_params(base, fields) and thinking_forced_tool_use_unsupported(base):
            known: tuple[str, ...] = ("auto",)
        else:
            known = tool_choices(self.client, self.model_id)
        return self.model_copy(update={"supports_tool_choice_values": known})

    @override
    def _resolve_tool_choice(
        self, tool_choice: dict[str, Any] | str | None
    ) -> dict[str, dict[str, str]] | None:
        if not tool_choice:
            return None
        knowing = self._knowing_tool_choices()
        try:
            return ChatBedrockConverse._resolve_tool_choice(knowing, tool_choice)
        except ValueError as error:
            raise self._cannot(f"tool_choice={tool_choice!r}", knowing) from error

    @override
    def _with_structured_output_function_calling(
        self,
        schema: Any,
        *,
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        knowing = self._knowing_tool_choices()
        can_force = {"any", "tool"} & set(knowing.supports_tool_choice_values or ())
        if not can_force and not thinking_forced_tool_use_unsupported(self._get_base_model()):
            raise self._cannot("with_structured_output, which must force a tool call", knowing)
        return super(ToolsConverse, knowing)._with_structured_output_function_calling(
            schema, include_raw=include_raw, strict=strict, **kwargs
        )

    def _cannot(self, what: str, knowing: Self) -> ConfigurationError:
        accepted = ", ".join(map(repr, knowing.supports_tool_choice_values or ())) or "none"
        return ConfigurationError(
            f"{self._behind().described} cannot do {what}: tool_choice values accepted: {accepted}. "
            "For structured output, method='json_schema' and method='json_mode' need no tool; "
            "supports_tool_choice_values= overrides what is known of the model."
        )
