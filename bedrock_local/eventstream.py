"""Encode messages of `application/vnd.amazon.eventstream`.

Layout, big-endian: total length, headers length, CRC-32 of these eight bytes, headers, payload, CRC-32 of
all before. Header order and the padding member `p` are those of recorded Bedrock streams.
"""

from __future__ import annotations

import json
import struct
from binascii import crc32
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["encode", "error", "event", "exception", "with_bad_crc"]

_STRING = 7
_OVERHEAD = 16
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_SHORTEST_PADDING = 2


def encode(headers: Sequence[tuple[str, str]], payload: bytes) -> bytes:
    """Return one message with string headers."""
    head = b"".join(_header(name, value) for name, value in headers)
    prelude = struct.pack(">II", len(head) + len(payload) + _OVERHEAD, len(head))
    message = prelude + struct.pack(">I", crc32(prelude)) + head + payload
    return message + struct.pack(">I", crc32(message))


def event(name: str, members: Mapping[str, Any]) -> bytes:
    """Return one event, with the padding that the service puts into every payload."""
    plain = json.dumps(members, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    padding = _PADDING[: _SHORTEST_PADDING + crc32(plain.encode()) % (len(_PADDING) - _SHORTEST_PADDING)]
    payload = json.dumps({**members, "p": padding}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    headers = (
        (":event-type", name),
        (":content-type", "application/json"),
        (":message-type", "event"),
    )
    return encode(headers, payload.encode())


def exception(name: str, message: str) -> bytes:
    """Return a modelled exception, for example `throttlingException`."""
    headers = (
        (":exception-type", name),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    )
    return encode(headers, json.dumps({"message": message}).encode())


def error(code: str, message: str) -> bytes:
    """Return an error that the service model does not know."""
    headers = ((":error-code", code), (":error-message", message), (":message-type", "error"))
    return encode(headers, b"")


def with_bad_crc(message: bytes) -> bytes:
    """Return the message with a wrong final checksum."""
    return message[:-1] + bytes([message[-1] ^ 0xFF])


def _header(name: str, value: str) -> bytes:
    raw_name, raw_value = name.encode(), value.encode()
    return (
        bytes([len(raw_name)]) + raw_name + bytes([_STRING]) + struct.pack(">H", len(raw_value)) + raw_value
    )
