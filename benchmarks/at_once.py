"""How many calls at once each model class carries, and how long the event loop stands still meanwhile.

200 calls, then 200 streams of about 20 events, each after 200 ms of latency, with both frameworks: the
existing class and this project's, on threads and, with the extra `async`, on the event loop; three times
each, and the worst of the three is printed. A task that wakes every two milliseconds measures the stalls.
Python's full garbage collection stops everything for some 70 ms, whoever asks: it is put off until after each
measurement.

Then 60 LangChain streams at once, of 20 chunks that the service sends 10 ms apart: the longest time between
two chunks of one stream, its median over the streams and the worst of them. Before all that, 100 of 200
streams are cancelled in the middle, and the connections that the process still holds are counted (where /proc
tells); and single calls and streams are cancelled, and the service says when their connection was closed.
Run it:

    python benchmarks/at_once.py
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dripping import Dripping, dripping
from endpoint import endpoint
from langchain_aws import ChatBedrockConverse
from llama_index.core.llms import ChatMessage
from llama_index.llms.bedrock_converse import BedrockConverse

from bedrock_routing.loop_clients import has_extra
from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter

MODEL = "us.amazon.nova-lite-v1:0"
AT_ONCE = 200
STREAMS = 60
LATENCY = 0.2
ROUNDS = 3
_BEAT = 0.002
_OPEN_FILES = Path("/proc/self/fd")
_WHERE = {"region_name": "us-east-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}
_HELLO = [ChatMessage(role="user", content="Hello")]

Call = Callable[[Any], Awaitable[object]]


async def _read(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


async def _langchain_stream(model: Any) -> None:
    await _read(model.astream("Hello"))


async def _llama_index_stream(model: Any) -> None:
    await _read(await model.astream_chat(_HELLO))


def _ways(existing: type[Any], ours: type[Any]) -> dict[str, Callable[..., Any]]:
    """Return what makes the models that are compared, by name."""
    ways = {existing.__name__: existing, f"{ours.__name__}, threads": partial(ours, native_async=False)}
    if has_extra():
        ways[f"{ours.__name__}, event loop"] = partial(ours, native_async=True)
    return ways


LANGCHAIN = _ways(ChatBedrockConverse, ChatBedrockRouter)
LLAMA_INDEX = _ways(BedrockConverse, BedrockRouter)
CALLS: dict[str, tuple[dict[str, Callable[..., Any]], Call]] = {
    "ainvoke": (LANGCHAIN, lambda model: model.ainvoke("Hello")),
    "astream": (LANGCHAIN, _langchain_stream),
    "achat": (LLAMA_INDEX, lambda model: model.achat(_HELLO)),
    "astream_chat": (LLAMA_INDEX, _llama_index_stream),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Hold the seconds that all calls took together, and the longest wait for the event loop."""

    seconds: float
    stall: float


