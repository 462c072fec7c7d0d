"""Know which prefixes are kept warm, when each is due for a ping, and why one is given up.

No thread and no call is made here: `pinging` does that. Whoever calls holds one lock for all of it.
"""

from __future__ import annotations

from collections import deque
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from bedrock_routing.arns import ModelRef
from bedrock_routing.catalog import Ttl
from bedrock_routing.keep_warm import Upkeep, hour_pays_after, next_ping, upkeep_of
from bedrock_routing.placing import Placed
from bedrock_routing.primes import primed
from bedrock_routing.receipt import Receipt
from bedrock_routing.state import TTL_SECONDS, Reuse
from bedrock_routing.turn import Turn
from bedrock_routing.usage import Usage
from bedrock_routing.watching import Finished

__all__ = ["Kept", "KeptPrefixes", "Stopped"]

_WEIGHT = 2.0
"""How many pings the given chance weighs against those that were sent: about ten in vain are then enough."""
_BELIEVED = 3600.0
"""Seconds for which a model that could not be pinged is not pinged again."""

_Key: TypeAlias = "tuple[int, str, bytes, Ttl]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Say why a prefix is not kept warm any longer."""

    model: str
    path: str
    """Where its cache point stood on the wire."""
    pings: int
    """How many were sent since the last call over it."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Be a prefix in one model's cache, and all that it takes to ask for it again."""

    finished: Finished
    context: Context
    """Of the call, so that a ping goes to the same ledgers."""
    model: ModelRef
    name: str
    """The model as its warm prefixes are known."""
    point: Placed
    tokens: int
    """The size of the prefix."""
    upkeep: Upkeep
    last: float
    """When it was used last: when that call was sent, not when it came back."""
    sent: int = 0
    over: bool = False
    """Whether there will be no more pings; whether the last one was of any use is known when it ends."""

    @property
    def key(self) -> _Key:
        """Return what tells it apart from all others."""
        boundary = self.point.boundary
        return id(self.finished.turn.state), self.name, boundary.digest, boundary.ttl

    @property
    def end(self) -> float:
        """Return when the service drops it."""
        return self.last + TTL_SECONDS[self.point.boundary.ttl]

    @property
    def share(self) -> float:
        """Return the chance that the next call over this prefix is answered by this model."""
        turn = self.finished.turn
        if not turn.target.is_router:
            return 1.0
        keys = turn.target.cache_keys
        return turn.state.shares(turn.target.arn, keys)[keys.index(self.name)]

    def is_warm(self, now: float) -> bool:
        """Tell whether the service still has it, by all that is known."""
        boundary, state = self.point.boundary, self.finished.turn.state
        return now < self.end and all(state.warm((self.name,), boundary.digest, boundary.ttl, now))

    def ping(self) -> Turn | None:
        """Return the call that keeps it warm."""
        return primed(self.finished.turn, self.model, self.point, purpose="ping")


