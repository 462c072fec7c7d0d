"""The chat model as it is configured: its settings, its clients, and how it is copied and stored."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, Self, cast

from botocore.config import Config
from langchain_aws import ChatBedrockConverse
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import override

from bedrock_routing import (
    AffinityPolicy,
    AsyncRunner,
    CachePolicy,
    ConfigurationError,
    RoutedClient,
    runner_for,
)
from langchain_bedrock_routing.behind import read_model
from langchain_bedrock_routing.clients import ClientSettings, Connection, add_headers

__all__ = ["ConfiguredConverse"]

_PREFIX = "bedrock_routing:"
"""A provider in the way of `init_chat_model`; a model is the same with it and without."""

_OWN_SETTINGS = (
    "affinity",
    "cache",
    "max_concurrency",
    "native_async",
    "prompt_cache",
    "router",
    "router_models",
)
"""What a mistyped name may have meant."""

_CONNECTIONS = 16
"""How many different connections models that were made of each other share at most."""


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    """Return the versions that each trace carries; a checkout that is not installed has none."""
    found: dict[str, str] = {}
    for package in ("langchain-aws", "bedrock-routing"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


class _OwnClient(RoutedClient):
    """Be the client that a model made itself; a model made of it, as for configurable fields, knows it again.

    LangChain constructs such a model anew for every call. It shares the connections, not the settings.
    """

    given: Any = None
    """The boto3 client that the caller gave, if any."""
    connections: dict[Any, Connection]


class ConfiguredConverse(ChatBedrockConverse):
    """Be a Converse model that at construction only reads its model string: no client, no network."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, hide_input_in_errors=True)
    """As in langchain-aws, but that a wrong setting is not shown with all the others, keys among them."""

    cache: Any = Field(default=None, exclude=True)
    """LangChain's cache of whole answers. A `CachePolicy` or a bool given here goes to `prompt_cache`."""

    prompt_cache: CachePolicy | bool = True
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

    _given_client: Any = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, values: Any) -> Any:
        """Take `router` for `model`, and what `cache` says about cache points for `prompt_cache`."""
        if not isinstance(values, dict):
            return values
        values = dict(cast("dict[str, Any]", values))
        _check_spelling(cls, values)
        for name in ("model", "model_id", "router"):
            if isinstance(values.get(name), str):
                values[name] = values[name].removeprefix(_PREFIX)
        router = values.pop("router", None)
        if router is not None:
            model = values.get("model") or values.get("model_id") or router
            if model != router:
                raise ConfigurationError(
                    f"model={model!r} and router={router!r} say the same thing: give one"
                )
            values.setdefault("model", router)
        cache = values.get("cache")
        if isinstance(cache, CachePolicy | bool | dict):
            values.setdefault("prompt_cache", cache)
            values["cache"] = False if cache is False else None
        return values

    @model_validator(mode="before")
    @classmethod
    @override
    def set_disable_streaming(cls, values: Any) -> Any:
        """Leave streaming on: what cannot be streamed is known when a call is made."""
        return values

    @model_validator(mode="after")
    @override
    def validate_environment(self) -> Self:
        """Check the settings and prepare clients that are made at their first use."""
        if self.guard_last_turn_only and not self.guardrail_config:
            raise ConfigurationError("guard_last_turn_only=True needs guardrail_config")
        own = self.client if isinstance(self.client, _OwnClient) else None
        self._given_client = own.given if own else self.client
        if own is None and self.client is not None and self.default_headers:
            add_headers(self.client, self.default_headers)
        self.client = self._routed(own.connections if own else {})
        if self._known_offline:
            self._validate_nova_reasoning_config()
            if self.reasoning_effort is not None:
                effort = self._reasoning_effort_fields(self.reasoning_effort)
                own = self.additional_model_request_fields or {}
                self.additional_model_request_fields = {**effort, **own}
        for package, its_version in _versions().items():
            self._add_version(package, its_version)
        return self

    @property
    def _known_offline(self) -> bool:
        """Tell whether the settings alone say which model answers."""
        return bool(self.base_model_id or read_model(self.model_id).models)

    def _routed(self, connections: dict[Any, Connection]) -> RoutedClient:
        given = self._given_client
        if isinstance(given, RoutedClient):
            return given
        connection = self._connection(connections)
        client = _OwnClient(
            given or connection.runtime,
            model=self.model_id,
            control=self.bedrock_client or connection.control,
            cache=self.prompt_cache,
            affinity=self.affinity,
            models=self.router_models,
        )
        client.given, client.connections = given, connections
        return client

    def _connection(self, connections: dict[Any, Connection]) -> Connection:
        """Return the connection of these settings, a shared one where there is one."""
        settings = self._client_settings()
        other = None if self.region_name else settings.other_region
        headers = tuple(sorted((self.default_headers or {}).items()))
        plain = replace(settings, config=None, headers=None, other_region=other)
        key = (plain, headers, self.config, self.timeout, self.max_retries)
        if len(connections) >= _CONNECTIONS and key not in connections:
            connections.clear()
        return connections.setdefault(key, Connection(settings))

    @override
    def _get_effective_config(self) -> Config | None:
        """Return `config` with `timeout` and `max_retries`, as far as they are given.

        langchain-aws takes a `timeout` that is not given for none at all as soon as `max_retries` is: such a
        call would wait for ever.
        """
        given: dict[str, Any] = {}
        if self.timeout is not None:
            given |= {"connect_timeout": self.timeout, "read_timeout": self.timeout}
        if self.max_retries is not None:
            given["retries"] = {"max_attempts": self.max_retries}
        return (self.config or Config()).merge(Config(**given)) if given else self.config

    def _runner(self) -> AsyncRunner:
        given = self._given_client is not None and self.native_async is None
        native = False if given else self.native_async
        return runner_for(self.client, native=native, max_concurrency=self.max_concurrency)

    def _client_settings(self) -> ClientSettings:
        given = self._given_client
        return ClientSettings(
            region_name=self.region_name,
            other_region=given.meta.region_name if given is not None else read_model(self.model_id).region,
            endpoint_url=self.endpoint_url,
            credentials_profile_name=self.credentials_profile_name,
            aws_access_key_id=self.aws_access_key_id,
            aws_secret_access_key=self.aws_secret_access_key,
            aws_session_token=self.aws_session_token,
            api_key=self.bedrock_api_key,
            config=self._get_effective_config(),
            headers=self.default_headers,
            max_connections=self.max_concurrency,
        )

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "client": None}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.client = self._routed({})

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        shared = {id(each): each for each in (self.client, self.bedrock_client, self._given_client)}
        return super().__deepcopy__({**(memo or {}), **shared})

    @classmethod
    @override
    def get_lc_namespace(cls) -> list[str]:
        return ["langchain_bedrock_routing"]

    @property
    @override
    def lc_attributes(self) -> dict[str, Any]:
        policies: dict[str, Any] = {"prompt_cache": self.prompt_cache}
        if self.affinity != "router":  # the key of LangChain's cache of answers stays what it was
            policies["affinity"] = self.affinity
        return {
            name: policy if isinstance(policy, bool | str) else asdict(policy)
            for name, policy in policies.items()
        }


def _check_spelling(model: type[ConfiguredConverse], values: Mapping[str, Any]) -> None:
    """Raise for a mistyped setting of ours: langchain-aws would send it to the service with every call."""
    fields = model.model_fields
    known = {*fields, *(info.alias for info in fields.values() if info.alias), "router"}
    for name in values.keys() - known:
        if close := get_close_matches(name, _OWN_SETTINGS, n=1, cutoff=0.8):
            raise ConfigurationError(f"there is no setting {name!r}; {close[0]!r} was probably meant")
