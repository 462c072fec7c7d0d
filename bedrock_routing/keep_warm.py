"""Tell whether it pays to keep a prefix in the cache by asking for it once more. Pure.

An entry ends when it was not used for its lifetime, and every read renews it at no further cost
(https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html, read 2026-11-23). A ping is a call
for one token over exactly that prefix, made shortly before the end: for the price of a read it buys one more
lifetime. Without it the next call writes the prefix again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bedrock_routing.arns import ModelRef
from bedrock_routing.catalog import Ttl
from bedrock_routing.errors import ConfigurationError
from bedrock_routing.planning import Ratios
from bedrock_routing.policy import PricePolicy
from bedrock_routing.pricing import cost_of
from bedrock_routing.state import TTL_SECONDS
from bedrock_routing.usage import Usage

__all__ = ["MARGIN", "Advice", "Upkeep", "hour_pays_after", "next_ping", "upkeep_of"]

MARGIN = 30.0
"""Seconds before the end of an entry at which a ping is sent: time for the call, and clocks differ."""
_AROUND = 8
"""Tokens of a ping that are never cached: what stands for the question, and the roles around it."""
_EXACT = 1e-9
"""Ratios are decimal fractions: 0.75 / 0.25 is three, whatever is left of it in binary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """Say whether the next ping pays, and why."""

    pays: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """Hold what it costs to keep one prefix in one model's cache, in any unit, the same for all three.

    Raises `ConfigurationError` for negative prices.
    """

    read: float
    """Reading the whole prefix once."""
    write: float
    """Writing it again, once it is gone."""
    besides: float = 0.0
    """What a ping costs besides that read: what is not cached of it, and the one token that is answered."""

    def __post_init__(self) -> None:
        if not (self.read >= 0 and self.write >= 0 and self.besides >= 0):
            raise ConfigurationError("read, write and besides are costs and must not be negative")

    @classmethod
    def of(cls, tokens: int, ratios: Ratios, *, besides: float = 0.0) -> Upkeep:
        """Return the upkeep of so many tokens in units of one input token."""
        return cls(read=tokens * ratios.read, write=tokens * ratios.write, besides=besides)

    @property
    def ping(self) -> float:
        """Return what one ping costs."""
        return self.read + self.besides

    @property
    def spared(self) -> float:
        """Return what the next call costs less if it reads instead of writing; at least 0."""
        return max(0.0, self.write - self.read)

    @property
    def least_chance(self) -> float:
        """Return the chance of a call within the lifetime that a ping adds, above which the ping pays.

        `read / (write - read)` where nothing comes besides: 0.087 at Claude's prices, a third at Nova's with
        writes priced as input. Infinite where a read spares nothing.
        """
        return self.ping / self.spared if self.spared > 0 else math.inf

    @property
    def most_pings(self) -> int | None:
        """Return how many pings in a row cost no more than what they spare; `None`: they cost nothing.

        `floor((write - read) / read)` where nothing comes besides: 11 at Claude's prices, 3 at Nova's. After
        more, even a call that comes at last has not earned back what was spent on waiting for it.
        """
        limit = (1 + _EXACT) / self.least_chance if self.least_chance else math.inf
        return math.floor(limit) if math.isfinite(limit) else None

    def advise(self, chance: float, *, sent: int = 0) -> Advice:
        """Tell whether one more ping pays.

        `chance`: of a call to this model over this prefix within the lifetime that the ping adds. `sent`: the
        pings since the last call.
        """
        if self.spared <= 0:
            return Advice(pays=False, reason="reading this prefix costs no less than writing it")
        if self.most_pings is not None and sent >= self.most_pings:
            return Advice(pays=False, reason=f"{self.most_pings} pings in a row cost as much as one write")
        if chance <= self.least_chance:
            reason = f"a chance of {chance:.3f} of another call; it takes more than {self.least_chance:.3f}"
            return Advice(pays=False, reason=reason)
        return Advice(pays=True, reason=f"a chance of {chance:.3f}, above {self.least_chance:.3f}")


def next_ping(last_use: float, ttl: Ttl, *, margin: float = MARGIN) -> float:
    """Return when an entry that was used last at `last_use` is due for a ping, on the same clock."""
    return last_use + TTL_SECONDS[ttl] - margin


def hour_pays_after(five: Upkeep, hour: Upkeep, *, margin: float = MARGIN) -> float | None:
    """Return the expected idle time, in seconds, above which an entry of an hour costs less than pings.

    An hour is dearer to write by so many pings; each of them buys `300 - margin` seconds. That is 34 minutes
    at Claude's usual prices. Where reads are so cheap that it is more than an hour, the longer entry needs
    pings of its own, which count too. `None`: an hour never costs less.
    """
    dearer = hour.write - five.write
    if dearer <= 0:
        return 0.0
    often, seldom = TTL_SECONDS["5m"] - margin, TTL_SECONDS["1h"] - margin
    rate = five.ping / often
    if rate > 0 and dearer / rate <= seldom:
        return dearer / rate
    less = rate - hour.ping / seldom
    return dearer / less if less > 0 else None


def upkeep_of(model: ModelRef, tokens: int, ttl: Ttl, policy: PricePolicy) -> Upkeep | None:
    """Return the upkeep in USD of a prefix of so many tokens; `None` where a price is not known."""
    written = Usage(fresh=0, write_1h=tokens) if ttl == "1h" else Usage(fresh=0, write_5m=tokens)
    read = cost_of(model, Usage(fresh=0, read=tokens), policy)
    write = cost_of(model, written, policy)
    ping = cost_of(model, Usage(fresh=_AROUND, read=tokens, output=1), policy)
    if read is None or write is None or ping is None:
        return None
    return Upkeep(read=float(read), write=float(write), besides=float(ping - read))
