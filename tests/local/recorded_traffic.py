"""Read the recorded exchanges with the real service that lie beside the project, where they do."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "recordings"
OPERATIONS = {"converse": "Converse", "converse-stream": "ConverseStream", "count-tokens": "CountTokens"}


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Hold one recorded call."""

    file: str
    number: int
    operation: str
    model: str
    request: dict[str, Any] | None
    """`None` where the recorded body is not JSON."""
    status: int
    reply: dict[str, Any]
    stream: bytes

    @property
    def label(self) -> str:
        """Return a short name, for test ids."""
        return f"{self.file.rpartition('/')[2].removesuffix('.gz').removesuffix('.yaml')}-{self.number}"

    @property
    def events(self) -> list[tuple[list[tuple[str, str]], bytes]]:
        """Return the headers and payloads of a recorded stream."""
        return list(messages(self.stream))


def messages(stream: bytes) -> Iterator[tuple[list[tuple[str, str]], bytes]]:
    """Take an event stream apart."""
    while stream:
        total, head = struct.unpack(">II", stream[:8])
        yield list(_headers(stream[12 : 12 + head])), stream[12 + head : total - 4]
        stream = stream[total:]


def _headers(head: bytes) -> Iterator[tuple[str, str]]:
    while head:
        name_end = 1 + head[0]
        (length,) = struct.unpack(">H", head[name_end + 1 : name_end + 3])
        value_end = name_end + 3 + length
        yield head[1:name_end].decode(), head[name_end + 3 : value_end].decode()
        head = head[value_end:]


@lru_cache(maxsize=1)
def exchanges() -> tuple[Exchange, ...]:
    """Return all recorded Converse, ConverseStream and CountTokens calls, or none where none are there."""
    return tuple(each for each in _all() if each.operation in OPERATIONS.values())


def streams() -> list[tuple[str, bytes]]:
    """Return the bytes of all recorded event streams, those of InvokeModel too, each with a name."""
    return [(each.label, each.stream) for each in _all() if each.stream]


@lru_cache(maxsize=1)
def _all() -> tuple[Exchange, ...]:
    return tuple(each for path in sorted(RECORDINGS.rglob("*.yaml*")) for each in _exchanges(path))


def _exchanges(path: Path) -> Iterator[Exchange]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    cassette = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    old = zip(cassette.get("requests", []), cassette.get("responses", []), strict=True)
    pairs = [*old, *((each["request"], each["response"]) for each in cassette.get("interactions", []))]
    for number, (request, response) in enumerate(pairs):
        name, _, operation = request["uri"].partition("/model/")[2].rpartition("/")
        got = _body(response)
        streamed = isinstance(got, bytes) and got[:1] == b"\0"
        yield Exchange(
            file=str(path.relative_to(RECORDINGS)),
            number=number,
            operation=OPERATIONS.get(operation, operation),
            model=unquote(name),
            request=_json(_body(request)),
            status=response["status"]["code"],
            reply={} if streamed else _json(got) or {},
            stream=got if streamed else b"",
        )


def _body(side: Mapping[str, Any]) -> Any:
    if "parsed_body" in side:
        return side["parsed_body"]
    body = side.get("body")
    return body.get("string") if isinstance(body, dict) else body


def _json(body: Any) -> dict[str, Any] | None:
    if isinstance(body, dict):
        return body
    try:
        return json.loads(body)
    except (TypeError, ValueError):
        return None
