"""What all processes of a fleet remember together: `CacheState`, told to the others and by them.

All thinking stays local. What a finished call has taught goes out as one entry of a Redis or Valkey stream;
before a call is planned, the entries of the others are read and learned as if they were this process's own.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from bedrock_routing.catalog import Section, Ttl
from bedrock_routing.fleet_entries import NAME_BYTES, Note
from bedrock_routing.fleet_link import Link
from bedrock_routing.fleet_stream import Stream
from bedrock_routing.state import TTL_SECONDS, CacheState, Case

__all__ = ["FleetState"]

_MOST_NOTES = 256
"""How much a thread notes without ever finishing a call."""


class FleetState(CacheState):
    """Share what is warm and what was learned with all processes that name the same stream.

    `name` stands for one account, Region and team, whose caches these are. `secret` is what all of them know
    and the server does not: with it, who reads the server cannot test whether a text was asked, and who
    writes to it is not believed. Where the server is gone, calls go on with what this process knows: the
    one that finds it silent loses at most `timeout` seconds, those of the next `pause` seconds none. `every`
    is the least number of seconds between two looks at what others learned, `calls` about how many calls the
    server keeps.

    Raises `MissingExtraError` without the extra `redis`, and `ConfigurationError` for a URL that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "default",
        secret: str | None = None,
        timeout: float = 0.05,
        pause: float = 5.0,
        every: float = 0.0,
        calls: int = 1000,
        size: int = 4096,
    ) -> None:
        super().__init__(size=size)
        self._settings: dict[str, Any] = {
            "url": url,
            "name": name,
            "secret": secret,
            "timeout": timeout,
            "pause": pause,
            "every": every,
            "calls": calls,
            "size": size,
        }
        self._key = blake2b(f"{name}\0{secret or ''}".encode(), person=b"bedrock-routing1").digest()
        link = Link(url, timeout=timeout, pause=pause)
        self._stream = Stream(link, name=name, key=self._key, calls=calls, hear=self._hear)
        self._every = every
        self._looked = float("-inf")
        self._named = lru_cache(size)(self._name)
        self._noted = _Noted()

    def refresh(self, now: float) -> None:
        """Learn what the others learned meanwhile; one round trip, shared by threads that come together."""
        if not 0 <= now - self._looked < self._every:
            self._stream.look(now)
            self._looked = now

    def commit(self, now: float) -> None:
        """Tell the others, as one entry, what this thread has noted since its last call."""
        if self._noted.notes:
            notes = tuple(self._noted.notes)
            self._noted.notes.clear()
            self._stream.say(notes, now)

    def _note(self, now: float, *note: Any) -> None:
        self._learn(note, now)
        self._noted.notes.append(note)

    def _hear(self, note: Note, then: float) -> None:
        """Learn from another process, but for what is known of a later time: an entry may come late."""
        known = super()
        match note:
            case ("warm", model, name, ttl) if known.warm((model,), name, ttl, then + TTL_SECONDS[ttl])[0]:
                return
            case ("seen", names, end):
                fresh = tuple(name for name in names if not known.was_seen(name, then, 0.0))
                self._learn(("seen", fresh, end), then)
            case _:
                self._learn(note, then)

    def _learn(self, note: Note, now: float) -> None:
        """Learn one thing, whoever says it; prefixes and texts go by their names."""
        match note:
            case ("warm", model, name, ttl):
                super().mark_warm(model, name, ttl, now=now)
            case ("seen", names, end):
                super().mark_seen(names, end, now)
            case ("learn", cases, names, within):
                super().learn(cases, names, now, within)
            case ("count", kind, kept):
                super().count(kind, kept=kept)
            case ("split", name, offsets):
                super().mark_split(name, offsets)
            case ("refused", target, sections):
                super().mark_refused(target, sections, now)
            case ("cached", model, tokens, cached):
                super().mark_cached(model, tokens, cached=cached, now=now)
            case ("answered", router, model):
                super().mark_answered(router, model)
            case ("share", router, model):
                super().mark_share(router, model)
            case _:  # a later version says more
                pass

    def _name(self, digest: bytes) -> bytes:
        """Return what a digest is called in the tables and outside; the digest cannot be got back from it."""
        return blake2b(digest, digest_size=NAME_BYTES, key=self._key).digest()

    # What calls teach: learned here, and noted for the others

    def mark_warm(self, model: str, digest: bytes, ttl: Ttl, *, now: float) -> None:
        """Note that the service has just written or read this prefix for this model."""
        self._note(now, "warm", model, self._named(digest), ttl)

    def mark_seen(self, prefixes: Iterable[bytes], end: bytes, now: float) -> None:
        """Note the prefixes of a request, cached or not, and its end."""
        self._note(now, "seen", tuple(map(self._named, prefixes)), self._named(end))

    def learn(self, cases: Iterable[Case], prefixes: Iterable[bytes], now: float, within: float) -> None:
        """Count what became of prefixes: new cases, by kind, and those that came back in time."""
        named = tuple((kind, tuple(map(self._named, names))) for kind, names in cases)
        self._note(now, "learn", named, tuple(map(self._named, prefixes)), within)

    def count(self, kind: str, *, kept: bool) -> None:
        """Count a case that is decided at once."""
        self._note(0.0, "count", kind, kept)

    def note_gaps(self, prefixes: Iterable[tuple[str, bytes]], now: float) -> None:
        """Count whether prefixes outlived five minutes; what is counted is noted by `count`."""
        super().note_gaps(((group, self._named(digest)) for group, digest in prefixes), now)

    def mark_split(self, text: bytes, offsets: tuple[int, ...]) -> None:
        """Note where a text was split."""
        self._note(0.0, "split", self._named(text), offsets)

    def mark_refused(self, target: str, sections: Iterable[Section], now: float) -> None:
        """Note that the service refused cache points in these sections for this model or router."""
        self._note(now, "refused", target, tuple(sections))

    def mark_cached(self, model: str, tokens: int, *, cached: bool, now: float) -> None:
        """Note whether a prefix of so many tokens was written or read at all."""
        self._note(now, "cached", model, tokens, cached)

    def mark_answered(self, router: str, model: str) -> None:
        """Note which model a router invoked."""
        self._note(0.0, "answered", router, model)

    def mark_share(self, router: str, model: str) -> None:
        """Count an answer of a model behind a router."""
        self._note(0.0, "share", router, model)

    # What calls ask: the tables know prefixes and texts by their names only

    def warm(self, models: Sequence[str], digest: bytes, ttl: Ttl, now: float) -> tuple[bool, ...]:
        """Tell, model by model, which ones still have the prefix, whichever process wrote it."""
        return super().warm(models, self._named(digest), ttl, now)

    def was_seen(self, digest: bytes, now: float, within: float) -> bool:
        """Tell whether a prefix was part of a request of any process not longer ago than `within` seconds."""
        return super().was_seen(self._named(digest), now, within)

    def was_end(self, digest: bytes) -> bool:
        """Tell whether a prefix was a whole earlier request of any process."""
        return super().was_end(self._named(digest))

    def splits_of(self, text: bytes) -> tuple[int, ...] | None:
        """Return where a text, or one that begins so, was split before."""
        return super().splits_of(self._named(text))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the settings, the URL and the secret among them; the copy asks the server itself."""
        return _made, (json.dumps(self._settings),)


class _Noted(threading.local):
    """Hold what a thread has noted since its last commit."""

    def __init__(self) -> None:
        self.notes: deque[Note] = deque(maxlen=_MOST_NOTES)


def _made(settings: str) -> FleetState:
    return FleetState(**json.loads(settings))