@dataclass(slots=True, kw_only=True)
class KeptPrefixes:
    """Hold the prefixes that are kept warm; the settings are those of `KeepWarm`."""

    prior: float
    idle: float | None
    most: int
    margin: float
    stopped: deque[Stopped] = field(default_factory=lambda: deque[Stopped](maxlen=100))
    _reuse: Reuse = field(default_factory=Reuse)
    _kept: dict[_Key, Kept] = field(default_factory=dict[_Key, Kept])
    _failed: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def chance(self) -> float:
        """Return the chance that a ping is followed by a call while what it added lasts."""
        return self._reuse.chance(self.prior, weight=_WEIGHT)

    def observe(self, finished: Finished, context: Context) -> None:
        """Take in a call that came back: what it holds was used, so its end is further away now."""
        usage, turn = finished.receipt.usage, finished.turn
        point = _longest(turn)
        if point is None or usage is None or not usage.read + usage.write:
            return
        now, target, boundary = finished.clock(), turn.target, point.boundary
        tokens = _tokens(turn, point, usage)
        warm = turn.state.warm(target.cache_keys, boundary.digest, boundary.ttl, now)
        for model, name, is_warm in zip(target.models, target.cache_keys, warm, strict=True):
            upkeep = upkeep_of(model, tokens, boundary.ttl, turn.prices)
            kept = Kept(
                finished=finished,
                context=context,
                model=model,
                name=name,
                point=point,
                tokens=tokens,
                upkeep=upkeep or Upkeep(read=0.0, write=0.0),
                last=now if turn.asked is None else turn.asked.at,
            )
            if name == finished.receipt.model:
                self._used(kept, usage, now)
            elif not is_warm or kept.key in self._kept:
                continue
            if why := _why_never(turn, upkeep):
                self._note(kept, why)
            else:
                self._kept[kept.key] = kept
        while len(self._kept) > self.most:
            oldest = min(self._kept.values(), key=lambda each: each.last)
            self._drop(oldest, f"at most {self.most} prefixes are kept warm")

    def _used(self, kept: Kept, usage: Usage, now: float) -> None:
        """Forget what was kept of this prefix, and of shorter ones of the same prompt, and learn from it."""
        plan = kept.finished.turn.plan
        within = {kept.key[2], *plan.passed, *(point.digest for point in plan.points)}
        for key in [key for key in self._kept if key[:2] == kept.key[:2] and key[2] in within]:
            before = self._kept.pop(key)
            if before.sent and usage.read and now < before.end:
                self._reuse = self._reuse.came_again()

    def take_due(self) -> Kept | None:
        """Take out a prefix that is to be pinged now, after giving up those that are not to be."""
        for kept in tuple(self._kept.values()):
            now = kept.finished.clock()
            if now < self._due(kept):
                continue
            if kept.over or not kept.is_warm(now):
                self._drop(kept, None if kept.over else "the entry is gone")
            elif why := self._why_not(kept, now):
                self._rest(kept, why)
            else:
                self._reuse = self._reuse.new_case()
                return self._kept.pop(kept.key)
        return None

    def _why_not(self, kept: Kept, now: float) -> str | None:
        if self._failed.get(kept.name, now) > now:
            return "a ping of this model has failed"
        if self.idle is not None and (why := _why_an_hour(kept, self.idle, self.margin)):
            return why
        advice = kept.upkeep.advise(self.chance * kept.share, sent=kept.sent)
        return None if advice.pays else advice.reason

    def pinged(self, kept: Kept, receipt: Receipt, now: float) -> None:
        """Keep on with a prefix whose ping, sent at `now`, has read it; a call may have come meanwhile."""
        usage, after = receipt.usage, replace(kept, sent=kept.sent + 1, last=now)
        if usage is None or usage.write >= usage.read:
            self._note(after, "a ping did not read: the entry was gone")
        else:
            self._kept.setdefault(after.key, after)

    def failed(self, kept: Kept, error: Exception, now: float) -> None:
        """Give a model up for a while."""
        self._failed[kept.name] = now + _BELIEVED
        self._note(kept, f"a ping failed: {type(error).__name__}: {error}")

    def seconds_left(self) -> float | None:
        """Return how long nothing is due; `None`: nothing ever is."""
        waits = (self._due(kept) - kept.finished.clock() for kept in self._kept.values())
        return min(waits, default=None)

    def clear(self) -> None:
        """Forget all prefixes, and with them the prompts."""
        self._kept.clear()

    def _due(self, kept: Kept) -> float:
        if kept.over:
            return kept.end
        return next_ping(kept.last, kept.point.boundary.ttl, margin=self.margin)

    def _rest(self, kept: Kept, reason: str) -> None:
        """Send no more pings; while the last one lasts, a call still shows that it was of use."""
        self._note(kept, reason)
        self._kept[kept.key] = replace(kept, over=True)

    def _drop(self, kept: Kept, reason: str | None) -> None:
        del self._kept[kept.key]
        if reason is not None:
            self._note(kept, reason)

    def _note(self, kept: Kept, reason: str) -> None:
        stopped = Stopped(model=kept.name, path=kept.point.path, pings=kept.sent, reason=reason)
        self.stopped.append(stopped)


def _longest(turn: Turn) -> Placed | None:
    """Return the last point at which a prompt can end."""
    return next(
        (
            point
            for point in reversed(turn.placed)
            if turn.target.models and primed(turn, turn.target.models[0], point) is not None
        ),
        None,
    )


def _tokens(turn: Turn, point: Placed, usage: Usage) -> int:
    """Return the tokens up to a point: counted where it was the last one, else estimated."""
    return usage.read + usage.write if point is turn.placed[-1] else point.boundary.tokens


def _why_never(turn: Turn, upkeep: Upkeep | None) -> str | None:
    if upkeep is None:
        return "its price is not known"
    return "a guardrail charges for every ping" if "guardrailConfig" in turn.params else None


def _why_an_hour(kept: Kept, idle: float, margin: float) -> str | None:
    """Say that an entry of an hour would cost less, where that is so."""
    turn, boundary = kept.finished.turn, kept.point.boundary
    rules = turn.target.common.cache
    if boundary.ttl == "1h" or rules is None or "1h" not in rules.ttls:
        return None
    hour = upkeep_of(kept.model, kept.tokens, "1h", turn.prices)
    least = hour and hour_pays_after(kept.upkeep, hour, margin=margin)
    if least is None or idle <= least:
        return None
    return f"ttl='1h' costs less than pings where {idle / 60:.0f} minutes pass (from {least / 60:.0f} on)"
