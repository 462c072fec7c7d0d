"""Let one of the calls that go out at once write a prefix, and the others read it.

A cache can be read from the first event of the call that wrote it. So of the calls over a prefix that is in
no cache, the first one leads and the others wait for its first event; then they are planned again. A call
that fails hands over to one that waits, and none waits longer than its policy says. No call waits while it
leads, so no two wait for each other.

Behind a router each model has a cache of its own, and no event before the last says who answers. Where enough
calls wait, the models that they may meet are primed before they go on (see `primes`).
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary

from bedrock_routing.bridge import pause, signal
from bedrock_routing.passages import UNFINISHED, Key, Passage, Route, Stage, Writing
from bedrock_routing.placing import Placed
from bedrock_routing.planning import Skipped
from bedrock_routing.pricing import ratios_of
from bedrock_routing.primes import models_to_prime, primed
from bedrock_routing.receipt import Receipt
from bedrock_routing.state import CacheState
from bedrock_routing.tables import Bounded
from bedrock_routing.turn import Turn

__all__ = ["Gate", "gate_of"]

logger = logging.getLogger("bedrock_routing")

_OWN_KINDS = frozenset({"history", "tail"})
"""Boundaries behind what only one conversation says: calls at once rarely share them."""
_LEAST_SHARE = 0.1
"""A model that gives fewer of a router's answers is not waited for once another one is warm."""
_LOOK_AROUND = 0.01
"""Seconds that the first call over a cold prefix gives others to arrive; alone it is sent as what it is."""
_BELIEVED = 3600.0
"""Seconds for which something that did not work is not tried again."""


