"""One stream of a Redis or Valkey server: every process appends what its calls taught, and reads the others.

An entry is the work of one finished call and arrives whole or not at all. The stream forgets: entries older
than an hour, all but about the last thousand, and itself, an hour after the last one.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from bedrock_routing.fleet_entries import NAME_BYTES, Body, Note, packed, sealed, unsealed
from bedrock_routing.fleet_link import Command, Link
from bedrock_routing.tables import Bounded

__all__ = ["Stream"]

logger = logging.getLogger("bedrock_routing")

_HOUR = 3600.0
"""The longest lifetime of a prefix; nothing older is kept."""
_WAITING = 256
"""How many calls are kept back while the server is gone."""
_MOST_BYTES = 2**18
"""A call that teaches more than this keeps it to itself."""

_Waiting = tuple[bytes, Body, float]


class Stream:
    """Say what calls of this process taught, and hear, once each, what those of the others did."""

    def __init__(
        self, link: Link, *, name: str, key: bytes, calls: int, hear: Callable[[Note, float], None]
    ) -> None:
        self._link = link
        self._stream = f"bedrock-routing:1:{name}"
        self._key = key
        self._calls = calls
        self._hear = hear
        self._waiting: deque[_Waiting] = deque(maxlen=_WAITING)
        self._known: Bounded[bytes, bool] = Bounded(2 * calls + _WAITING)
        self._last = b"0"
        self._ahead: float | None = None
        """How far the server's clock is ahead of the local one; they need not have anything in common."""
        self._looks = 0
        self._puzzled = False

    def look(self, now: float) -> None:
        """Hear what the others said meanwhile, and say what waits: one round trip."""
        looks = self._looks
        with self._link.turn() as mine:
            # A look that began after this call came has heard all that its own would.
            if mine and self._looks == looks:
                self._looks += 1
                self._exchange(now, ("XREVRANGE", self._stream, "+", b"(" + self._last, "COUNT", self._calls))

    def say(self, notes: Sequence[Note], now: float) -> None:
        """Append one call's notes, and those that wait; they wait on if the server is gone."""
        body = packed(notes)
        if len(body.names) * NAME_BYTES + len(body.notes) > _MOST_BYTES:
            return
        number = os.urandom(8)
        self._known.put(number, True)
        self._waiting.append((number, body, now))
        with self._link.turn() as mine:
            if mine and self._waiting:  # else another thread has sent it along
                self._exchange(now)

    def _exchange(self, now: float, *look: Command) -> None:
        waiting = list(self._waiting)
        replies = self._link.ask([*self._appending(waiting, now), *look, ("TIME",)])
        if replies is None:
            return
        for each in waiting:
            if self._waiting and self._waiting[0] is each:  # a full queue drops its oldest by itself
                self._waiting.popleft()
        seconds, microseconds = replies[-1]
        self._ahead = ahead = int(seconds) + int(microseconds) / 1e6 - now
        if look:
            self._take_in(replies[-2], now, ahead)

    def _appending(self, waiting: Sequence[_Waiting], now: float) -> list[Command]:
        if not waiting:
            return []
        stream, most = self._stream, self._calls
        oldest = 0 if self._ahead is None else max(int((now + self._ahead - _HOUR) * 1000), 0)
        entries = [
            sealed(body, number=number, age=now - then, key=self._key) for number, body, then in waiting
        ]
        return [
            *(("XADD", stream, "MAXLEN", "~", most, "*", "call", entry) for entry in entries),
            ("XTRIM", stream, "MINID", "~", oldest),
            ("PEXPIRE", stream, int(_HOUR * 1000)),
        ]

    def _take_in(self, found: Sequence[Any], now: float, ahead: float) -> None:
        """Pass on, oldest first, what is not older than an hour and not known yet."""
        for place, fields in reversed(found):
            self._last = place
            sent = int(place.partition(b"-")[0]) / 1000 - ahead
            try:
                self._open(fields[1], min(sent, now), now)
            except Exception:
                logger.debug("an entry of the shared state cannot be read", exc_info=True)

    def _open(self, data: bytes, sent: float, now: float) -> None:
        entry = unsealed(data, self._key)
        if entry is None:
            self._wonder()
        elif now - sent + entry.age < _HOUR and self._known.get(entry.number) is None:
            self._known.put(entry.number, True)
            for note in entry.notes:
                self._hear(note, sent - entry.age)

    def _wonder(self) -> None:
        if not self._puzzled:
            self._puzzled = True
            logger.warning("%s holds entries of others, or with another secret: passed over", self._stream)
