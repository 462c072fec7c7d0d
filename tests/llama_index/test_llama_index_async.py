"""Async calls, on threads of our own and on the event loop: many at once, ended when their reader leaves."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing.pools import Threads
from llama_index_bedrock_routing import BedrockRouter, routing_usage

Make = Callable[..., BedrockRouter]
HELLO = [ChatMessage(role="user", content="Hello")]
FLAG: contextvars.ContextVar[str] = contextvars.ContextVar("flag", default="unset")


@pytest.fixture
def make_llm(bedrock: LocalBedrock, native: bool) -> Make:
    def make(model: str = "amazon.nova:1", **settings: Any) -> BedrockRouter:
        where = {"region_name": "us-east-1", "endpoint_url": bedrock.endpoint_url}
        return BedrockRouter(model=model, **{**where, "native_async": native, **settings})

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
    """Neither calls nor streams need the event loop's executor, once there is a TLS context."""
    llm = make_llm()
    if native:
        await llm.achat(HELLO)
    request.getfixturevalue("no_default_executor")
    await llm.achat(HELLO)
    await llm.acomplete("Hello")
    assert [each async for each in await llm.astream_chat(HELLO)]


async def test_many_calls_run_at_once(make_llm: Make) -> None:
    """Far more calls run at once than an event loop's executor has threads."""
    together = threading.Barrier(60, timeout=20)

    class Meet(FixedAnswer):
        def reply(self, prompt: Any) -> Any:
            together.wait()
            return super().reply(prompt)

    with LocalBedrock(answers=Meet()) as bedrock:
        llm = make_llm(endpoint_url=bedrock.endpoint_url)
        answers = await asyncio.gather(*(llm.achat(HELLO) for _ in range(60)))
    assert len(answers) == 60


async def test_a_bound_is_kept() -> None:
    """At most `size` calls run at once; the others wait for their turn."""
    running, most, lock = 0, 0, threading.Lock()
    held = threading.Event()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        held.wait(0.02)
        with lock:
            running -= 1

    pool = Threads(3)
    await asyncio.gather(*(pool.run(call) for _ in range(12)))
    assert most <= 3


async def test_context_variables_are_copied() -> None:
    """A call and a stream see the caller's context variables."""
    FLAG.set("set")

    def stream() -> Generator[str]:
        yield FLAG.get()

    pool = Threads(1)
    assert await pool.run(FLAG.get) == "set"
    assert [each async for each in pool.iterate(stream, interrupt=nothing)] == ["set"]


async def test_usage_of_async_calls(make_llm: Make) -> None:
    """A block that collects usage sees calls and streams made by tasks inside it."""
    llm = make_llm()

    async def stream() -> None:
        assert [each async for each in await llm.astream_chat(HELLO)]

    with routing_usage() as usage:
        await asyncio.gather(llm.achat(HELLO), stream())
    assert usage.total.calls == 2


async def test_a_slow_reader_holds_the_stream_back() -> None:
    """A stream runs ahead of its reader by a bound, not to its end."""
    made = 0

    def numbers() -> Generator[int]:
        nonlocal made
        for number in range(10_000):
            made += 1
            yield number

    items = Threads(1).iterate(numbers, interrupt=nothing)
    assert await anext(items) == 0
    await until(lambda: made > 100)
    await asyncio.sleep(0.1)
    assert made < 200
    await items.aclose()


async def test_an_error_of_a_stream_reaches_its_reader() -> None:
    """What the blocking side raises comes up after the items before it."""

    def fail() -> Generator[int]:
        yield 1
        raise LookupError("gone")

    items = Threads(1).iterate(fail, interrupt=nothing)
    assert await anext(items) == 1
    with pytest.raises(LookupError, match="gone"):
        await anext(items)


async def test_leaving_a_stream_closes_it(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A stream that is left early is closed at once, and counted as incomplete."""
    bedrock.fail(Fault(kind="drip", seconds=0.2), operation="ConverseStream")
    with routing_usage() as usage:
        stream = await make_llm().astream_chat(HELLO)
        await anext(stream)
        await stream.aclose()
        await until(lambda: usage.total.calls == 1)
    assert usage.receipts[0].complete is False


async def test_cancelling_ends_streams(make_llm: Make) -> None:
    """Cancelled readers free the threads of their streams for others."""
    with LocalBedrock(answers=FixedAnswer("word " * 200)) as bedrock:
        llm = make_llm(endpoint_url=bedrock.endpoint_url, max_concurrency=2)
        await llm.achat(HELLO)
        idle = bedrock.connections
        bedrock.fail(Fault(kind="drip", seconds=5), times=2, operation="ConverseStream")
        started = 0

        async def read() -> None:
            nonlocal started
            started += 1
            async for _ in await llm.astream_chat(HELLO):
                pass

        readers = [asyncio.create_task(read()) for _ in range(2)]
        await until(lambda: started == 2 and bedrock.connections > idle)
        await asyncio.sleep(0.1)
        for each in readers:
            each.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        async with asyncio.timeout(20):
            assert [each async for each in await llm.astream_chat(HELLO)]


async def test_cancelling_a_waiting_call(make_llm: Make) -> None:
    """A call that still waits for a thread is never made when it is cancelled."""
    let, made = threading.Event(), 0

    def call() -> None:
        nonlocal made
        made += 1
        let.wait(20)

    pool = Threads(1)
    first = asyncio.create_task(pool.run(call))
    second = asyncio.create_task(pool.run(call))
    await until(lambda: made == 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    let.set()
    await first
    assert made == 1


def test_event_loops_one_after_another(make_llm: Make) -> None:
    """One LLM serves several event loops."""
    llm = make_llm()
    assert [asyncio.run(llm.achat(HELLO)).message.content for _ in range(2)] == [
        "This is a fixed answer."
    ] * 2


async def test_cancelling_frees_connections(make_llm: Make) -> None:
    """Of many streams, those that are cancelled close their connections; the others are read to their end."""
    with LocalBedrock(answers=FixedAnswer("word " * 40)) as bedrock:
        llm = make_llm(endpoint_url=bedrock.endpoint_url)
        await llm.achat(HELLO)
        idle = bedrock.connections
        bedrock.fail(Fault(kind="drip", seconds=0.05), times=40, operation="ConverseStream")

        async def read() -> int:
            return len([each async for each in await llm.astream_chat(HELLO)])

        readers = [asyncio.create_task(read()) for _ in range(40)]
        await until(lambda: bedrock.connections >= idle + 39)
        for each in readers[:20]:
            each.cancel()
        await until(lambda: bedrock.connections <= idle + 20)
        assert not any(each.done() for each in readers[20:])
        assert min(await asyncio.gather(*readers[20:])) > 5
