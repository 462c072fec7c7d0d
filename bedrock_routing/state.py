"""What this process remembers between calls: which prefixes are warm, were seen, and what was refused.

Holds digests, counts and times, never prompt text. Every table is bounded and safe for threads. Time is
always an argument, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bedrock_routing.catalog import Section, Ttl
from bedrock_routing.rules import ALL_SECTIONS
from bedrock_routing.tables import Bounded

__all__ = ["TTL_SECONDS", "CacheState", "Case"]

Case = tuple[str, tuple[bytes, ...]]
"""A kind, and the names under which the same prefix may come back."""

TTL_SECONDS: dict[Ttl, float] = {"5m": 300.0, "1h": 3600.0}
_FADING = 0.9
"""What is left of a case's weight when the next one is counted: about the last ten cases speak."""
_FADING_OF = {"each document": 0.97}
"""The same for kinds of which one request brings many cases."""
REFUSAL_SECONDS = 24 * 3600.0
"""How long a refusal is believed; models gain abilities over time."""
_ENOUGH_NOTHING = 2
"""Points without any effect from which on a model's minimum is taken to be higher than the catalog says."""
_ENOUGH_ANSWERS = 5
"""A router that may not be looked up is taken to have one model if so many answers came from it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Estimate how often a new prefix of one kind is asked again within its lifetime; older cases fade."""

    cases: float = 0.0
    again: float = 0.0

    def chance(self, prior: float, *, weight: float = 1.0, doubt: float = 1.0) -> float:
        """Return the estimate; the prior weighs as much as `weight` cases.

        `doubt` is how much a case that is not back yet speaks against: less than 1 where it has time left.
        """
        return (prior * weight + self.again) / (weight + self.again + doubt * (self.cases - self.again))

    def new_case(self, fading: float = _FADING) -> Reuse:
        """Count a prefix that was not asked lately."""
        return Reuse(cases=self.cases * fading + 1.0, again=self.again * fading)

    def came_again(self) -> Reuse:
        """Count the first return of a prefix."""
        return Reuse(cases=self.cases, again=min(self.again + 1.0, self.cases))


@dataclass(slots=True, kw_only=True, eq=False)
class _Judged:
    """Hold when a case was last asked, and whether it came back since it was new; one for all its names."""

    kind: str
    last: float
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Uncached:
    """Hold the largest prefix on which a point did nothing, and how often that was seen."""

    times: int = 0
    tokens: int = 0
    until: float = 0.0

    def proven(self, now: float) -> bool:
        return self.times >= _ENOUGH_NOTHING and now <= self.until