async def _measured(model: Any, call: Call) -> Measured:
    stalls = [0.0]

    async def beat() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(_BEAT)
            stalls.append(time.perf_counter() - before - _BEAT)

    beating = asyncio.create_task(beat())
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    await asyncio.gather(*(call(model) for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - start
    gc.enable()
    beating.cancel()
    return Measured(seconds=seconds, stall=max(stalls))


async def _rounds(model: Any, call: Call) -> Measured:
    await call(model)  # clients are made, the router is looked up
    each = [await _measured(model, call) for _ in range(ROUNDS)]
    return Measured(seconds=max(one.seconds for one in each), stall=max(one.stall for one in each))


def _sockets() -> int:
    count = 0
    for each in _OPEN_FILES.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += str(each.readlink()).startswith("socket:")
    return count


async def _cancelled(model: Any) -> tuple[int, int, float]:
    """Return the sockets with 200 streams open, and after 100 were cancelled; and the seconds until then."""
    reading = [asyncio.create_task(_llama_index_stream(model)) for _ in range(AT_ONCE)]
    deadline = time.perf_counter() + 10
    while (before := _sockets()) <= AT_ONCE and time.perf_counter() < deadline:
        await asyncio.sleep(0.05)
    start = time.perf_counter()
    for each in reading[: AT_ONCE // 2]:
        each.cancel()
    while _sockets() > before - AT_ONCE // 2 and time.perf_counter() - start < 5:
        await asyncio.sleep(0.002)
    seconds, after = time.perf_counter() - start, _sockets()
    for each in reading:
        each.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    return before, after, seconds


async def _longest_gap(model: Any) -> float:
    """Read one stream; return the longest time between two of its chunks."""
    longest, before = 0.0, None
    async for _ in model.astream("Hello"):
        now = time.perf_counter()
        longest = max(longest, now - (before or now))
        before = now
    return longest


async def _gaps(model: Any) -> tuple[float, float]:
    """Return the median and the worst of the longest gaps of streams that are read at once."""
    await model.ainvoke("Hello")
    median = worst = 0.0
    for _ in range(ROUNDS):
        gc.collect()
        gc.disable()
        gaps = await asyncio.gather(*(_longest_gap(model) for _ in range(STREAMS)))
        gc.enable()
        median, worst = max(median, statistics.median(gaps)), max(worst, *gaps)
    return median, worst


async def _until_closed(model: Any, call: Call, service: Dripping) -> float:
    """Return the seconds from cancelling a call to the end of its connection; the worst of some."""
    worst = 0.0
    for _ in range(10):
        asking = asyncio.create_task(call(model))
        await asyncio.to_thread(service.heard, "asked")
        cancelled = time.monotonic()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        worst = max(worst, await asyncio.to_thread(service.heard, "closed") - cancelled)
    return worst


def _print_freed() -> None:
    half = AT_ONCE // 2
    with endpoint(LATENCY, words=20_000) as url:
        for name, make in LLAMA_INDEX.items():
            if make is BedrockConverse:
                continue
            before, after, seconds = asyncio.run(_cancelled(make(model=MODEL, endpoint_url=url, **_WHERE)))
            found = f"{before}; {seconds:.2f} s after cancelling {half}: {after}"
            print(f"{name}: sockets with {AT_ONCE} streams: {found}", flush=True)


def _print_at_once() -> None:
    print(f"{AT_ONCE} at once, {LATENCY * 1000:.0f} ms each; the worst of {ROUNDS} rounds")
    print(f"{'':14}{'':32}{'seconds':>9}{'stall':>9}")
    with endpoint(LATENCY, words=20) as url:
        for name, (ways, call) in CALLS.items():
            for way, make in ways.items():
                found = asyncio.run(_rounds(make(model=MODEL, endpoint_url=url, **_WHERE), call))
                print(f"{name:14}{way:32}{found.seconds:9.2f}{found.stall * 1000:6.0f} ms", flush=True)


def _print_gaps() -> None:
    print(f"{STREAMS} streams at once, 20 chunks 10 ms apart: longest gap; the worst of {ROUNDS} rounds")
    print(f"{'':46}{'median':>9}{'worst':>9}")
    with dripping(latency=LATENCY) as service:
        for way, make in LANGCHAIN.items():
            model = make(model=MODEL, endpoint_url=service.url, **_WHERE)
            median, worst = asyncio.run(_gaps(model))
            print(f"{'astream':14}{way:32}{median * 1000:6.0f} ms{worst * 1000:6.0f} ms", flush=True)


def _print_cancelled() -> None:
    if not has_extra():
        return
    for name, call in (("ainvoke", CALLS["ainvoke"][1]), ("astream", _langchain_stream)):
        with dripping(latency=LATENCY) as service:
            model = ChatBedrockRouter(model=MODEL, endpoint_url=service.url, native_async=True, **_WHERE)
            seconds = asyncio.run(_until_closed(model, call, service))
            print(f"{name}, event loop: closed {seconds * 1000:.1f} ms after cancelling at most", flush=True)


def main() -> None:
    """Print what cancelling frees and how fast, then the tables."""
    if _OPEN_FILES.is_dir():
        _print_freed()
    _print_cancelled()
    _print_at_once()
    _print_gaps()


if __name__ == "__main__":
    main()
