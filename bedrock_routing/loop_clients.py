"""Make the aiobotocore twin of a boto3 client, and let blocking code call it.

The twin takes everything from the client that boto3 made: endpoint, Region, settings, the very credentials
and token, the classes of its errors. So a setting means the same for both kinds of calls, and what is
renewed is renewed once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from botocore import UNSIGNED
from botocore.args import ClientConfigString
from botocore.exceptions import ReadTimeoutError, ResponseStreamingError
from botocore.tokens import FrozenAuthToken

from bedrock_routing.accounts import credentials_of
from bedrock_routing.bridge import Bridge, current, in_thread
from bedrock_routing.connections import is_botocore
from bedrock_routing.errors import BedrockRoutingError, ConfigurationError, MissingExtraError

__all__ = ["LoopClient", "Turns", "check_twin", "has_extra", "twin_of"]

_SETTINGS = (
    "user_agent_extra",
    "user_agent_appid",
    "connect_timeout",
    "read_timeout",
    "parameter_validation",
    "proxies",
    "proxies_config",
    "retries",
    "client_cert",
    "inject_host_prefix",
    "tcp_keepalive",
    "request_min_compression_size_bytes",
    "disable_request_compression",
)
"""What a client's settings say about how it asks, not about where."""
_WHERE = {"use_fips_endpoint": False, "use_dualstack_endpoint": False, "defaults_mode": "legacy"}
"""The boto3 client has found its endpoint and its defaults: nothing is to be found out from them again."""
_AT_A_TIME = 4
"""Calls that start, or go on with their replies, before the event loop turns to other work."""
_SENT = "before-send.bedrock-runtime"
_END: Any = object()


@lru_cache(maxsize=1)
def has_extra() -> bool:
    """Tell whether what the extra `async` installs is there."""
    return find_spec("aiobotocore") is not None and find_spec("greenlet") is not None


def check_twin(client: Any) -> None:
    """Raise where a client can have no twin, saying why.

    Raises:
        MissingExtraError: the extra `async` is not installed.
        ConfigurationError: the client is none of botocore's.
    """
    if not has_extra():
        raise MissingExtraError("calling on the event loop itself", "async")
    if not is_botocore(client):
        kind = type(client).__name__
        raise ConfigurationError(f"only a client made by boto3 can call on the event loop; got {kind}")


async def twin_of(
    client: Any, *, connections: int, closed: Callable[[], object] = lambda: None
) -> AsyncGenerator[Any]:
    """Yield the twin of a boto3 client once, on the running loop; closing the generator closes the twin.

    An event loop that is shut down closes its generators, hence this form: no connection outlives it.
    """
    session = import_module("aiobotocore.session").AioSession()
    session.register_component("data_loader", client._loader)  # it has read the service's description
    session.register_component("credential_provider", _Credentials(credentials_of(client)))
    session.register_component("token_provider", _Tokens(client._request_signer._auth_token))
    try:
        async with session.create_client(
            "bedrock-runtime",
            region_name=client.meta.region_name,
            endpoint_url=client.meta.endpoint_url,
            api_version=client.meta.service_model.api_version,
            verify=client._endpoint.http_session._verify,
            config=_config_of(client, connections),
        ) as twin:
            twin._exceptions_factory = client._exceptions_factory  # `client.exceptions` catches its errors
            _forward_sends(client, twin)
            yield twin
    finally:
        closed()


def _config_of(client: Any, connections: int) -> Any:
    config = client.meta.config
    settings = {name: getattr(config, name) for name in _SETTINGS}
    for name in ("signature_version", "auth_scheme_preference"):
        value = getattr(config, name, None)
        if value is UNSIGNED or isinstance(value, ClientConfigString):  # said in code, not found out
            settings[name] = value
    make = import_module("aiobotocore.config").AioConfig
    return make(max_pool_connections=connections, **settings, **_WHERE)


def _forward_sends(client: Any, twin: Any) -> None:
    """Let handlers see what is sent: those that add headers, or answer in the service's place."""

    def forward(request: Any, event_name: str, **_: Any) -> Any:
        responses = client.meta.events.emit(event_name, request=request)
        answer = next((answer for _, answer in responses if answer is not None), None)
        return answer if answer is None or isinstance(answer, native) else _Answer(answer)

    native = import_module("aiobotocore.awsrequest").AioAWSResponse
    twin.meta.events.register(_SENT, forward)


