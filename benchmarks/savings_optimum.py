"""What a sequence of calls would have cost at least, had all of it been known beforehand.

A prompt is a chain of pieces that end where a cache point may stand; pieces after equal prefixes, asked of
one model, are one piece of a tree. At each call that holds it a piece is read (if it was written or read
within its lifetime), written for 5m or 1h, or fresh; the cheapest sequence of that is found by dynamic
programming, for each piece alone. The limit of four points, the look-back and the order of lifetimes within
a prompt are left out, and nobody knows beforehand who answers or which question is the last: a bound, not a
target.

Pure: nothing here knows a model, a request or a service.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["Least", "Prefix", "Prices", "Visit", "cheapest", "least_cost"]

Treatment = Literal["fresh", "read", "5m", "1h"]


Prices = Mapping[Treatment, float]
"""What a prompt token of one model costs; without `1h`, the model keeps nothing for an hour."""

_LIFETIMES: Mapping[Treatment, float] = {"5m": 300.0, "1h": 3_600.0}


class Prefix(NamedTuple):
    """Be the part of a prompt up to a place where a point may stand."""

    name: bytes
    """Equal exactly for equal prefixes."""
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Be one call: who answered, when, and what of its prompt could be cached."""

    model: str
    at: float
    prefixes: tuple[Prefix, ...]
    """From the shortest to the longest; none below the model's minimum."""
    tokens: int
    """The whole prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """Be the cheapest treatment of all prompts."""

    cost: float
    tokens: Mapping[Treatment, int]


def least_cost(visits: Iterable[Visit], prices: Mapping[str, Prices]) -> Least:
    """Return the least that the prompts of these calls cost, given who answered; in order of time."""
    tokens: Counter[Treatment] = Counter()
    times: defaultdict[tuple[str, bytes], list[float]] = defaultdict(list)
    sizes: dict[tuple[str, bytes], int] = {}
    cost = 0.0
    for visit in visits:
        before = 0
        for prefix in visit.prefixes:
            piece = (visit.model, prefix.name)
            times[piece].append(visit.at)
            sizes[piece] = prefix.tokens - before
            before = prefix.tokens
        tokens["fresh"] += visit.tokens - before
        cost += (visit.tokens - before) * prices[visit.model]["fresh"]
    for (model, name), size in sizes.items():
        treatments = cheapest(times[model, name], prices[model])
        tokens.update({each: size * count for each, count in Counter(treatments).items()})
        cost += size * sum(prices[model][each] for each in treatments)
    return Least(cost=cost, tokens=dict(tokens))


def cheapest(times: Sequence[float], prices: Prices) -> tuple[Treatment, ...]:
    """Return how a piece is treated most cheaply that is part of calls at these times.

    A lifetime that ends at the very second of a call has ended; reading starts it anew.
    """
    states: list[Treatment] = ["fresh", *(each for each in _LIFETIMES if each in prices)]
    # The cheapest way to go on after a call, by what the piece was last written for; "fresh": it is not kept.
    ways: dict[Treatment, _Way] = dict.fromkeys(states, _Way(0.0, ()))
    for number in range(len(times) - 1, -1, -1):
        gap = times[number] - times[number - 1] if number else float("inf")
        anew = _cheaper(*(way.after(each, prices) for each, way in ways.items()))
        ways = {
            each: _cheaper(anew, way.after("read", prices)) if gap < _LIFETIMES.get(each, 0.0) else anew
            for each, way in ways.items()
        }
    return _unfolded(ways["fresh"].steps)


class _Way(NamedTuple):
    """Be what remains to be paid, and a linked list of the treatments."""

    cost: float
    steps: tuple[Any, ...]

    def after(self, treatment: Treatment, prices: Prices) -> _Way:
        return _Way(prices[treatment] + self.cost, (treatment, self.steps))


def _cheaper(*ways: _Way) -> _Way:
    return min(ways, key=lambda way: way.cost)


def _unfolded(steps: tuple[Any, ...]) -> tuple[Treatment, ...]:
    found: list[Treatment] = []
    while steps:
        first, steps = steps
        found.append(first)
    return tuple(found)
