"""Run blocking Bedrock calls for an event loop, on threads of our own.

The default executor of an event loop has a handful of threads and is shared with everything else, so it makes
concurrent calls wait for each other. Here each call has a thread, started on demand up to a bound; further
calls wait for a free one. Streams have threads apart from calls, so that a stream which waits for its reader
cannot keep the reader's own calls waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Generic, TypeVar

__all__ = ["Threads", "threads"]

T = TypeVar("T")

_AHEAD = 128
"""Items that a stream may be ahead of its reader before its thread waits."""


class Threads:
    """Hold at most `size` threads for calls and as many for streams; none until the first is needed."""

    def __init__(self, size: int) -> None:
        self._calls = ThreadPoolExecutor(size, thread_name_prefix="bedrock-routing-call")
        self._streams = ThreadPoolExecutor(size, thread_name_prefix="bedrock-routing-stream")

    async def run(self, call: Callable[[], T]) -> T:
        """Await a blocking call, made in a copy of the caller's context.

        Cancelling returns at once. A call that is still waiting for a thread is then never made; one that is
        running runs to its end, unheard.
        """
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self._calls.submit(context.run, call))

    async def iterate(
        self, make: Callable[[], Generator[T]], *, interrupt: Callable[[], None]
    ) -> AsyncGenerator[T]:
        """Yield what a blocking generator yields, made and run in a copy of the caller's context.

        Leaving early, by `aclose` or cancellation, calls `interrupt`: it must not block, and must make the
        generator's blocked read return. The generator is closed by the thread that runs it.
        """
        bridge = _Bridge[T](asyncio.get_running_loop())
        context = contextvars.copy_context()
        running = self._streams.submit(context.run, bridge.pump, make)
        try:
            while items := await bridge.take():
                for item in items:
                    yield item
            bridge.raise_error()
        finally:
            if bridge.abandon() and not running.cancel():
                interrupt()


@lru_cache(maxsize=8)
def threads(size: int) -> Threads:
    """Return the threads that all models with this bound share."""
    return Threads(size)


if hasattr(os, "register_at_fork"):  # a child process inherits the pools, but not their threads
    os.register_at_fork(after_in_child=threads.cache_clear)


class _Bridge(Generic[T]):
    """Carry items from one thread to one event loop, in order, at most `_AHEAD` of them at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived = asyncio.Event()
        self._items: deque[T] = deque()
        self._room = threading.Semaphore(_AHEAD)
        self._ended = False
        self._error: BaseException | None = None
        self._abandoned = False

    def pump(self, make: Callable[[], Generator[T]]) -> None:
        """Run the generator to its end, or until the reader has left."""
        try:
            if not self._abandoned:
                with contextlib.closing(make()) as source:
                    for item in source:
                        if not self._put(item):
                            break
        except BaseException as error:
            self._error = error
        self._ended = True
        self._notify()

    def _put(self, item: T) -> bool:
        while not self._room.acquire(timeout=1):
            if self._loop.is_closed():
                return False
        if self._abandoned:
            return False
        self._items.append(item)
        return self._notify()

    def _notify(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # the loop is closed, so nobody reads any more
            return False
        return True

    async def take(self) -> list[T]:
        """Wait for items and return those that are there; none when the generator has ended."""
        while True:
            self._arrived.clear()
            ended = self._ended  # read before the items: what was put before the end is then seen
            taken = [self._items.popleft() for _ in range(len(self._items))]
            if taken:
                self._room.release(len(taken))
            if taken or ended:
                return taken
            await self._arrived.wait()

    def raise_error(self) -> None:
        """Raise what the generator raised, if it did."""
        if self._error is not None:
            raise self._error

    def abandon(self) -> bool:
        """Let the thread stop at its next item; tell whether there is something left to stop."""
        self._abandoned = True
        self._room.release()
        return not self._ended
