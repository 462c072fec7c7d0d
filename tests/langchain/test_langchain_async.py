"""Async calls, on threads of our own and on the event loop: many at once, ended when their reader leaves."""

import asyncio
import contextvars
import copy
import pickle
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any, cast

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from bedrock_local import Fault, FixedAnswer, LocalBedrock, Pace
from bedrock_routing import AsyncRoutedClient, IncompleteStreamError, MissingExtraError, async_client
from bedrock_routing.loop_clients import has_extra
from bedrock_routing.pools import Threads
from langchain_bedrock_routing import ChatBedrockRouter, routing_usage

Make = Callable[..., ChatBedrockRouter]
FLAG: contextvars.ContextVar[str] = contextvars.ContextVar("flag", default="unset")


@pytest.fixture
def make_llm(bedrock: LocalBedrock, native: bool) -> Make:
    def make(model: str = "amazon.nova:1", **settings: Any) -> ChatBedrockRouter:
        where = {"region_name": "us-east-1", "endpoint_url": bedrock.endpoint_url}
        return ChatBedrockRouter(model=model, **{**where, "native_async": native, **settings})

    return make


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; a hang is an error."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def nothing() -> None:
    """Interrupt nothing."""


async def test_calls_leave_the_default_executor_alone(
    make_llm: Make, native: bool, request: pytest.FixtureRequest
) -> None:
    """Neither calls nor streams nor batches need the event loop's executor, once there is a TLS context."""
    llm = make_llm()
    if native:
        await llm.ainvoke("Hello")
    request.getfixturevalue("no_default_executor")
    await llm.ainvoke("Hello")
    await llm.abatch(["Hello", "Good evening"])
    assert [chunk async for chunk in llm.astream("Hello")]


async def test_many_calls_run_at_once(make_llm: Make) -> None:
    """Far more calls run at once than an event loop's executor has threads."""
    together = threading.Barrier(60, timeout=20)

    class Meet(FixedAnswer):
        def reply(self, prompt: Any) -> Any:
            together.wait()
            return super().reply(prompt)

    with LocalBedrock(answers=Meet()) as bedrock:
        llm = make_llm(endpoint_url=bedrock.endpoint_url)
        answers = await asyncio.gather(*(llm.ainvoke("Hello") for _ in range(60)))
    assert len(answers) == 60


async def test_a_bound_is_kept(make_llm: Make) -> None:
    """max_concurrency bounds the calls at once; the others wait for their turn."""
    running, most, lock = 0, 0, threading.Lock()

    class Count(FixedAnswer):
        def reply(self, prompt: Any) -> Any:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.02)
            with lock:
                running -= 1
            return super().reply(prompt)

    with LocalBedrock(answers=Count()) as bedrock:
        llm = make_llm(endpoint_url=bedrock.endpoint_url, max_concurrency=3)
        answers = await asyncio.gather(*(llm.ainvoke("Hello") for _ in range(12)))
    assert len(answers) == 12
    assert most == 3


def test_a_batch_runs_at_once(make_llm: Make) -> None:
    """Batch is bounded by max_concurrency, not by a handful of threads."""
    together = threading.Barrier(50, timeout=20)

    class Meet(FixedAnswer):
        def reply(self, prompt: Any) -> Any:
            together.wait()
            return super().reply(prompt)

    with LocalBedrock(answers=Meet()) as bedrock:
        assert len(make_llm(endpoint_url=bedrock.endpoint_url).batch(["Hello"] * 50)) == 50


async def test_context_variables_travel(make_llm: Make) -> None:
    """Calls and streams see the caller's context variables."""
    seen: list[str] = []
    llm = make_llm()
    llm.client.meta.events.register("before-send.bedrock-runtime", lambda **_: seen.append(FLAG.get()))
    FLAG.set("mine")
    await llm.ainvoke("Hello")
    assert [chunk async for chunk in llm.astream("Hello")]
    assert seen == ["mine", "mine"]


async def test_errors_travel(make_llm: Make, bedrock: LocalBedrock) -> None:
    """What goes wrong on a thread is raised where the caller waits."""
    llm = make_llm(max_retries=0)
    bedrock.fail(Fault.throttling(), operation="Converse")
    with pytest.raises(llm.client.exceptions.ThrottlingException):
        await llm.ainvoke("Hello")
    bedrock.fail(Fault.cut())
    with pytest.raises(IncompleteStreamError):
        [chunk async for chunk in llm.astream("Hello")]


async def test_tokens_reach_async_callbacks(make_llm: Make) -> None:
    """Streaming inside ainvoke tells callbacks each token."""

    class Tokens(BaseCallbackHandler):
        def __init__(self) -> None:
            self.text = ""

        def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            self.text += chunk.text if chunk else ""

    tokens = Tokens()
    answer = await make_llm(streaming=True).ainvoke("Hello", {"callbacks": [tokens]})
    assert tokens.text == answer.text == "This is a fixed answer."


