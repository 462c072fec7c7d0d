"""Let blocking code run on an event loop: where it would wait, the loop turns to other work.

The code runs in a greenlet. `Bridge.wait` hands an awaitable to the task that runs the greenlet, which awaits
it and comes back with what it gave, so cancelling the task raises where the code waits. Planning, sending and
accounting, and what a framework's own class does around them, thus stand once for both kinds of calls. Such
code holds no lock while it waits, and what may block for long goes to a thread, by `aside`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol, TypeVar

from bedrock_routing.pools import Threads

__all__ = ["Bridge", "Signal", "aside", "current", "in_thread", "pause", "signal"]

T = TypeVar("T")

_THREADS_ASIDE = 4
"""Enough for what happens once per target; more would take turns from the event loop."""


class Signal(Protocol):
    """Be what one call waits for and another one gives; it may be set from any thread."""

    def set(self) -> None:
        """Let who waits go on."""
        ...

    def wait(self, timeout: float) -> object:
        """Wait until it is set, at most so many seconds."""
        ...


@lru_cache(maxsize=1)
def _greenlets() -> Any:
    """Return the module `greenlet`, which only the extra `async` needs."""
    return import_module("greenlet")


class Bridge:
    """Stand between code that runs in a greenlet and the event loop that it runs on.

    What the code asks of the client of `source` goes to `client`. A bridge runs one thing at a time.
    """

    def __init__(self, client: Any = None, *, source: Any = None) -> None:
        self.loop = asyncio.get_running_loop()
        self._client = client
        self._source = source
        self._greenlets = _greenlets()
        self._home = self._greenlets.getcurrent()

    def client_for(self, source: Any) -> Any:
        """Return what sends calls on this loop for the client of `source`; `None`: nothing does."""
        return self._client if source is self._source else None

    def wait(self, awaitable: Awaitable[T]) -> T:
        """Return what an awaitable gives; only code that this bridge runs may wait."""
        return self._home.switch(awaitable)

    async def run(self, call: Callable[[], T], context: contextvars.Context | None = None) -> T:
        """Run blocking code, in a context of its own: by default a copy of the caller's.

        The steps of one generator share a `context`, as what it sets in one of them is for the others.
        """
        child: Any = self._greenlets.greenlet(call)
        child.gr_context = contextvars.copy_context() if context is None else context
        given = self._resume(child.switch)
        while not child.dead:
            try:
                arrived = await given
            except BaseException as error:  # cancelling, too, is for the code to see
                given = self._resume(child.throw, error)
            else:
                given = self._resume(child.switch, arrived)
        return given

    def _resume(self, go_on: Callable[..., Any], *arguments: Any) -> Any:
        before, _of_thread.bridge = _of_thread.bridge, self
        try:
            return go_on(*arguments)
        finally:
            _of_thread.bridge = before


class _OfThread(threading.local):
    """Hold the bridge whose code runs in this thread right now."""

    bridge: Bridge | None = None


_of_thread = _OfThread()


def current() -> Bridge | None:
    """Return the bridge that runs the calling code; `None` of code that may block its thread."""
    return _of_thread.bridge


def aside(call: Callable[[], T]) -> T:
    """Return what a call gives that may block: on an event loop, it is made by a thread meanwhile."""
    bridge = current()
    return call() if bridge is None else bridge.wait(in_thread(call))


async def in_thread(call: Callable[[], T]) -> T:
    """Await a call that may block and happens rarely."""
    return await _threads_aside().run(call)


class _LoopSignal:
    """Be a signal that code on an event loop waits for."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._given: asyncio.Future[None] = bridge.loop.create_future()

    def set(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._bridge.loop.call_soon_threadsafe(self._settle)

    def wait(self, timeout: float) -> object:
        return self._bridge.wait(asyncio.wait((self._given,), timeout=timeout))

    def _settle(self) -> None:
        if not self._given.done():
            self._given.set_result(None)


def signal() -> Signal:
    """Return a signal that the calling code can wait for where it runs."""
    bridge = current()
    return threading.Event() if bridge is None else _LoopSignal(bridge)


def pause(seconds: float) -> None:
    """Let some time pass."""
    signal().wait(seconds)


@lru_cache(maxsize=1)
def _threads_aside() -> Threads:
    return Threads(_THREADS_ASIDE)


if hasattr(os, "register_at_fork"):  # a child process inherits the pool, but not its threads
    os.register_at_fork(after_in_child=_threads_aside.cache_clear)