class CacheState:
    """Remember, per model, what the service has in its cache, and what it refused."""

    def __init__(self, *, size: int = 4096) -> None:
        self._warm_until: Bounded[tuple[str, bytes, Ttl], float] = Bounded(size)
        self._seen: Bounded[bytes, float] = Bounded(size)
        self._reuse: Bounded[str, Reuse] = Bounded(16)
        self._judged: Bounded[bytes, _Judged] = Bounded(size)
        self._ended: Bounded[bytes, float] = Bounded(size)
        self._splits: Bounded[bytes, tuple[int, ...]] = Bounded(size)
        self._refused: Bounded[tuple[str, Section], float] = Bounded(size)
        self._answered: Bounded[str, tuple[str, ...]] = Bounded(size)
        self._uncached: Bounded[str, _Uncached] = Bounded(size)
        self._weights: Bounded[str, Mapping[str, float]] = Bounded(size)

    def refresh(self, now: float) -> None:
        """Take in what others learned meanwhile, before a call is planned; here nobody else learns."""

    def commit(self, now: float) -> None:
        """Hand on what a call has taught, once it is all noted; here nobody else wants it."""

    def mark_warm(self, model: str, digest: bytes, ttl: Ttl, *, now: float) -> None:
        """Note that the service has just written or read this prefix for this model."""
        self._warm_until.put((model, digest, ttl), now + TTL_SECONDS[ttl])

    def warm(self, models: Sequence[str], digest: bytes, ttl: Ttl, now: float) -> tuple[bool, ...]:
        """Tell, model by model, which ones still have the prefix."""
        get = self._warm_until.get
        return tuple([(get((model, digest, ttl)) or now) > now for model in models])

    def mark_seen(self, prefixes: Iterable[bytes], end: bytes, now: float) -> None:
        """Note the prefixes of a request, cached or not, and its end."""
        self._seen.put_all(prefixes, now)
        self._ended.put(end, now)

    def was_seen(self, digest: bytes, now: float, within: float) -> bool:
        """Tell whether a prefix was part of an earlier request not longer ago than `within` seconds."""
        last = self._seen.get(digest)
        return last is not None and now - last <= within

    def note_gaps(self, prefixes: Iterable[tuple[str, bytes]], now: float) -> None:
        """Count, per group, whether the longest prefix that was asked before outlived five minutes.

        `prefixes` come longest first. What was asked more than an hour ago says nothing.
        """
        known: set[str] = set()
        for group, prefix in prefixes:
            last = None if group in known else self._seen.get(prefix)
            if last is not None:
                known.add(group)
                if now - last <= TTL_SECONDS["1h"]:
                    self.count(group, kept=now - last > TTL_SECONDS["5m"])

    def learn(self, cases: Iterable[Case], prefixes: Iterable[bytes], now: float, within: float) -> None:
        """Count what became of prefixes: new cases, by kind, and those that came back within their lifetime.

        A case comes back when it is among the `prefixes` of a later request, however that goes on: it counts
        once.
        """
        for _, before in self._judged.found(prefixes):
            if not before.again and now - before.last <= within:
                self._reuse.put(before.kind, self._reuse_of(before.kind).came_again())
                before.again = True
        for kind, names in cases:
            before = next(filter(None, map(self._judged.get, names)), None)
            fresh = before is None or now - before.last > within
            if fresh:
                self._reuse.put(kind, self._reuse_of(kind).new_case(_FADING_OF.get(kind, _FADING)))
            again = before is not None and before.again and not fresh
            self._judged.put_all(names, _Judged(kind=kind, last=now, again=again))

    def _reuse_of(self, kind: str) -> Reuse:
        return self._reuse.get(kind) or Reuse()

    def count(self, kind: str, *, kept: bool) -> None:
        """Count a case that is decided at once."""
        reuse = self._reuse_of(kind).new_case()
        self._reuse.put(kind, reuse.came_again() if kept else reuse)

    def chance(self, kind: str, prior: float, *, weight: float = 1.0, doubt: float = 1.0) -> float:
        """Return the chance that a new prefix of this kind is asked again, by what was seen so far."""
        return self._reuse_of(kind).chance(prior, weight=weight, doubt=doubt)

    def was_end(self, digest: bytes) -> bool:
        """Tell whether a prefix was a whole earlier request, so that this one continues it."""
        return self._ended.get(digest) is not None

    def mark_split(self, text: bytes, offsets: tuple[int, ...]) -> None:
        """Note where a text was split, so that it is split there again when it comes back as history."""
        self._splits.put(text, offsets)

    def splits_of(self, text: bytes) -> tuple[int, ...] | None:
        """Return where a text, or one that begins so, was split before; `None` if it could not have been."""
        return self._splits.get(text)

    def mark_refused(self, target: str, sections: Iterable[Section], now: float) -> None:
        """Note that the service refused cache points in these sections for this model or router."""
        for section in sections:
            self._refused.put((target, section), now + REFUSAL_SECONDS)

    def refused(self, target: str, now: float) -> frozenset[Section]:
        """Return the sections in which refusals are known and still believed."""
        if not len(self._refused):
            return frozenset()
        return frozenset(
            section for section in ALL_SECTIONS if (self._refused.get((target, section)) or now) > now
        )

    def mark_cached(self, model: str, tokens: int, *, cached: bool, now: float) -> None:
        """Note whether a prefix of so many tokens, estimated from above, was written or read at all."""
        before = self._uncached.get(model)
        if cached:
            if before is not None and tokens <= before.tokens:
                self._uncached.put(model, _Uncached())
            return
        if before is None or now > before.until:
            before = _Uncached()
        tokens = max(tokens, before.tokens)
        self._uncached.put(
            model, _Uncached(times=before.times + 1, tokens=tokens, until=now + REFUSAL_SECONDS)
        )

    def minimum(self, models: Iterable[str], now: float) -> int:
        """Return the tokens that a prefix must have, by what was seen: points on shorter ones did nothing."""
        found = (self._uncached.get(model) for model in models)
        return max((each.tokens + 1 for each in found if each and each.proven(now)), default=0)

    def mark_answered(self, router: str, model: str) -> None:
        """Note which model a router invoked; used where the router's own description may not be read."""
        before = self._answered.get(router) or ()
        if model not in before or len(before) < _ENOUGH_ANSWERS:
            self._answered.put(router, (*before, model))

    def mark_share(self, router: str, model: str) -> None:
        """Count an answer of a model behind a router; older answers fade."""
        weights = self._weights.get(router) or {}
        faded = {each: weight * _FADING for each, weight in weights.items()}
        self._weights.put(router, {**faded, model: faded.get(model, 0.0) + 1.0})

    def shares(self, router: str, models: Sequence[str]) -> tuple[float, ...]:
        """Return how likely each of the models is to answer next, by who answered lately."""
        weights = self._weights.get(router) or {}
        each = [1.0 + weights.get(model, 0.0) for model in models]
        return tuple(weight / sum(each) for weight in each)

    def answered(self, router: str) -> tuple[str, ...]:
        """Return the models that a router invoked, once two are known or five answers came from one."""
        models = self._answered.get(router) or ()
        distinct = tuple(dict.fromkeys(models))
        return distinct if len(distinct) > 1 or len(models) >= _ENOUGH_ANSWERS else ()
