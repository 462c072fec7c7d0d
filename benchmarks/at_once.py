"""How many calls at once each model class carries, and how long the event loop stands still meanwhile.

200 calls, then 200 streams of about 20 events, each after 200 ms of latency, with both frameworks: this
project's class and the existing one, three times each; the worst of the three is printed. A task that wakes
every two milliseconds measures the stalls. Python's full garbage collection stops everything for some 70 ms,
whoever asks: it is put off until after each measurement. Before that, 100 of 200 streams are cancelled in the
middle, and the connections that the process still holds are counted (where /proc tells). Run it:

    python benchmarks/at_once.py
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from endpoint import endpoint
from langchain_aws import ChatBedrockConverse
from llama_index.core.llms import ChatMessage
from llama_index.llms.bedrock_converse import BedrockConverse

from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter

MODEL = "us.amazon.nova-lite-v1:0"
AT_ONCE = 200
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


CALLS: dict[str, tuple[tuple[type[Any], ...], Call]] = {
    "ainvoke": ((ChatBedrockConverse, ChatBedrockRouter), lambda model: model.ainvoke("Hello")),
    "astream": ((ChatBedrockConverse, ChatBedrockRouter), _langchain_stream),
    "achat": ((BedrockConverse, BedrockRouter), lambda model: model.achat(_HELLO)),
    "astream_chat": ((BedrockConverse, BedrockRouter), _llama_index_stream),
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


def main() -> None:
    """Print what cancelling frees, then the table."""
    if _OPEN_FILES.is_dir():
        with endpoint(LATENCY, words=20_000) as url:
            llm = BedrockRouter(model=MODEL, endpoint_url=url, **_WHERE)
            before, after, seconds = asyncio.run(_cancelled(llm))
        half = AT_ONCE // 2
        print(f"sockets with {AT_ONCE} streams: {before}; {seconds:.2f} s after cancelling {half}: {after}")
    print(f"{AT_ONCE} at once, {LATENCY * 1000:.0f} ms each; the worst of {ROUNDS} rounds")
    print(f"{'':14}{'class':22}{'seconds':>9}{'stall':>9}")
    with endpoint(LATENCY, words=20) as url:
        for name, (kinds, call) in CALLS.items():
            for kind in kinds:
                found = asyncio.run(_rounds(kind(model=MODEL, endpoint_url=url, **_WHERE), call))
                line = f"{name:14}{kind.__name__:22}{found.seconds:9.2f}{found.stall * 1000:6.0f} ms"
                print(line, flush=True)


if __name__ == "__main__":
    main()