class _Answer:
    """Be what a handler answers in the service's place, as aiobotocore reads answers: its body is awaited."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.raw = _Body(answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)

    @property
    def content(self) -> Awaitable[bytes]:
        return in_thread(lambda: self._answer.content)


class _Body:
    """Be the body of such an answer, read piece by piece; a handler may have it from anywhere."""

    def __init__(self, answer: Any) -> None:
        self.url = answer.url
        self._raw = answer.raw

    @property
    def content(self) -> _Body:
        return self

    async def iter_chunks(self) -> AsyncGenerator[tuple[bytes, bool]]:
        """Yield the pieces; each of them is the end of one."""
        step = partial(next, iter(self._raw.stream()), _END)
        while (piece := await in_thread(step)) is not _END:
            yield piece, True

    def close(self) -> None:
        if hasattr(self._raw, "close"):
            self._raw.close()


class _Credentials:
    """Lend the credentials of a boto3 client, as aiobotocore asks for them."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    async def load_credentials(self) -> Any:
        return None if self._credentials is None else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._credentials, name)

    async def get_frozen_credentials(self) -> Any:
        """Return the keys of now; renewing them may take long, so a thread does it."""
        lent = self._credentials
        outdated = getattr(lent, "refresh_needed", None)
        if outdated is not None and outdated():
            return await in_thread(lent.get_frozen_credentials)
        return lent.get_frozen_credentials()

    async def get_account_id(self) -> Any:
        return (await self.get_frozen_credentials()).account_id


class _Tokens:
    """Lend the bearer token of a boto3 client, if it has one."""

    def __init__(self, token: Any) -> None:
        self._token = token

    def load_token(self, **_: Any) -> Any:
        frozen = self._token is None or isinstance(self._token, FrozenAuthToken)
        return self._token if frozen else self

    async def get_frozen_token(self) -> Any:
        return await in_thread(self._token.get_frozen_token)


class Turns:
    """Let calls go on a few at a time: whatever else an event loop has to do comes in between.

    Calls that start together, or whose replies come together, would else be worked off in one go.
    """

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(_AT_A_TIME)

    async def take(self) -> None:
        """Wait for a turn."""
        async with self._room:
            await asyncio.sleep(0)


class LoopClient:
    """Be what blocking code calls in place of a boto3 client; while it waits, the event loop goes on."""

    def __init__(self, twin: Any, turns: Turns) -> None:
        self._twin = twin
        self._turns = turns

    def converse(self, **params: Any) -> dict[str, Any]:
        """Call Converse."""
        return _bridge().wait(self._converse(params))

    async def _converse(self, params: Mapping[str, Any]) -> dict[str, Any]:
        reply = await self._twin.converse(**params)
        await self._turns.take()
        return reply

    def converse_stream(self, **params: Any) -> dict[str, Any]:
        """Call ConverseStream; the stream, too, is read by blocking code."""
        response: dict[str, Any] = _bridge().wait(self._twin.converse_stream(**params))
        return {**response, "stream": _Events(response["stream"])}


class _Events:
    """Iterate the events of aiobotocore's stream from blocking code."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._events: Any = aiter(stream)
        self._errors: Any = import_module("aiohttp")

    def __iter__(self) -> _Events:
        return self

    def __next__(self) -> Mapping[str, Any]:
        errors = self._errors
        try:
            event = _bridge().wait(self._next())
        except (errors.ServerTimeoutError, TimeoutError) as error:
            self.close()
            raise ReadTimeoutError(endpoint_url=str(self._stream._raw_stream.url), error=error) from error
        except (errors.ClientPayloadError, errors.ClientConnectionError) as error:
            self.close()
            raise ResponseStreamingError(error=error) from error
        except BaseException:
            self.close()
            raise
        if event is _END:
            raise StopIteration
        return event

    async def _next(self) -> Any:
        """Return the next event, after the others had their turn: what has arrived comes without a wait."""
        event = await anext(self._events, _END)
        await asyncio.sleep(0)
        return event

    def close(self) -> None:
        """Close the connection; one that was read to its end is back in the pool already."""
        self._stream.close()


def _bridge() -> Bridge:
    bridge = current()
    if bridge is None:
        raise BedrockRoutingError("this stream belongs to an event loop: read it with `async for`")
    return bridge