@pytest.fixture
def slow() -> Iterator[LocalBedrock]:
    """Serve a model that starts at once and then takes a minute for each piece of its answer."""
    with LocalBedrock(answers=FixedAnswer(), pace=Pace(output_tokens_per_second=1 / 60)) as bedrock:
        yield bedrock


async def test_a_stream_that_is_closed_ends(make_llm: Make, slow: LocalBedrock) -> None:
    """Closing a stream ends the HTTP stream at once, although its next event is a minute away."""
    with routing_usage() as usage:
        stream = make_llm(endpoint_url=slow.endpoint_url).astream("Hello")
        await anext(stream)
        await cast("AsyncGenerator[Any]", stream).aclose()
        await until(lambda: len(usage.receipts) == 1)
    assert usage.receipts[0].complete is False


async def test_a_stream_that_is_cancelled_ends(make_llm: Make, slow: LocalBedrock) -> None:
    """Cancelling the task that reads a stream ends the HTTP stream at once."""
    started = asyncio.Event()

    async def read() -> None:
        async for _ in make_llm(endpoint_url=slow.endpoint_url).astream("Hello"):
            started.set()

    with routing_usage() as usage:
        reading = asyncio.create_task(read())
        await started.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await until(lambda: len(usage.receipts) == 1)
    assert usage.receipts[0].complete is False


async def test_a_thread_waits_for_its_reader() -> None:
    """A generator runs ahead of its reader by a bounded number of items, and none is lost."""
    made: list[int] = []

    def count() -> Generator[int]:
        for number in range(1_000):
            made.append(number)
            yield number

    items = Threads(1).iterate(count, interrupt=nothing)
    first = await anext(items)
    await asyncio.sleep(0.1)
    assert len(made) < 500
    assert [first, *[item async for item in items]] == list(range(1_000))


async def test_a_generator_is_closed_by_its_own_thread() -> None:
    """Leaving early interrupts the generator, which its own thread then closes."""
    woken, closed = threading.Event(), []

    def wait() -> Generator[int]:
        try:
            yield 1
            woken.wait(20)
            yield 2
        finally:
            closed.append(threading.current_thread().name)

    items = Threads(1).iterate(wait, interrupt=woken.set)
    assert await anext(items) == 1
    await items.aclose()
    await until(lambda: len(closed) == 1)
    assert closed[0].startswith("bedrock-routing-stream")


async def test_a_stream_that_never_ran_is_never_made() -> None:
    """A stream whose reader leaves while it waits for a thread is not opened at all."""
    free, made = threading.Event(), []
    pool = Threads(1)

    def occupy() -> Generator[int]:
        free.wait(20)
        yield 1

    def make() -> Generator[int]:
        made.append(1)
        yield 1

    first = asyncio.create_task(anext(pool.iterate(occupy, interrupt=free.set)))
    waiting = asyncio.create_task(anext(pool.iterate(make, interrupt=nothing)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    free.set()
    assert await first == 1
    assert made == []


async def test_an_exception_ends_the_items() -> None:
    """Items that came before an exception are read first."""

    def fail() -> Generator[int]:
        yield 1
        raise LookupError("no more")

    items = Threads(1).iterate(fail, interrupt=nothing)
    assert await anext(items) == 1
    with pytest.raises(LookupError, match="no more"):
        await anext(items)


# Which path


def test_a_given_client_is_called_on_threads(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Handlers and stubs of a client that was given stay in use, unless the settings say otherwise."""
    given = bedrock.client()
    assert isinstance(make_llm(client=given, native_async=None)._runner(), Threads)
    assert make_llm(native_async=None)._runner().__class__ is (AsyncRoutedClient if has_extra() else Threads)


def test_the_extra_is_named(make_llm: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for the event loop without the extra says what to install."""
    monkeypatch.setattr(async_client, "has_extra", lambda: False)
    with pytest.raises(MissingExtraError, match=r"bedrock-routing\[async\]"):
        asyncio.run(make_llm(native_async=True).ainvoke("Hello"))


async def test_headers_are_sent(make_llm: Make) -> None:
    """`default_headers` go out with calls and streams."""
    sent: list[str] = []
    llm = make_llm(default_headers={"x-team": "search"})
    llm.client.meta.events.register(
        "before-send.bedrock-runtime", lambda request, **_: sent.append(request.headers.get("x-team"))
    )
    await llm.ainvoke("Hello")
    assert [chunk async for chunk in llm.astream("Hello")]
    assert sent == ["search", "search"]


async def test_a_model_that_was_asked_can_be_copied(make_llm: Make) -> None:
    """Connections belong to the process: a copy and a stored model do without them, and still answer."""
    llm = make_llm()
    await llm.ainvoke("Hello")
    for twin in (copy.deepcopy(llm), pickle.loads(pickle.dumps(llm))):
        assert (await twin.ainvoke("Hello")).text == "This is a fixed answer."
