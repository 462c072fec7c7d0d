"""Make a chat model in one line, as LangChain's `init_chat_model` does for the providers that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField, Runnable

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
    all configurations. Its `bind_tools` binds to the model as it is configured then; configure first:
    `llm.with_config(configurable={"model": "amazon.nova-pro-v1:0"}).bind_tools([...])`.

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
    fields = {_field(name): ConfigurableField(id=f"{prefix}{name}") for name in configurable_fields}
    return llm.configurable_fields(**fields)


def _field(name: str) -> str:
    """Return the field that holds a setting: `model` is kept as `model_id`, `cache` as `prompt_cache`."""
    if name == "cache":
        return "prompt_cache"
    for field, info in ChatBedrockRouter.model_fields.items():
        if name in (field, info.alias):
            return field
    raise ConfigurationError(f"configurable_fields names {name!r}, which is no setting of ChatBedrockRouter")
