"""Make a chat model in one line, as LangChain's `init_chat_model` does for the providers that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField, Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.configurable import RunnableConfigurableFields

from bedrock_routing import ConfigurationError
from langchain_bedrock_routing.chat_model import ChatBedrockRouter

__all__ = ["init_router_model"]


@overload
def init_router_model(
    model: str, *, configurable_fields: None = None, **settings: Any
) -> ChatBedrockRouter: ...


@overload
def init_router_model(
    model: str, *, configurable_fields: Sequence[str], config_prefix: str = "", **settings: Any
) -> Runnable[LanguageModelInput, AIMessage]: ...


def init_router_model(
    model: str,
    *,
    configurable_fields: Sequence[str] | None = None,
    config_prefix: str = "",
    **settings: Any,
) -> Any:
    """Return a chat model for a router or a model, by any of its names, with or without `bedrock_routing:`.

    `configurable_fields` names the settings that a call may change in `config["configurable"]`, there with
    `config_prefix` and an underscore in front, if one is given. Such a model shares its connections over
    all configurations. Tools and schemas are bound when the call's configuration is known, so what a model
    does not accept is said by the call, not by `bind_tools`.

    Raises `ConfigurationError` for a setting that does not exist, and for "any": whoever sets a call's
    configuration could then choose its endpoint and credentials.

        llm = init_router_model("bedrock_routing:amazon.nova:1", region_name="us-east-1")
    """
    llm = ChatBedrockRouter(model=model, **settings)
    if configurable_fields is None:
        return llm
    if isinstance(configurable_fields, str):
        raise ConfigurationError(
            f"configurable_fields={configurable_fields!r}: name the settings that a call may change, "
            "such as ['model', 'temperature']"
        )
    prefix = f"{config_prefix.removesuffix('_')}_" if config_prefix else ""
    fields: dict[str, Any] = {
        _field(name): ConfigurableField(id=f"{prefix}{name}") for name in configurable_fields
    }
    return _Configurable(default=llm, fields=fields)


class _Configurable(RunnableConfigurableFields):
    """Be a model of which a call may change fields, before tools or a schema are bound to it."""

    def bind_tools(self, tools: Sequence[Any], **settings: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to the model that a call configures."""
        return self._later("bind_tools", tools, settings)

    def with_structured_output(self, schema: Any, **settings: Any) -> Runnable[LanguageModelInput, Any]:
        """Ask the model that a call configures for an answer of this form."""
        return self._later("with_structured_output", schema, settings)

    def _later(self, method: str, what: Any, settings: dict[str, Any]) -> Any:
        def bound(_: LanguageModelInput, config: RunnableConfig) -> Runnable[Any, Any]:
            model, _config = self.prepare(config)
            return getattr(model, method)(what, **settings)

        return RunnableLambda(bound, name=method)


def _field(name: str) -> str:
    """Return the field that holds a setting: `model` is kept as `model_id`, `cache` as `prompt_cache`."""
    if name == "cache":
        return "prompt_cache"
    for field, info in ChatBedrockRouter.model_fields.items():
        if name in (field, info.alias):
            return field
    raise ConfigurationError(f"configurable_fields names {name!r}, which is no setting of ChatBedrockRouter")
