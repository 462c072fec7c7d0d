"""The LLM as it is configured: its settings, its clients, what it says of itself, how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr
from typing_extensions import override

from bedrock_routing import (
    AffinityPolicy,
    AsyncRunner,
    CachePolicy,
    Catalog,
    Common,
    ConfigurationError,
    ModelRef,
    RoutedClient,
    context_window,
    parse,
    runner_for,
)
from llama_index_bedrock_routing.clients import ClientSettings

__all__ = ["ConfiguredRouter"]

_SMALLEST_WINDOW = 128_000
"""Tokens that every model takes that AWS routes to."""
_SECRETS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_SAID_ELSEWHERE = {
    "application_inference_profile_arn": "give the ARN as model=",
    "async_client": "async calls need none; client= and native_async= say how they are made",
    "supports_forced_tool_calls": "the catalog knows it",
    "system_prompt_caching": "cache=CachePolicy(system=...)",
    "tool_caching": "cache=CachePolicy(tools=...)",
}
"""Settings of `BedrockConverse` that mean nothing here, and what to say instead."""
_MET_ANYWAY = (("system_prompt_caching", True), ("tool_caching", True))
"""Those of them that ask for what the default policy does."""
_LIVE = ("client", "botocore_session", "botocore_config")
"""Objects of this process, which cannot be stored."""


class ConfiguredRouter(FunctionCallingLLM):
    """Be an LLM that at construction only reads its model string: no client, no network."""

    model_config = ConfigDict(extra="forbid")

    model: str
    """A router's ARN, name or short form ("amazon.nova:1"), or any id or ARN of a model."""
    temperature: float | None = None
    """`None` leaves it to the model; some models reject any."""
    max_tokens: int | None = None
    """`None` leaves it to the model."""
    cache: CachePolicy | bool = True
    """Where cache points are placed; `False`: nowhere."""
    affinity: AffinityPolicy | Literal["router", "sticky", "cost"] = "router"
    """Whether a model that holds the beginning of a prompt is asked in a router's place."""
    router_models: list[str] | None = None
    """The models behind the router, for callers who may not ask `bedrock:GetPromptRouter`."""
    max_concurrency: int = Field(default=256, ge=1)
    """How many async calls, and as many streams, run at once in this process; more wait for their turn."""
    native_async: bool | None = None
    """Whether async calls run on the event loop itself (extra `async`) or on threads of our own; `None`: on
    the event loop where the extra is installed and no `client` was given."""
    context_window: int | None = Field(default=None, gt=0)
    """Tokens that LlamaIndex packs; `None`: the least of the models', where they are known, else 128,000."""
    is_function_calling_model: bool | None = None
    """Whether tools may be offered; `None`: as the catalog says, and yes where it says nothing."""
    thinking: dict[str, Any] | None = None
    """What goes out as the model's `thinking` field."""
    guardrail_identifier: str | None = None
    guardrail_version: str | None = None
    guardrail_stream_processing_mode: Literal["sync", "async"] | None = None
    trace: str | None = None
    """The guardrail's trace: "enabled" or "disabled"."""
    additional_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of every call: LlamaIndex's names or members of a Converse request."""

    region_name: str | None = None
    profile_name: str | None = None
    endpoint_url: str | None = None
    """Serves both planes; AWS_ENDPOINT_URL_BEDROCK_RUNTIME and AWS_ENDPOINT_URL_BEDROCK are honoured."""
    api_version: str | None = None
    use_ssl: bool = True
    verify: bool | str | None = None
    timeout: float = Field(default=60.0, gt=0)
    """Seconds to wait for a connection, and for the next bytes of an answer."""
    max_retries: int = Field(default=10, ge=0)
    """Retries by botocore, which is the only layer that retries."""
    aws_access_key_id: SecretStr | None = Field(default=None, exclude=True)
    aws_secret_access_key: SecretStr | None = Field(default=None, exclude=True)
    aws_session_token: SecretStr | None = Field(default=None, exclude=True)
    client: Any = Field(default=None, exclude=True, repr=False)
    """A `bedrock-runtime` client of boto3's, or a `RoutedClient`, to use instead of making one."""
    botocore_session: Any = Field(default=None, exclude=True, repr=False)
    botocore_config: Any = Field(default=None, exclude=True, repr=False)

    _routed: RoutedClient = PrivateAttr()
    _models: tuple[ModelRef, ...] = PrivateAttr(default=())

    def __init__(self, model: str | None = None, *, router: str | None = None, **settings: Any) -> None:
        named = model if model is not None else router
        if named is None:
            raise ConfigurationError("model= says which router or model to ask")
        if router is not None and router != named:
            raise ConfigurationError(f"model={model!r} and router={router!r} say the same thing: give one")
        if settings.get("cache", True) is True:
            settings = {name: value for name, value in settings.items() if (name, value) not in _MET_ANYWAY}
        if elsewhere := [f"{name}: {_SAID_ELSEWHERE[name]}" for name in settings if name in _SAID_ELSEWHERE]:
            raise ConfigurationError(f"BedrockRouter has other names for {'; '.join(elsewhere)}")
        super().__init__(
            model=named, **{name: value for name, value in settings.items() if value is not None}
        )
        self._routed = self._make_client()
        self._models = _read_offline(named, self.router_models)

    def _make_client(self) -> RoutedClient:
        if isinstance(self.client, RoutedClient):
            return self.client
        settings = self._client_settings()
        return RoutedClient(
            self.client if self.client is not None else settings.maker("bedrock-runtime"),
            model=self.model,
            control=None if self.client is not None else settings.maker("bedrock"),
            cache=self.cache,
            affinity=self.affinity,
            models=self.router_models,
        )

    def _runner(self) -> AsyncRunner:
        given = self.client is not None and self.native_async is None
        native = False if given else self.native_async
        return runner_for(self._routed, native=native, max_concurrency=self.max_concurrency)

    def _client_settings(self) -> ClientSettings:
        return ClientSettings(
            region_name=self.region_name,
            other_region=parse(self.model).region,
            endpoint_url=self.endpoint_url,
            profile_name=self.profile_name,
            aws_access_key_id=_revealed(self.aws_access_key_id),
            aws_secret_access_key=_revealed(self.aws_secret_access_key),
            aws_session_token=_revealed(self.aws_session_token),
            botocore_session=self.botocore_session,
            botocore_config=self.botocore_config,
            api_version=self.api_version,
            use_ssl=self.use_ssl,
            verify=self.verify,
            timeout=self.timeout,
            max_retries=self.max_retries,
            max_connections=self.max_concurrency,
        )

    def _call_settings(self, *, stream: bool) -> dict[str, Any]:
        """Return what every call says unless it says otherwise."""
        guardrail = {
            "guardrailIdentifier": self.guardrail_identifier,
            "guardrailVersion": self.guardrail_version,
            "trace": self.trace,
            "streamProcessingMode": self.guardrail_stream_processing_mode if stream else None,
        }
        guarded = {name: value for name, value in guardrail.items() if value is not None}
        return {
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "thinking": self.thinking,
            **({"guardrailConfig": guarded} if self.guardrail_identifier else {}),
            **self.additional_kwargs,
        }

    # What it says of itself

    @property
    @override
    def metadata(self) -> LLMMetadata:
        """Say what is known without asking the service; never raises.

        What stands behind a router is known from `router_models`, or from its first call on.
        """
        return LLMMetadata(
            context_window=self.context_window or context_window(self._models) or _SMALLEST_WINDOW,
            num_output=self.max_tokens or DEFAULT_NUM_OUTPUTS,
            is_chat_model=True,
            is_function_calling_model=self._calls_functions(),
            model_name=self.model,
        )

    def _calls_functions(self) -> bool:
        if self.is_function_calling_model is not None:
            return self.is_function_calling_model
        facts = [Catalog.default().find(each) for each in self._models]
        return all(each is None or bool(each.tool_choice) for each in facts)

    def _abilities(self, model: str | None) -> Common:
        """Return what the models that may answer have in common; may ask the service, once per process."""
        target = self._routed.target(model or self.model)
        if model is None and target.models:
            self._models = target.models
        return target.common

    @override
    def to_payload(self) -> dict[str, Any]:
        """Describe the LLM for observability; nothing in it is secret."""
        said = {"model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens}
        return {**super().to_payload(), **said, "region_name": self.region_name}

    # How it is stored

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Leave out secrets and what belongs to this process; a copy makes its own clients."""
        bare = self.model_copy(update=dict.fromkeys((*_SECRETS, *_LIVE)))
        object.__setattr__(bare, "__pydantic_private__", None)
        return super(ConfiguredRouter, bare).__getstate__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the settings, credentials included; given clients are shared."""
        shared = {id(each): each for each in (getattr(self, name) for name in _LIVE)}
        manager = {id(self.callback_manager): self.callback_manager}
        bare = self.model_copy()
        object.__setattr__(bare, "__pydantic_private__", None)
        twin = super(ConfiguredRouter, bare).__deepcopy__({**(memo or {}), **shared, **manager})
        private: Mapping[str, Any] = {"_routed": twin._make_client(), "_models": self._models}
        object.__setattr__(twin, "__pydantic_private__", dict(private))
        return twin


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _read_offline(model: str, behind: list[str] | None) -> tuple[ModelRef, ...]:
    """Return the models that may answer, as far as the settings alone say it."""
    if behind:
        return tuple(parse(each) for each in behind)
    ref = parse(model)
    return () if ref.is_router or ref.model_id is None else (ref,)
