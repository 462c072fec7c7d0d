"""What one call has taught, as the bytes of one entry of the shared stream, and back again.

An entry is a tag, a number drawn for it, its age, the names of prefixes, each once, and the notes as JSON
that refers to the names. Whatever does not carry the right tag is no entry.
"""

from __future__ import annotations

import hmac
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, cast

__all__ = ["NAME_BYTES", "Body", "Entry", "Note", "packed", "sealed", "unsealed"]

Note = tuple[Any, ...]
"""A word for what was learned, and its arguments: texts, numbers, names, and tuples of these."""

NAME_BYTES = 16
_TAG_BYTES = 16
_HEAD = struct.Struct(">8sII")
"""The entry's own number, its age in milliseconds when it was sent, and how many names follow."""
_OLDEST_MS = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Be what one call has taught."""

    number: bytes
    """Drawn at random: an entry that arrives twice is known by it."""
    age: float
    """Seconds for which it was kept back before it was sent."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Be the part of an entry that does not change while it waits to be sent."""

    names: tuple[bytes, ...]
    notes: bytes


def packed(notes: Sequence[Note]) -> Body:
    """Write notes down; every name stands in the entry once."""
    places: dict[bytes, int] = {}
    plain = [[_referring(each, places) for each in note] for note in notes]
    return Body(names=tuple(places), notes=json.dumps(plain, separators=(",", ":")).encode())


def sealed(body: Body, *, number: bytes, age: float, key: bytes) -> bytes:
    """Return the bytes of an entry."""
    milliseconds = min(max(int(age * 1000), 0), _OLDEST_MS)
    rest = _HEAD.pack(number, milliseconds, len(body.names)) + b"".join(body.names) + body.notes
    return _tag(rest, key) + rest


def unsealed(data: bytes, key: bytes) -> Entry | None:
    """Return the entry; `None` if it was not sealed with this key."""
    tag, rest = data[:_TAG_BYTES], data[_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(rest, key)):
        return None
    number, milliseconds, count = _HEAD.unpack_from(rest)
    end = _HEAD.size + count * NAME_BYTES
    if len(rest) < end:  # without a secret anybody can make a tag
        return None
    names = [rest[start : start + NAME_BYTES] for start in range(_HEAD.size, end, NAME_BYTES)]
    notes = json.loads(rest[end:])
    return Entry(
        number=number,
        age=milliseconds / 1000,
        notes=tuple(tuple(_resolved(each, names) for each in note) for note in notes),
    )


def _tag(data: bytes, key: bytes) -> bytes:
    return blake2b(data, digest_size=_TAG_BYTES, key=key).digest()


def _referring(value: object, places: dict[bytes, int]) -> object:
    """Return the value with each name replaced by its place; many in a row by the first and their number."""
    if isinstance(value, bytes):
        return {"n": places.setdefault(value, len(places))}
    if not isinstance(value, tuple):
        return value
    parts = cast("tuple[object, ...]", value)
    if parts and all(isinstance(each, bytes) for each in parts):
        numbers = [places.setdefault(cast("bytes", each), len(places)) for each in parts]
        return {"n": list(_runs(numbers))}
    return [_referring(each, places) for each in parts]


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    first, length = numbers[0], 0
    for number in numbers:
        if number != first + length:
            yield first, length
            first, length = number, 0
        length += 1
    yield first, length


def _resolved(value: Any, names: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return tuple(_resolved(each, names) for each in cast("list[Any]", value))
    if not isinstance(value, dict):
        return value
    place = cast("dict[str, Any]", value)["n"]
    if isinstance(place, int):
        return names[place]
    runs = cast("list[tuple[int, int]]", place)
    return tuple(name for first, length in runs for name in names[first : first + length])
