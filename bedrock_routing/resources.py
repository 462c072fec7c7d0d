"""Hold what the calls of one client are planned with; each part is made when it is first needed.

Copies of a client share it, so that what is made later is made once for all of them.
"""

from __future__ import annotations

import threading

from bedrock_routing.accounts import address_of, scope_of
from bedrock_routing.arns import parse
from bedrock_routing.bridge import aside
from bedrock_routing.catalog import Catalog
from bedrock_routing.connections import Lazy
from bedrock_routing.documents import process_memory
from bedrock_routing.engine import Engine
from bedrock_routing.policy import CachePolicy, PricePolicy
from bedrock_routing.routers import RouterDirectory
from bedrock_routing.state import CacheState
from bedrock_routing.tables import Bounded
from bedrock_routing.turn import Target

__all__ = ["Resources"]

_states: Bounded[str, CacheState] = Bounded(64)
_lock = threading.Lock()


class Resources:
    """Make the planner and the directory of routers of a client on first use."""

    def __init__(
        self,
        client: Lazy,
        control: Lazy,
        *,
        cache: CachePolicy | None,
        prices: PricePolicy,
        catalog: Catalog,
        models: tuple[str, ...],
        directory: RouterDirectory | None,
        state: CacheState | None,
    ) -> None:
        self._client = client
        self._control = control
        self._cache = cache
        self._prices = prices
        self._catalog = catalog
        self._models = models
        self._directory = directory
        self._state = state
        self._planner: Engine | None = None

    def engine(self) -> Engine:
        """Return what plans the calls."""
        if self._planner is None:
            state = self._state or _shared_state(address_of(self._client.get()))
            documents = process_memory()
            self._planner = Engine(cache=self._cache, prices=self._prices, state=state, documents=documents)
        return self._planner

    def directory(self) -> RouterDirectory:
        """Return what knows the routers."""
        if self._directory is None:
            scope = scope_of(self._client.get())
            self._directory = RouterDirectory(self._control.get, catalog=self._catalog, scope=scope)
        return self._directory

    def target(self, wanted: str) -> Target:
        """Return what a call is sent to; models learned from traces stand in where none may be looked up."""
        found = self._resolved(wanted)
        if found.is_router and not found.models:
            learned = tuple(parse(each) for each in self.engine().state.answered(found.arn))
            return self.directory().target(found.ref, learned, found.common.why)
        return found

    def _resolved(self, wanted: str) -> Target:
        directory = self._directory
        if directory is not None and directory.knows(wanted, models=self._models):
            return directory.resolve(wanted, models=self._models)
        return aside(lambda: self.directory().resolve(wanted, models=self._models))


def _shared_state(scope: str | None) -> CacheState:
    if scope is None:  # nothing says which service it stands for: it shares with nobody
        return CacheState()
    with _lock:
        state = _states.get(scope)
        if state is None:
            state = CacheState()
            _states.put(scope, state)
        return state
