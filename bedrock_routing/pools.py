"""Run blocking Bedrock calls for an event loop, on threads of our own.

The default executor of an event loop has a handful of threads and is shared with everything else. Here each
call has a thread, started on demand up to a bound. Streams have threads apart from calls, so that a stream
which waits for its reader cannot keep the reader's own calls waiting.

Nothing here may hold the event loop up, however many calls end at once:

- The loop starts no thread: that takes locks which the threads hold. It queues calls, and a thread hands them
  on; not before the loop has done what was due, else the first threads would take the interpreter from it.
- Threads wake the loop once for all that has arrived, since it reads its wake-ups one by one; and it takes a
  few of those things at a time, so that whatever else runs on it has its turn in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

__all__ = ["Threads", "threads"]

T = TypeVar("T")

_AHEAD = 128
"""Items that a stream may be ahead of its reader before its thread waits."""
_AT_A_TIME = 2
"""Arrivals that the event loop takes before it turns to other work."""
_END: Any = object()
_Job: TypeAlias = "tuple[Future[Any], Callable[[], Any]]"


class Threads:
    """Hold at most `size` threads for calls and as many for streams; none until the first is needed."""

    def __init__(self, size: int) -> None:
        self._calls = _Pool(size, "bedrock-routing-call")
        self._streams = _Pool(size, "bedrock-routing-stream")

    async def run(self, call: Callable[[], T]) -> T:
        """Await a blocking call, made in a copy of the caller's context.

        Cancelling returns at once. A call that is still waiting for a thread is then never made; one that is
        running runs to its end, unheard.
        """
        arrivals = _arrivals()
        arrived: asyncio.Future[None] = arrivals.loop.create_future()
        answer: Future[T] = Future()
        answer.add_done_callback(lambda _: arrivals.post(partial(_settle, arrived)))
        arrivals.loop.call_soon(self._calls.submit, answer, partial(contextvars.copy_context().run, call))
        try:
            await arrived
        finally:
            answer.cancel()
        return answer.result()

    async def iterate(
        self, make: Callable[[], Generator[T]], *, interrupt: Callable[[], None]
    ) -> AsyncGenerator[T]:
        """Yield what a blocking generator yields, made and run in a copy of the caller's context.

        Leaving early, by `aclose` or cancellation, calls `interrupt`: it must not block, and must make the
        generator's blocked read return. The generator is closed by the thread that runs it.
        """
        arrivals = _arrivals()
        arrived: asyncio.Queue[T] = asyncio.Queue()
        room = threading.Semaphore(_AHEAD)
        left = threading.Event()

        def pump() -> None:
            if left.is_set():
                return
            with contextlib.closing(make()) as source:
                for item in source:
                    if not _acquire(room, arrivals.loop) or left.is_set():
                        return
                    arrivals.post(partial(arrived.put_nowait, item))

        running: Future[None] = Future()
        running.add_done_callback(lambda _: arrivals.post(partial(arrived.put_nowait, _END)))
        arrivals.loop.call_soon(self._streams.submit, running, partial(contextvars.copy_context().run, pump))
        try:
            while (item := await arrived.get()) is not _END:
                room.release()
                yield item
                if not arrived.empty():  # `get` would not let others have their turn
                    await asyncio.sleep(0)
            running.result()
        finally:
            left.set()
            room.release()
            if not running.done() and not running.cancel():
                interrupt()


class _Arrivals:
    """Bring what threads have for an event loop to it, in order, with one wake-up for many."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._posted: deque[Callable[[], object]] = deque()
        self._coming = False

    def post(self, deliver: Callable[[], object]) -> None:
        """Have `deliver` called on the loop; on one that is closed nobody waits for it."""
        self._posted.append(deliver)
        if not self._coming:
            self._coming = True
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        for _ in range(_AT_A_TIME):
            if not self._posted:
                break
            self._posted.popleft()()
        if not self._posted:
            self._coming = False  # before looking again: who posts from here on wakes the loop itself
        if self._posted:
            self._coming = True
            self.loop.call_soon(self._take)


class _OfThread(threading.local):
    """Hold the arrivals of the event loop that runs in this thread."""

    arrivals: _Arrivals | None = None


_of_thread = _OfThread()


def _arrivals() -> _Arrivals:
    loop = asyncio.get_running_loop()
    found = _of_thread.arrivals
    if found is None or found.loop is not loop:
        found = _of_thread.arrivals = _Arrivals(loop)
    return found


def _settle(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():
        arrived.set_result(None)


class _Pool:
    """Run calls on at most `size` threads; handing one over takes no lock that a running call may hold."""

    def __init__(self, size: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._handed: SimpleQueue[_Job | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._started = False
        weakref.finalize(self, self._handed.put, None)

    def submit(self, answer: Future[T], call: Callable[[], T]) -> None:
        """Have `answer` settled by a call; once it is cancelled before its turn, the call is never made."""
        if not self._started:
            self._start()
        self._handed.put((answer, call))

    def _start(self) -> None:
        with self._starting:
            if not self._started:
                handing_on = (self._handed, self._executor)
                threading.Thread(
                    target=_hand_on, args=handing_on, name="bedrock-routing", daemon=True
                ).start()
                self._started = True


def _hand_on(handed: SimpleQueue[_Job | None], executor: ThreadPoolExecutor) -> None:
    """Give the executor one job after the other, until there is a `None`: nobody holds the pool any more."""
    while (job := handed.get()) is not None:
        try:
            executor.submit(_do, *job)
        except RuntimeError as error:  # the interpreter is shutting down
            job[0].set_exception(error)


def _do(answer: Future[Any], call: Callable[[], Any]) -> None:
    if not answer.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        answer.set_exception(error)
    else:
        answer.set_result(result)


def _acquire(room: threading.Semaphore, loop: asyncio.AbstractEventLoop) -> bool:
    """Wait for room; a loop that was closed meanwhile never makes any."""
    while not room.acquire(timeout=1):
        if loop.is_closed():
            return False
    return not loop.is_closed()


@lru_cache(maxsize=8)
def threads(size: int) -> Threads:
    """Return the threads that all models with this bound share."""
    return Threads(size)


if hasattr(os, "register_at_fork"):  # a child process inherits the pools, but not their threads
    os.register_at_fork(after_in_child=threads.cache_clear)
