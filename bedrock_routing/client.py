"""A boto3 `bedrock-runtime` client that routes, caches and accounts in `converse` and `converse_stream`.

Same method names, same arguments, everything else passed through, so it also serves plain boto3 code and any
framework that takes a client. One seam: both framework packages call this and nothing else.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from bedrock_routing.accounts import address_of, credentials_of, is_client, scope_of
from bedrock_routing.arns import parse
from bedrock_routing.catalog import Catalog, Common
from bedrock_routing.documents import process_memory
from bedrock_routing.engine import Engine
from bedrock_routing.errors import ConfigurationError
from bedrock_routing.language import other_script
from bedrock_routing.ledger import Ledger, record
from bedrock_routing.notes import annotated, error_code, error_message
from bedrock_routing.planning import Skipped
from bedrock_routing.policy import CachePolicy, PricePolicy
from bedrock_routing.receipt import KEY, Receipt
from bedrock_routing.request import member, sequence
from bedrock_routing.routers import RouterDirectory
from bedrock_routing.rules import read_refusal
from bedrock_routing.state import CacheState
from bedrock_routing.streams import RoutedStream
from bedrock_routing.tables import Bounded
from bedrock_routing.turn import Target, Turn

__all__ = ["RoutedClient"]

logger = logging.getLogger("bedrock_routing")

_CONTROL_CONFIG = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
"""The control plane is asked once per process; where it cannot be reached, a call must not wait for it."""

_states: Bounded[str, CacheState] = Bounded(64)
_warned: set[str] = set()
_lock = threading.Lock()


class RoutedClient:
    """Wrap a boto3 `bedrock-runtime` client; `converse` and `converse_stream` route, cache and account.

    A reply carries its receipt, as plain values, under the key `bedrock_routing`; that of a stream stands in
    its `metadata` event. Calls may name a model in any form that `arns` reads, or leave `modelId` out.

    `client` and `control` (a `bedrock` client) may be callables that make them on first use. `models` are the
    models behind a router that may not be looked up. Warm prefixes, refusals and document texts are shared
    with all clients of the same endpoint in this process unless `state` is given.
    """

    def __init__(
        self,
        client: Any,
        *,
        model: str | None = None,
        control: Any = None,
        cache: CachePolicy | bool = True,
        models: Sequence[str] | None = None,
        catalog: Catalog | None = None,
        directory: RouterDirectory | None = None,
        ledger: Ledger | None = None,
        prices: PricePolicy | None = None,
        state: CacheState | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = _Lazy(client)
        self._model = parse(model).raw if model is not None else None
        self._control = _Lazy(control if control is not None else self._make_control)
        self._cache = CachePolicy() if cache is True else cache or None
        self._models = tuple(models or ())
        self._catalog = catalog or Catalog.default()
        self._directory = directory
        self._ledger = ledger
        self._prices = prices or PricePolicy()
        self._state = state
        self._clock = clock
        self._scope_name: str | None = None
        self._planner: Engine | None = None

    def __getattr__(self, name: str) -> Any:
        """Pass everything else through to the wrapped client."""
        if name.startswith("__") or "_client" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self._client.get(), name)

    def converse(self, **params: Any) -> dict[str, Any]:
        """Call Converse with cache points where they pay; the reply also holds the receipt.

        A refused cache point is dropped, the call is made again once without any, and the refusal is
        remembered. Raises what botocore raises, with a note that says what to do.
        """
        turn = self._begin(params)
        response, turn = self._send("converse", turn)
        response[KEY] = self.finish(turn, response).to_dict()
        return response

    def converse_stream(self, **params: Any) -> dict[str, Any]:
        """Call ConverseStream; the receipt stands in the stream's `metadata` event.

        A stream that ends without its last events raises `IncompleteStreamError`; one that is left early is
        closed and recorded as incomplete.
        """
        turn = self._begin(params)
        response, turn = self._send("converse_stream", turn)

        def reopen(error: Exception) -> tuple[Any, Turn] | None:
            again = self._without_refused(turn, error)
            return None if again is None else (self._call("converse_stream", again)["stream"], again)

        response["stream"] = RoutedStream(
            response["stream"],
            turn=turn,
            finish=self.finish,
            reopen=reopen,
            explain=lambda error: annotated(error, turn.target, self._catalog),
        )
        return response

    def target(self, model: str | None = None) -> Target:
        """Return what a call is sent to: its ARN and the models that may answer.

        Asks the service once per process. Models learned from traces stand in where it may not be asked.
        """
        wanted = model or self._model
        if wanted is None:
            raise ConfigurationError("no model: give model= to the client or modelId= to the call")
        found = self._resolver().resolve(wanted, models=self._models)
        if found.is_router and not found.models:
            learned = tuple(parse(each) for each in self._engine().state.answered(found.arn))
            return self._resolver().target(found.ref, learned, found.common.why)
        return found

    def abilities(self, model: str | None = None) -> Common:
        """Return what every model that may answer allows: cache rules and tool choices."""
        return self.target(model).common

    def finish(self, turn: Turn, reply: Mapping[str, Any], *, complete: bool = True) -> Receipt:
        """Account for a reply; an error in here is logged and never breaks the call."""
        try:
            receipt = turn.finish(reply, self._clock(), complete=complete)
        except Exception:
            logger.warning("accounting failed; the call itself is not affected", exc_info=True)
            receipt = Receipt(complete=complete)
        try:
            record(receipt, self._ledger)
        except Exception:
            logger.warning("a ledger failed; the call itself is not affected", exc_info=True)
        return receipt

    def _begin(self, params: Mapping[str, Any]) -> Turn:
        request = {name: value for name, value in params.items() if name != "modelId"}
        try:
            target = self.target(params.get("modelId"))
        except (ClientError, BotoCoreError) as error:
            annotated(error, None, self._catalog)
            raise
        engine = self._engine()
        self._warn(target, request)
        try:
            return engine.begin(request, target, self._clock())
        except Exception:
            logger.warning("planning failed; the request goes out as it was written", exc_info=True)
            return engine.as_written(
                request, target, Skipped(path="*", reason="planning failed; see the log")
            )

    def _send(self, operation: str, turn: Turn) -> tuple[dict[str, Any], Turn]:
        try:
            return self._call(operation, turn), turn
        except ClientError as error:
            again = self._without_refused(turn, error)
            if again is None:
                raise
        return self._call(operation, again), again

    def _call(self, operation: str, turn: Turn) -> dict[str, Any]:
        method = getattr(self._client.get(), operation)
        try:
            return method(modelId=turn.target.arn, **turn.params)
        except (ClientError, BotoCoreError) as error:
            explained = annotated(error, turn.target, self._catalog)
            if explained is error:
                raise
            raise explained from error

    def _without_refused(self, turn: Turn, error: Exception) -> Turn | None:
        """Return the same call without cache points, where they are what the service refused."""
        refusal = read_refusal(error_code(error), error_message(error), turn.sections)
        return None if refusal is None else turn.without_refused(refusal, self._clock())

    def _engine(self) -> Engine:
        if self._planner is None:
            state = self._state or _shared_state(address_of(self._client.get()))
            documents = process_memory()
            self._planner = Engine(cache=self._cache, prices=self._prices, state=state, documents=documents)
        return self._planner

    def _resolver(self) -> RouterDirectory:
        if self._directory is None:
            self._directory = RouterDirectory(self._control.get, catalog=self._catalog, scope=self._scope())
        return self._directory

    def _scope(self) -> str:
        if self._scope_name is None:
            self._scope_name = scope_of(self._client.get())
        return self._scope_name

    def _make_control(self) -> Any:
        """Make a control-plane client for the same Region, at the same endpoint if that is not AWS's."""
        meta = self._client.get().meta
        own = (
            None if meta.endpoint_url.partition("//")[2].startswith("bedrock-runtime") else meta.endpoint_url
        )
        session: Any = Session()
        credentials = credentials_of(self._client.get())
        if credentials is not None:
            # The object itself, not a copy of its keys: temporary ones are renewed in it.
            session._credentials = credentials
        return session.create_client(
            "bedrock", region_name=meta.region_name, endpoint_url=own, config=_CONTROL_CONFIG
        )

    def _warn(self, target: Target, request: Mapping[str, Any]) -> None:
        if self._cache is not None and target.common.cache is None:
            self._warn_unsupported(self._cache, target)
        if target.is_router and (script := other_script(_last_text(request))):
            _warn_once(
                "script",
                f"The prompt is mostly in {script} script. AWS tunes its prompt routers for English; other "
                "languages may be routed badly (https://docs.aws.amazon.com/bedrock/latest/userguide/"
                "prompt-routing.html).",
            )

    def _warn_unsupported(self, policy: CachePolicy, target: Target) -> None:
        message = f"No cache points for {target.arn}: {target.common.why}."
        if policy.on_unsupported == "raise":
            raise ConfigurationError(f"{message} Set on_unsupported='ignore' to call it without.")
        if policy.on_unsupported == "warn":
            _warn_once(f"unsupported {target.arn}", message)


class _Lazy:
    """Hold a client, or make it on first use, once, from whatever thread comes first."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._made: Any = None if callable(source) and not is_client(source) else source
        self._lock = threading.Lock()

    def get(self) -> Any:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._source()
        return self._made


def _shared_state(scope: str | None) -> CacheState:
    if scope is None:  # nothing says which service it stands for: it shares with nobody
        return CacheState()
    with _lock:
        state = _states.get(scope)
        if state is None:
            state = CacheState()
            _states.put(scope, state)
        return state


def _warn_once(key: str, message: str) -> None:
    with _lock:
        first = key not in _warned
        _warned.add(key)
    if first:
        warnings.warn(message, UserWarning, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """Return the stack level of the first frame outside this package, as `warnings.warn` counts."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("bedrock_routing"):
        level, frame = level + 1, frame.f_back
    return level - 1


def _last_text(request: Mapping[str, Any]) -> str:
    """Return the text of the last message, which is what a router judges."""
    last = sequence(request.get("messages"))[-1:]
    blocks = [block for message in last for block in sequence(member(message, "content"))]
    return " ".join(text for block in blocks if isinstance(text := member(block, "text"), str))
