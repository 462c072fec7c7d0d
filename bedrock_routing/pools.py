"""Run blocking Bedrock calls for an event loop, on threads of our own.

The default executor of an event loop has a handful of threads and is shared with everything else. Here each
call has a thread, started on demand up to a bound. Streams have threads apart from calls, so that a stream
which waits for its reader cannot keep the reader's own calls waiting.

The event loop itself starts no thread: that takes locks which the threads hold, and in a burst of hundreds of
calls the loop would wait for each of them in turn. It puts calls into a queue, and a thread hands them on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

__all__ = ["Threads", "threads"]

T = TypeVar("T")

_AHEAD = 128
"""Items that a stream may be ahead of its reader before its thread waits."""
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
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self._calls.submit(partial(context.run, call)))

    async def iterate(
        self, make: Callable[[], Generator[T]], *, interrupt: Callable[[], None]
    ) -> AsyncGenerator[T]:
        """Yield what a blocking generator yields, made and run in a copy of the caller's context.

        Leaving early, by `aclose` or cancellation, calls `interrupt`: it must not block, and must make the
        generator's blocked read return. The generator is closed by the thread that runs it.
        """
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[T] = asyncio.Queue()
        room = threading.Semaphore(_AHEAD)
        left = threading.Event()

        def pump() -> None:
            with contextlib.closing(make()) as source:
                for item in source:
                    if not _acquire(room, loop) or left.is_set():
                        return
                    loop.call_soon_threadsafe(arrived.put_nowait, item)

        def run() -> None:
            try:
                if not left.is_set():
                    pump()
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed, so nobody reads any more
                    loop.call_soon_threadsafe(arrived.put_nowait, _END)

        running = self._streams.submit(partial(contextvars.copy_context().run, run))
        ended = False
        try:
            while (item := await arrived.get()) is not _END:
                room.release()
                yield item
            ended = True
            await asyncio.wrap_future(running)  # raises what the generator raised
        finally:
            left.set()
            room.release()
            if not ended and not running.cancel():
                interrupt()


class _Pool:
    """Run calls on at most `size` threads; handing one over takes no lock that a running call may hold."""

    def __init__(self, size: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._handed: SimpleQueue[_Job | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._started = False
        weakref.finalize(self, self._handed.put, None)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Return the future answer; cancelling it before its turn means that the call is never made."""
        answer: Future[T] = Future()
        if not self._started:
            self._start()
        self._handed.put((answer, call))
        return answer

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
