"""The prompt caches of a simulated Region: one per account, model and lifetime.

Entries exist only where an earlier request had a point on a prefix that was long enough. A point reads
the longest entry at its place or, on Claude, up to 21 blocks before it (measured 2026-10: 21 added blocks
hit, 22 miss). A read renews the entry. What a call writes is readable from that call's first response
event on, so parallel first calls all write. Sources: the AWS page on prompt caching and published live
measurements of 2026.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from bedrock_local.clock import Clock
from bedrock_local.prompt import Point, Prefix
from bedrock_routing.catalog import CacheRules, Ttl

__all__ = ["CachePlan", "PromptCache", "Visible"]

Visible = Literal["first-event", "at-once"]
"""When an entry becomes readable: with the first response event (documented for Claude), or when the call
arrives (six parallel first calls on Nova made one write, measured 2026-08)."""

_LIFETIMES: dict[Ttl, float] = {"5m": 300.0, "1h": 3600.0}
_SWEEP_ABOVE = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    scope: str
    ttl: Ttl
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    since: int
    """From which moment on it can be read."""
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlan:
    """Say what one call reads and writes; all in tokens."""

    read: int = 0
    written: tuple[tuple[Ttl, int], ...] = ()
    """Tokens written per lifetime, the longer first."""
    total: int = 0
    entries: tuple[_Key, ...] = ()

    @property
    def write(self) -> int:
        """Return the tokens written in all."""
        return sum(tokens for _, tokens in self.written)

    @property
    def fresh(self) -> int:
        """Return the tokens neither read nor written."""
        return self.total - self.read - self.write


class PromptCache:
    """Remember which prefixes are warm; thread-safe. Holds digests, never text."""

    def __init__(
        self,
        clock: Clock,
        *,
        visible: Visible = "first-event",
        lookback: int | None = None,
        capped: bool = False,
    ) -> None:
        self._clock = clock
        self._visible = visible
        self._lookback = lookback
        self._capped = capped
        self._entries: dict[_Key, _Entry] = {}
        self._moments = count(1)
        self._lock = threading.Lock()

    def arrive(self) -> int:
        """Return the moment at which a call arrives; it reads only what was readable by then."""
        return next(self._moments)

    def plan(self, scope: str, prefix: Prefix, rules: CacheRules | None, arrived: int) -> CachePlan:
        """Say what a call reads and writes, and renew what it reads; `scope` names account, Region, model."""
        if rules is None or not prefix.points:
            return CachePlan(total=prefix.tokens)
        points = [point for point in prefix.points if self._effective(point, prefix, rules)]
        with self._lock:
            before = next(self._moments) if self._visible == "at-once" else arrived
            start = max((self._warm(scope, point, prefix, rules, before) for point in points), default=0)
            plan = _writes(scope, prefix, points, start)
            if self._visible == "at-once":
                self._store(plan)
        return plan

    def commit(self, plan: CachePlan) -> None:
        """Make what a call wrote readable: call it with the first response event."""
        if plan.entries:
            with self._lock:
                self._store(plan)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def _effective(self, point: Point, prefix: Prefix, rules: CacheRules) -> bool:
        tokens = prefix.totals[point.after]
        cap = rules.max_cached_tokens if self._capped else None
        return tokens >= rules.min_tokens and (cap is None or tokens <= cap)

    def _warm(self, scope: str, point: Point, prefix: Prefix, rules: CacheRules, before: int) -> int:
        now = self._clock.now()
        lookback = rules.lookback if self._lookback is None else self._lookback
        for blocks in _reachable(point.after, lookback):
            key = _Key(scope=scope, ttl=point.ttl, digest=prefix.digests[blocks])
            entry = self._entries.get(key)
            if entry is not None and entry.expires > now and entry.since < before:
                self._entries[key] = _Entry(since=entry.since, expires=now + _LIFETIMES[point.ttl])
                return blocks
        return 0

    def _store(self, plan: CachePlan) -> None:
        now, moment = self._clock.now(), next(self._moments)
        for key in plan.entries:
            known = self._entries.get(key)
            since = known.since if known is not None and known.expires > now else moment
            self._entries[key] = _Entry(since=since, expires=now + _LIFETIMES[key.ttl])
        if len(self._entries) > _SWEEP_ABOVE:
            self._entries = {key: entry for key, entry in self._entries.items() if entry.expires > now}


def _reachable(after: int, lookback: int) -> Iterator[int]:
    furthest = after - (lookback + 1 if lookback else 0)
    return iter(range(after, max(furthest, 1) - 1, -1))


def _writes(scope: str, prefix: Prefix, points: list[Point], start: int) -> CachePlan:
    written: dict[Ttl, int] = {}
    entries: list[_Key] = []
    at = start
    for point in sorted(points, key=lambda each: each.after):
        if point.after <= at:
            continue
        written[point.ttl] = written.get(point.ttl, 0) + prefix.totals[point.after] - prefix.totals[at]
        entries.append(_Key(scope=scope, ttl=point.ttl, digest=prefix.digests[point.after]))
        at = point.after
    return CachePlan(
        read=prefix.totals[start],
        written=tuple((ttl, written[ttl]) for ttl in ("1h", "5m") if ttl in written),
        total=prefix.tokens,
        entries=tuple(entries),
    )
