"""Call Converse and ConverseStream with `await`, on the event loop itself, as `RoutedClient` calls them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeVar

from bedrock_routing.arns import parse
from bedrock_routing.bridge import Bridge, in_thread
from bedrock_routing.client import RoutedClient
from bedrock_routing.errors import MissingExtraError
from bedrock_routing.loop_clients import LoopClient, Turns, check_twin, has_extra, twin_of
from bedrock_routing.policy import PricePolicy
from bedrock_routing.pools import threads
from bedrock_routing.pricing import ratios_of
from bedrock_routing.receipt import Receipt
from bedrock_routing.streams import RoutedStream

__all__ = ["AsyncRoutedClient", "AsyncRoutedStream", "AsyncRunner", "runner_for"]

T = TypeVar("T")
_END: Any = object()


class AsyncRunner(Protocol):
    """Be what runs the async calls of an adapter, whose own code is blocking: threads, or the event loop."""

    async def run(self, call: Callable[[], T]) -> T:
        """Await a blocking call; cancelling returns at once."""
        ...

    def iterate(
        self, make: Callable[[], Generator[T]], *, interrupt: Callable[[], None]
    ) -> AsyncGenerator[T]:
        """Yield what a blocking generator yields; leaving early ends it."""
        ...


class AsyncRoutedClient:
    """Await the calls of a `RoutedClient`: same planning, same receipts, no threads; needs the extra `async`.

    Cancelling a call, or leaving a stream early, closes its connection. At most `max_concurrency` calls, and
    as many streams, are under way at once on an event loop; more wait for their turn. Connections are kept
    per event loop and closed with it, or by `aclose`.

    Of what is registered with the boto3 client, handlers of `before-send` see these calls, too; other
    handlers do not.
    """

    def __init__(self, client: RoutedClient, *, max_concurrency: int = 256) -> None:
        if not has_extra():
            raise MissingExtraError("AsyncRoutedClient", "async")
        self._client = client
        self._size = max_concurrency
        self._of_loops: dict[asyncio.AbstractEventLoop, asyncio.Task[_OfLoop]] = {}

    async def converse(self, **params: Any) -> dict[str, Any]:
        """Call Converse as `RoutedClient.converse` does."""
        return await self.run(partial(self._client.converse, **params))

    async def converse_stream(self, **params: Any) -> dict[str, Any]:
        """Call ConverseStream as `RoutedClient.converse_stream` does; `stream` is read with `async for`."""
        here = await self._here()
        run = partial(self._bridge(here).run, context=contextvars.copy_context())
        await here.streams.acquire()
        try:
            await here.turns.take()
            response = await run(partial(self._client.converse_stream, **params))
        except BaseException:
            here.streams.release()
            raise
        events = AsyncRoutedStream(response["stream"], run=run, left=here.streams.release)
        return {**response, "stream": events}

    async def run(self, call: Callable[[], T]) -> T:
        """Run blocking code; what it asks of this client is awaited on the event loop."""
        here = await self._here()
        async with here.calls:
            await here.turns.take()
            return await self._bridge(here).run(call)

    async def iterate(
        self, make: Callable[[], Generator[T]], *, interrupt: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[T]:
        """Yield what a blocking generator yields that reads a stream of this client.

        Leaving early closes the generator. `interrupt` is for threads, see `Threads.iterate`.
        """
        del interrupt
        here = await self._here()
        bridge, context = self._bridge(here), contextvars.copy_context()
        async with here.streams:
            await here.turns.take()
            items = await bridge.run(make, context)
            with contextlib.closing(items):
                step = partial(next, items, _END)
                while (item := await bridge.run(step, context)) is not _END:
                    yield item

    async def aclose(self) -> None:
        """Close the connections of the running event loop; a later call makes new ones."""
        connecting = self._of_loops.pop(asyncio.get_running_loop(), None)
        if connecting is not None and not _has_failed(connecting):
            await (await connecting).holder.aclose()

    def _bridge(self, here: _OfLoop) -> Bridge:
        return Bridge(here.client, source=self._client.source)

    async def _here(self) -> _OfLoop:
        """Return what belongs to the running loop; calls that come together make it once.

        Where that failed, or was cancelled with all else on the loop, the next call tries again.
        """
        loop = asyncio.get_running_loop()
        connecting = self._of_loops.get(loop)
        if connecting is None or _has_failed(connecting):
            for each in tuple(self._of_loops):
                if each.is_closed():
                    self._of_loops.pop(each, None)
            connecting = self._of_loops[loop] = loop.create_task(self._connect())
        return await asyncio.shield(connecting)

    def _made(self) -> Any:
        """Return the boto3 client; it, and the table of prices, take a while to come."""
        ratios_of((parse("amazon.nova-lite-v1:0"),), "5m", PricePolicy())
        return self._client.source.get()

    def _forget(self, loop: asyncio.AbstractEventLoop, connecting: object) -> None:
        """Let the next call connect anew, unless one has already done so."""
        if self._of_loops.get(loop) is connecting:
            self._of_loops.pop(loop, None)

    async def _connect(self) -> _OfLoop:
        made = await in_thread(self._made)
        check_twin(made)
        forget = partial(self._forget, asyncio.get_running_loop(), asyncio.current_task())
        holder = twin_of(made, connections=2 * self._size, closed=forget)
        twin, turns = await anext(holder), Turns()
        return _OfLoop(
            client=LoopClient(twin, turns),
            holder=holder,
            turns=turns,
            calls=asyncio.Semaphore(self._size),
            streams=asyncio.Semaphore(self._size),
        )


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfLoop:
    """Hold what belongs to one event loop."""

    client: LoopClient
    holder: AsyncGenerator[Any]
    turns: Turns
    calls: asyncio.Semaphore
    streams: asyncio.Semaphore


class AsyncRoutedStream:
    """Iterate the events of a stream; what is true of `RoutedStream` is true of it."""

    def __init__(self, stream: RoutedStream, *, run: Callable[..., Any], left: Callable[[], None]) -> None:
        self._stream = stream
        self._left: Callable[[], None] | None = left
        self._events = _events_of(stream, run)

    def __aiter__(self) -> Self:
        """Return the one iterator of this stream."""
        return self

    async def __anext__(self) -> Mapping[str, Any]:
        """Return the next event."""
        try:
            return await anext(self._events)
        except BaseException:
            self._end()
            raise

    @property
    def receipt(self) -> Receipt | None:
        """Return the receipt, once the stream has ended, however it did."""
        return self._stream.receipt

    async def aclose(self) -> None:
        """Close the connection; a stream that has not ended is recorded as incomplete."""
        await self._events.aclose()
        self._end()

    def _end(self) -> None:
        self._stream.close()
        if self._left is not None:
            self._left()
            self._left = None

    def __del__(self) -> None:
        """Let others have the place of a stream that is read no more."""
        self._end()


async def _events_of(stream: RoutedStream, run: Callable[..., Any]) -> AsyncGenerator[Mapping[str, Any]]:
    events = iter(stream)
    step = partial(next, events, _END)
    while (event := await run(step)) is not _END:
        yield event


def runner_for(client: RoutedClient, *, native: bool | None, max_concurrency: int) -> AsyncRunner:
    """Return what runs async calls of a client: the event loop itself, or threads of our own.

    `native=None`: the event loop where the extra `async` is installed. A client has one such runner.

    Raises:
        MissingExtraError: `native=True`, and the extra is not installed.
    """
    if native is False or (native is None and not has_extra()):
        return threads(max_concurrency)
    found = client.on_event_loops.get(max_concurrency)
    if found is None:
        made = AsyncRoutedClient(client, max_concurrency=max_concurrency)
        found = client.on_event_loops.setdefault(max_concurrency, made)
    return found
