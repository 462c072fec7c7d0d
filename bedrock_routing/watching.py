"""Tell others of calls that have come back: those who watch one client, or all calls of a context."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias

from bedrock_routing.receipt import Receipt
from bedrock_routing.turn import Turn

__all__ = ["Finished", "Watcher", "Watchers", "watching_here"]

logger = logging.getLogger("bedrock_routing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Be a call that came back, with the means to make another one like it."""

    turn: Turn
    receipt: Receipt
    ask: Callable[[Turn], Receipt]
    """Send a call of one's own with the same client, and account for it."""
    clock: Callable[[], float]


Watcher: TypeAlias = "Callable[[Finished], None]"

_HERE: ContextVar[tuple[Watcher, ...]] = ContextVar("bedrock_routing_watchers", default=())


class Watchers:
    """Hold who wants to know of one client's calls; safe for threads."""

    def __init__(self) -> None:
        self._watchers: tuple[Watcher, ...] = ()
        self._lock = threading.Lock()

    def add(self, watcher: Watcher) -> None:
        """Tell it of every call from now on."""
        with self._lock:
            self._watchers = (*self._watchers, watcher)

    def remove(self, watcher: Watcher) -> None:
        """Tell it no more; one that is not known is no error."""
        with self._lock:
            self._watchers = tuple(each for each in self._watchers if each != watcher)

    def tell(self, finished: Finished) -> None:
        """Tell all, also those of the context; one that raises is logged and never breaks a call."""
        for watcher in dict.fromkeys((*self._watchers, *_HERE.get())):
            try:
                watcher(finished)
            except Exception:
                logger.warning("a watcher failed; the call itself is not affected", exc_info=True)


@contextmanager
def watching_here(watcher: Watcher) -> Generator[None]:
    """Tell it of all calls made inside the block, in this context and in copies of it."""
    _HERE.set((*_HERE.get(), watcher))
    try:
        yield
    finally:
        # Not by token: a generator may be closed in another context than it was opened in.
        _HERE.set(tuple(each for each in _HERE.get() if each != watcher))
