"""A boto3 `bedrock-runtime` client that routes, caches and accounts in `converse` and `converse_stream`.

Same method names, same arguments, everything else passed through, so it also serves plain boto3 code and any
framework that takes a client. One seam: both framework packages call this and nothing else.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from bedrock_routing.arns import ModelRef, parse, parse_invoked
from bedrock_routing.bridge import aside, current
from bedrock_routing.catalog import Catalog, Common
from bedrock_routing.cautions import warn_of
from bedrock_routing.connections import Lazy, control_of, is_botocore
from bedrock_routing.conversations import Caller, conversations_of
from bedrock_routing.engine import Engine
from bedrock_routing.errors import ConfigurationError
from bedrock_routing.fanout import gate_of
from bedrock_routing.ledger import Ledger
from bedrock_routing.notes import annotated
from bedrock_routing.passages import Passage, Route, Sharing
from bedrock_routing.pinging import KeepWarm
from bedrock_routing.planning import Skipped
from bedrock_routing.policy import AffinityKind, AffinityPolicy, CachePolicy, PricePolicy
from bedrock_routing.request import member, sequence
from bedrock_routing.resources import Resources
from bedrock_routing.routers import RouterDirectory
from bedrock_routing.sending import Sender
from bedrock_routing.state import CacheState
from bedrock_routing.staying import Staying
from bedrock_routing.turn import Target, Turn
from bedrock_routing.watching import Watchers

__all__ = ["RoutedClient"]

logger = logging.getLogger("bedrock_routing")

_LONG = 250_000
"""Characters; one that is seen for the first time takes some milliseconds to plan."""

_sharing: ContextVar[Sharing | None] = ContextVar("bedrock_routing_sharing", default=None)


class RoutedClient:
    """Wrap a boto3 `bedrock-runtime` client; `converse` and `converse_stream` route, cache and account.

    A reply carries its receipt, as plain values, under the key `bedrock_routing`; that of a stream stands in
    its `metadata` event. Calls may name a model in any form that `arns` reads, or leave `modelId` out.

    `client` and `control` (a `bedrock` client) may be callables that make them on first use. `models` are the
    models behind a router that may not be looked up. `affinity` says whether a model that holds the beginning
    of a prompt is asked in a router's place: an `AffinityPolicy`, or its kind alone. Warm prefixes, refusals
    and document texts are shared with all clients of the same endpoint in this process unless `state` is
    given. Of `source`, the wrapped client, and `on_event_loops` `AsyncRoutedClient` has what it needs.
    """

    def __init__(
        self,
        client: Any,
        *,
        model: str | None = None,
        control: Any = None,
        cache: CachePolicy | bool = True,
        affinity: AffinityPolicy | AffinityKind = "router",
        models: Sequence[str] | None = None,
        catalog: Catalog | None = None,
        directory: RouterDirectory | None = None,
        ledger: Ledger | None = None,
        prices: PricePolicy | None = None,
        state: CacheState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = self.source = Lazy(client)
        self.on_event_loops: dict[int, Any] = {}
        self._model = parse(model).raw if model is not None else None
        self._cache = CachePolicy() if cache is True else cache or None
        self._affinity = AffinityPolicy.of(affinity)
        self._catalog = catalog or Catalog.default()
        self._clock = clock
        self._resources = Resources(
            self._client,
            Lazy(control if control is not None else lambda: control_of(self._client.get())),
            cache=self._cache,
            prices=prices or PricePolicy(),
            catalog=self._catalog,
            models=tuple(models or ()),
            directory=directory,
            state=state,
        )
        self._sender = Sender(self._client, catalog=self._catalog, ledger=ledger, clock=clock)

    def __getattr__(self, name: str) -> Any:
        """Pass everything else through to the wrapped client."""
        if name.startswith("__") or "_client" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._client.get(), name)

    def converse(self, **params: Any) -> dict[str, Any]:
        """Call Converse with cache points where they pay; the reply also holds the receipt.

        A refused cache point is dropped, the call is made again once without any, and the refusal is
        remembered. Of calls at once over a prefix that is in no cache one goes first, as ConverseStream, and
        the others wait for its first event (see `CachePolicy.fan_out`). Raises what botocore raises, with a
        note that says what to do.
        """
        with self._admit(params, streams=False) as passage:
            return self._sender.whole(passage)

    def converse_stream(self, **params: Any) -> dict[str, Any]:
        """Call ConverseStream; the receipt stands in the stream's `metadata` event.

        A stream that ends without its last events raises `IncompleteStreamError`; one that is left early is
        closed and recorded as incomplete. A call over a prefix that another one is writing waits for that.
        """
        return self._sender.stream(self._admit(params, streams=True))

    @contextmanager
    def sharing(self, what: Sharing) -> Generator[None]:
        """Let a call inside the block know what it shares with others that are made at about the same time.

        What it shares is worth a cache point. If it is the one that writes, it is sent so that those that
        follow can read early, and models behind a router are primed for them.
        """
        token = _sharing.set(what)
        try:
            if not what.followers or self._cache is None or self._cache.fan_out == "off":
                yield
            else:
                with gate_of(self._engine().state).arriving():
                    yield
        finally:
            _sharing.reset(token)

    def keep_warm(self, **settings: Any) -> KeepWarm:
        """Return what keeps the prefixes of this client's calls in the cache, once it is entered.

        `with client.keep_warm():` sends pings while the block runs; `settings` are those of `KeepWarm`.
        """
        return KeepWarm(self, **settings)

    @property
    def watchers(self) -> Watchers:
        """Return who is told of this client's calls when they have come back."""
        return self._sender.watchers

    def target(self, model: str | None = None) -> Target:
        """Return what a call is sent to: its ARN and the models that may answer.

        Asks the service once per process. Models learned from traces stand in where it may not be asked.
        """
        wanted = model or self._model
        if wanted is None:
            raise ConfigurationError("no model: give model= to the client or modelId= to the call")
        return self._resources.target(wanted)

    def abilities(self, model: str | None = None) -> Common:
        """Return what every model that may answer allows: cache rules and tool choices."""
        return self.target(model).common

    @property
    def affinity(self) -> AffinityPolicy:
        """Return by what policy calls to a router are given to a model directly."""
        return self._affinity

    def with_affinity(self, affinity: AffinityPolicy | AffinityKind) -> RoutedClient:
        """Return a client with another policy that shares all else with this one, whenever it is made."""
        other = copy.copy(self)
        other._affinity = AffinityPolicy.of(affinity)
        return other

    def note_tool_calls(self, ids: Iterable[str], model: str, *, router: str | None = None) -> None:
        """Say who made the tool calls of a stored conversation, which another process may have asked for.

        `model` and `router` are `invoked_model_id` and `router_arn` of the receipt that came with the calls.
        A policy that locks tool calls then sends their results to that model, if it is one of the router's;
        where nobody lists these, if `router` is the router that is asked. An id that cannot be read is not
        noted.
        """
        ref = parse_invoked(model)
        if ref is not None and not ref.is_router:
            conversations_of(self._engine().state).mark_caller(ids, Caller(ref, router))

    def _begin(self, params: Mapping[str, Any]) -> Turn:
        request = {name: value for name, value in params.items() if name != "modelId"}
        try:
            target = self.target(params.get("modelId"))
        except (ClientError, BotoCoreError) as error:
            annotated(error, None, self._catalog)
            raise
        warn_of(target, request, self._cache)
        turn = self._planned(request, target)
        if target.is_router and self._affinity.locks_tools:  # as every policy does that may name a model
            return self._directed(turn, request)
        return turn

    def _planned(self, request: Mapping[str, Any], target: Target) -> Turn:
        engine = self._engine()
        shared = _sharing.get()
        place = None if shared is None else (shared.path, shared.end)
        plan = partial(engine.begin, request, target, self._clock(), shared=place)
        try:
            return aside(plan) if current() is not None and _is_long(request) else plan()
        except Exception:
            logger.warning("planning failed; the request goes out as it was written", exc_info=True)
            return engine.as_written(
                request, target, Skipped(path="*", reason="planning failed; see the log")
            )

    def _directed(self, routed: Turn, request: Mapping[str, Any]) -> Turn:
        """Return the call as it was planned for a router, or for the model that is asked in its place."""

        def plan(model: ModelRef) -> Turn:
            return self._planned(request, self._resources.directory().target(model, (model,)))

        staying = Staying(policy=self._affinity, known=conversations_of(routed.state))
        try:
            return staying.directed(routed, request, plan, self._clock())
        except Exception:
            logger.warning("nobody could be chosen; the router is asked", exc_info=True)
            return routed

    def _admit(self, params: Mapping[str, Any], *, streams: bool) -> Passage:
        """Plan a call; where another one is writing what it would write, wait for that one first."""
        policy = self._cache
        if policy is None or policy.fan_out == "off":
            return Passage(turn=self._begin(params))
        try:
            gate = gate_of(self._engine().state)
        except (ClientError, BotoCoreError) as error:
            annotated(error, None, self._catalog)
            raise
        with gate.arriving():
            turn = self._begin(params)
            if not turn.placed:
                return Passage(turn=turn)
            early = policy.fan_out == "first-event" and "guardrailConfig" not in params
            route = Route(
                plan=lambda: self._begin(params),
                prime=self._sender.prime,
                clock=self._clock,
                policy=policy,
                streams=streams,
                followers=shared.followers if (shared := _sharing.get()) else 0,
                may_stream=early and not streams and is_botocore(self._client.get()),
            )
            return gate.admit(turn, route)

    def _engine(self) -> Engine:
        return self._resources.engine()


def _is_long(request: Mapping[str, Any]) -> bool:
    """Tell whether planning may take longer than an event loop should stand still for it."""
    contents = (member(message, "content") for message in sequence(request.get("messages")))
    blocks = (block for blocks in (request.get("system"), *contents) for block in sequence(blocks))
    texts = (member(block, "text") for block in blocks)
    return sum(len(text) for text in texts if isinstance(text, str)) > _LONG
