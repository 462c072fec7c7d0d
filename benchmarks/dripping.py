"""Serve streams whose events come at fixed times, in a process of its own, and say when connections end.

It does as little as can be, so that a stall that is measured is one of the client: the frames are encoded
before they are asked for, and one task per connection sends them. Requests are not looked at.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from bedrock_local import eventstream

__all__ = ["Dripping", "dripping"]

_TEXT = "four words of text "
_USAGE = {"inputTokens": 9, "outputTokens": 80, "totalTokens": 89}
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n"
    b"x-amzn-requestid: 0\r\ntransfer-encoding: chunked\r\n\r\n"
)
_LENGTH = b"content-length:"
_REPLY = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": _TEXT}]}},
        "stopReason": "end_turn",
        "usage": _USAGE,
        "metrics": {"latencyMs": 200},
    }
).encode()
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_REPLY),
    _REPLY,
)


@dataclass(frozen=True, kw_only=True)
class Dripping:
    """Be such a service, seen from the process that measures."""

    url: str
    lines: IO[str]

    def heard(self, what: str) -> float:
        """Wait until the service says that it was `asked` or `closed`; return when, in monotonic seconds."""
        while True:
            said, _, when = self.lines.readline().partition(" ")
            if said == what:
                return float(when)


@contextmanager
def dripping(*, latency: float, events: int = 20, every: float = 0.01) -> Generator[Dripping]:
    """Yield a service whose streams have so many deltas, so many seconds apart, after some latency."""
    command = [sys.executable, __file__, str(latency), str(events), str(every)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Dripping(url=process.stdout.readline().strip(), lines=process.stdout)
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _chunk(name: str, members: dict[str, object]) -> bytes:
    frame = eventstream.event(name, members)
    return b"%x\r\n%b\r\n" % (len(frame), frame)


def _frames(events: int) -> list[bytes]:
    delta = _chunk("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": _TEXT}})
    last = (
        _chunk("contentBlockStop", {"contentBlockIndex": 0})
        + _chunk("messageStop", {"stopReason": "end_turn"})
        + _chunk("metadata", {"usage": _USAGE, "metrics": {"latencyMs": 200}})
        + b"0\r\n\r\n"
    )
    return [_HEAD + _chunk("messageStart", {"role": "assistant"}) + delta, *[delta] * (events - 1), last]


class _Connection(asyncio.Protocol):
    """Answer what comes over one connection."""

    def __init__(self, frames: list[bytes], *, latency: float, every: float) -> None:
        self._frames = frames
        self._latency = latency
        self._every = every
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are written to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is there as a whole."""
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(_LENGTH)), None)
        if length is None or len(body) < int(length.removeprefix(_LENGTH)):
            return
        self._received = b""
        print("asked", time.monotonic(), flush=True)
        answers = self._frames if b"/converse-stream " in head.partition(b"\r\n")[0] else [_WHOLE]
        start = asyncio.get_running_loop().time() + self._latency
        for number, each in enumerate(answers):
            asyncio.get_running_loop().call_at(start + number * self._every, self._transport.write, each)

    def connection_lost(self, exc: Exception | None) -> None:
        """Say when it was closed."""
        del exc
        print("closed", time.monotonic(), flush=True)


async def _serve(latency: float, events: int, every: float) -> None:
    frames = _frames(events)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(frames, latency=latency, every=every), "127.0.0.1", 0, backlog=1_000
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