class Gate:
    """Know which prefixes are being written right now, by the calls of one process; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arriving = 0
        self._writing: dict[Key, Writing] = {}
        self._failed: Bounded[tuple[str, str], float] = Bounded(256)

    @contextmanager
    def arriving(self) -> Generator[None]:
        """Count a call that is being planned: others that come with it can tell that they are not alone."""
        with self._lock:
            self._arriving += 1
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= 1

    def admit(self, turn: Turn, route: Route) -> Passage:
        """Let a planned call pass; where another one is writing what it would write, wait and plan again."""
        passage = Passage(turn=turn, gate=self, route=route)
        cold = self._cold(passage.turn, route)
        if _may_be_shared(cold) and self._arriving <= 1 and self._may_stream(passage.turn, route):
            pause(_LOOK_AROUND)
            passage.turn = route.plan()  # what came meanwhile may be through already
            cold = self._cold(passage.turn, route)
        began, released = 0.0, set[Key]()
        while cold:
            with self._lock:
                held = self._held(passage.turn, route, cold)
                if held is None:
                    self._lead(passage, route, cold)
                    break
                began = began or time.monotonic()
                wanted = [key for key in _keys(passage.turn, cold) if key in held.keys]
                ready = held.join(wanted, signal())
            try:  # without the lock: where many calls share a thread, the others take it meanwhile
                ready.wait(max(0.0, began + route.policy.fan_out_seconds - time.monotonic()))
            finally:
                with self._lock:
                    held.part(wanted, ready)
            with self._lock:
                if held.stage in UNFINISHED:  # it took too long
                    self._lead(passage, route, cold)
                    break
                if held.stage is Stage.READY:  # once is enough, even if nothing was cached
                    released.update(held.keys)
                    passage.primes |= held.primes
            passage.turn = route.plan()
            cold = [
                point
                for point in self._cold(passage.turn, route)
                if _key(passage.turn, point) not in released
            ]
        if began:
            passage.turn = _noted(passage.turn, time.monotonic() - began)
        return passage

    def open(self, turn: Turn, route: Route, writing: Writing, *, led: bool) -> None:
        """Release those who wait, or first prime the models that they may meet."""
        now, models = route.clock(), turn.target.cache_keys
        if led and writing.stage is Stage.WRITING and len(models) == 1:
            for point in turn.placed:
                turn.state.mark_warm(models[0], point.boundary.digest, point.boundary.ttl, now=now)
        with self._lock:
            if writing.stage is not Stage.WRITING:
                return
            primes = self._primes(turn, route, writing, led=led)
            writing.primes, writing.pending = frozenset(primes), len(primes)
            writing.become(Stage.PRIMING if primes else Stage.READY)
        for prime in primes.values():
            run = contextvars.copy_context().run
            thread = threading.Thread(
                target=run, args=(self._prime, turn.target.arn, route, writing, prime), daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                logger.debug("no thread for a prime; there will be none for a while", exc_info=True)
                self.fail("prime", turn.target.arn, now)
                self._primed(writing)

    def note(self, passage: Passage, receipt: Receipt, now: float) -> None:
        """Learn whether a prime was any use to a call that waited for it."""
        usage = receipt.usage
        if receipt.model in passage.primes and usage is not None and usage.write and not usage.read:
            self.fail("prime", passage.turn.target.arn, now)

    def leave(self, writing: Writing) -> None:
        """Take a call out; those who still wait for its first event try again."""
        with self._lock:
            writing.over = True
            if writing.stage is Stage.WRITING:
                writing.become(Stage.GONE)
            self._forget(writing)

    def fail(self, what: str, arn: str, now: float) -> None:
        """Remember that `stream` or `prime` does not work for a target."""
        self._failed.put((what, arn), now + _BELIEVED)

    def works(self, what: str, arn: str, now: float) -> bool:
        """Tell whether `stream` or `prime` is worth a try for a target."""
        until = self._failed.get((what, arn))
        return until is None or until <= now

    def _cold(self, turn: Turn, route: Route) -> Sequence[Placed]:
        """Return the points at which this call may write enough to wait for."""
        rules = turn.target.common.cache
        if rules is None or all(point.boundary.warm and all(point.boundary.warm) for point in turn.placed):
            return ()
        return tuple(
            point
            for point in turn.placed
            if point.boundary.tokens >= rules.min_tokens
            and (not any(point.boundary.warm) or self._meets_cold(turn, point, route))
        )

    def _meets_cold(self, turn: Turn, point: Placed, route: Route) -> bool:
        """Tell whether a router may well give this call to a model that is cold, and could be primed."""
        if not self._may_prime(turn, route):
            return False
        shares = turn.state.shares(turn.target.arn, turn.target.cache_keys)
        each = zip(shares, point.boundary.warm, strict=True)
        return any(share >= _LEAST_SHARE and not warm for share, warm in each)

    def _held(self, turn: Turn, route: Route, cold: Sequence[Placed]) -> Writing | None:
        """Return a call that is to be waited for."""
        for key in _keys(turn, cold):
            writing = self._writing.get(key)
            if writing is None or writing.stage not in UNFINISHED:
                continue
            if not (writing.late and (route.streams or self._may_stream(turn, route))):
                return writing
        return None

    def _lead(self, passage: Passage, route: Route, cold: Sequence[Placed]) -> None:
        """Lead at once for all that nobody leads for: whoever leads does not wait."""
        now = time.monotonic()
        held = {key: self._writing.get(key) for key in _keys(passage.turn, cold)}
        free = [key for key, writing in held.items() if writing is None or _yields(writing, now, route)]
        if not free:
            return
        possible = self._may_stream(passage.turn, route)
        shared = any(held.values()) or _may_be_shared(cold)
        passage.early = possible and shared and (self._arriving > 1 or any(held.values()))
        passage.writing = Writing(
            keys=tuple(free),
            since=now,
            late=possible and not passage.early,
        )
        self._writing.update(dict.fromkeys(free, passage.writing))

    def _primes(self, turn: Turn, route: Route, writing: Writing, *, led: bool) -> dict[str, Turn]:
        """Return the calls that prime models for those who wait, by model."""
        target = turn.target
        wanted = bool(writing.wanted) or route.followers > 0
        if not target.is_router or not wanted or not self._may_prime(turn, route):
            return {}
        refs = dict(zip(target.cache_keys, target.models, strict=True))
        shares = dict(zip(refs, turn.state.shares(target.arn, target.cache_keys), strict=True))
        for point in reversed(turn.placed):
            ttl, own = point.boundary.ttl, point.boundary.kind in _OWN_KINDS
            later = 0 if own else route.followers
            chosen = models_to_prime(
                shares,
                _cold_models(turn, point, route.clock()),
                {key: ratios_of((ref,), ttl, turn.prices) for key, ref in refs.items()},
                waiting=writing.wanted.get(_key(turn, point), 0) + later,
                led=led,
            )
            calls = {key: call for key in chosen if (call := primed(turn, refs[key], point))}
            if calls:
                return calls
        return {}

    def _prime(self, arn: str, route: Route, writing: Writing, prime: Turn) -> None:
        try:
            route.prime(prime)
        except Exception:
            logger.debug("a prime failed; there will be none for %s for a while", arn, exc_info=True)
            self.fail("prime", arn, route.clock())
        finally:
            self._primed(writing)

    def _primed(self, writing: Writing) -> None:
        """Note that a prime is over, however it ended; after the last one nobody has to wait."""
        with self._lock:
            writing.pending -= 1
            if not writing.pending:
                writing.become(Stage.READY)
                self._forget(writing)

    def _may_stream(self, turn: Turn, route: Route) -> bool:
        return route.may_stream and self.works("stream", turn.target.arn, route.clock())

    def _may_prime(self, turn: Turn, route: Route) -> bool:
        return route.policy.prime and self.works("prime", turn.target.arn, route.clock())

    def _forget(self, writing: Writing) -> None:
        if writing.over and not writing.pending:
            for key in writing.keys:
                if self._writing.get(key) is writing:
                    del self._writing[key]


def _may_be_shared(points: Iterable[Placed]) -> bool:
    """Tell whether calls of other conversations may begin with one of these prefixes, too."""
    return any(each.boundary.kind not in _OWN_KINDS for each in points)


def _yields(writing: Writing, now: float, route: Route) -> bool:
    """Tell whether a call that writes may be overtaken: who waits for it would wait too long."""
    too_old = writing.since <= now - route.policy.fan_out_seconds
    return writing.stage in UNFINISHED and (writing.late or too_old)


def _cold_models(turn: Turn, point: Placed, now: float) -> tuple[str, ...]:
    keys, boundary = turn.target.cache_keys, point.boundary
    warm = turn.state.warm(keys, boundary.digest, boundary.ttl, now)
    return tuple(key for key, is_warm in zip(keys, warm, strict=True) if not is_warm)


def _keys(turn: Turn, points: Sequence[Placed]) -> list[Key]:
    return [_key(turn, point) for point in points]


def _key(turn: Turn, point: Placed) -> Key:
    return turn.target.arn, point.boundary.digest, point.boundary.ttl


def _noted(turn: Turn, seconds: float) -> Turn:
    reason = f"waited {seconds:.2f} s for a call that was writing the same prefix"
    skipped = (*turn.plan.skipped, Skipped(path="*", reason=reason))
    return replace(turn, plan=replace(turn.plan, skipped=skipped))


_gates: WeakKeyDictionary[CacheState, Gate] = WeakKeyDictionary()
_gates_lock = threading.Lock()


def gate_of(state: CacheState) -> Gate:
    """Return the gate of all calls that share what is known of a cache."""
    with _gates_lock:
        return _gates.setdefault(state, Gate())
