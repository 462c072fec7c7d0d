"""What was missed in one call, and the sums over many, by reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

__all__ = ["ADVICE", "Lost", "Miss", "Misses", "Reason"]

Reason = Literal[
    "model switched",
    "lifetime over",
    "below the minimum",
    "no cache point",
    "lookback exceeded",
    "order changed",
    "block changed",
    "unexplained",
]

ADVICE: Mapping[str, str] = {
    "model switched": "each model has a cache of its own: pin one model for a conversation, or route less",
    "lifetime over": "calls come further apart than the cache lives: ask sooner, or for a lifetime of 1h",
    "below the minimum": "the prefix is shorter than the model caches: put more of what stays in front",
    "no cache point": "no point went out that could read it: see `skipped` in the receipts",
    "lookback exceeded": "too many blocks since the last entry: put a point in between, or send the old one",
    "order changed": "the same parts stood in another order: keep documents and tools in a stable order",
    "block changed": "put what changes behind what stays, or leave it out",
    "unexplained": "nothing here explains it: the service may have dropped the entry",
}
"""What to do about each."""

_EXAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """Say what was not read although it had been cached, and why."""

    reason: Reason
    tokens: int
    """How much of it; exact where the whole prefix came again, else estimated."""
    path: str | None = None
    """The block on the wire at which the prompt stopped being the same, or the last one of the prefix."""
    detail: str | None = None
    """The facts behind the reason; never text of the prompt."""
    lost_usd: Decimal | None = None
    """What reading it would have saved in this call."""
    excerpt: tuple[str, str] | None = field(default=None, compare=False)
    """What stood around the first different character before and now; stays in this process."""

    def to_dict(self, *, excerpt: bool = False) -> dict[str, Any]:
        """Return the miss as plain values; text of the prompt only where it is asked for."""
        shown: dict[str, Any] = {
            "reason": self.reason,
            "tokens": self.tokens,
            "path": self.path,
            "detail": self.detail,
            "lost_usd": None if self.lost_usd is None else float(self.lost_usd),
        }
        return {**shown, "excerpt": self.excerpt and list(self.excerpt)} if excerpt else shown

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Miss:
        """Read what `to_dict` wrote."""
        lost = data.get("lost_usd")
        return cls(
            reason=data["reason"],
            tokens=data["tokens"],
            path=data.get("path"),
            detail=data.get("detail"),
            lost_usd=None if lost is None else Decimal(str(lost)),
            excerpt=_pair(data.get("excerpt")),
        )


def _pair(value: Sequence[str] | None) -> tuple[str, str] | None:
    return None if value is None else (value[0], value[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Be the sum of some misses. Money is `None` as soon as one price is unknown."""

    calls: int = 0
    tokens: int = 0
    usd: Decimal | None = Decimal(0)

    def plus(self, miss: Miss) -> Lost:
        """Return the sum with one more miss."""
        usd = None if self.usd is None or miss.lost_usd is None else self.usd + miss.lost_usd
        return Lost(calls=self.calls + 1, tokens=self.tokens + miss.tokens, usd=usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misses:
    """Be all misses of some calls: in all, by reason, and the newest ones themselves."""

    total: Lost = Lost()
    by_reason: Mapping[Reason, Lost] = field(default_factory=dict[Reason, Lost])
    examples: tuple[Miss, ...] = ()
    """The newest, oldest first."""

    def plus(self, miss: Miss | None) -> Misses:
        """Return the sums with one more call's miss, if it had one."""
        if miss is None:
            return self
        before = self.by_reason.get(miss.reason, Lost())
        return replace(
            self,
            total=self.total.plus(miss),
            by_reason={**self.by_reason, miss.reason: before.plus(miss)},
            examples=(*self.examples, miss)[-_EXAMPLES:],
        )
