"""Compare what calls cost with what they would have cost otherwise: three baselines, none of them a guess.

Only money: how good the answers of another model would have been is not in these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from bedrock_routing.arns import ModelRef
from bedrock_routing.policy import PricePolicy
from bedrock_routing.pricing import cost_of
from bedrock_routing.receipt import Receipt
from bedrock_routing.usage import Usage

__all__ = ["Savings", "lost_by", "strongest_cost_of"]

_MANY = Usage(fresh=1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Be the cost of some calls and of three other ways to make them. One unknown call makes a sum `None`."""

    cost_usd: Decimal | None = Decimal(0)
    uncached_usd: Decimal | None = Decimal(0)
    """Without caching, each call to the model that answered it."""
    strongest_usd: Decimal | None = Decimal(0)
    """All calls to the dearest model behind the router, no router asked, with the cache as it was.

    One model alone would have missed less than several do, so this baseline is rather too high.
    """
    router_uncached_usd: Decimal | None = Decimal(0)
    """Asking the router without caching. Unknown for a call in which no router was asked, unless it was made
    for the cache only."""

    def plus(self, receipt: Receipt) -> Savings:
        """Return the sums with one more call."""
        routed = receipt.uncached_cost_usd if receipt.router_arn or receipt.purpose else None
        return Savings(
            cost_usd=_sum(self.cost_usd, receipt.cost_usd),
            uncached_usd=_sum(self.uncached_usd, receipt.uncached_cost_usd),
            strongest_usd=_sum(self.strongest_usd, receipt.strongest_cost_usd),
            router_uncached_usd=_sum(self.router_uncached_usd, routed),
        )

    @property
    def baselines(self) -> dict[str, Decimal | None]:
        """Return what the calls would have cost, by what would have been done instead."""
        return {
            "no caching, same models": self.uncached_usd,
            "caching, strongest model, no router": self.strongest_usd,
            "router, no caching": self.router_uncached_usd,
        }

    @property
    def saved(self) -> dict[str, Decimal | None]:
        """Return what was saved against each baseline; negative where it would have been cheaper."""
        cost = self.cost_usd
        return {
            name: None if cost is None or other is None else other - cost
            for name, other in self.baselines.items()
        }


def strongest_cost_of(models: tuple[ModelRef, ...], usage: Usage, policy: PricePolicy) -> Decimal | None:
    """Return what a call would have cost on the dearest of the models, with the same tokens cached."""
    return cost_of(_dearest(models, policy), usage, policy)


@lru_cache(maxsize=512)
def _dearest(models: tuple[ModelRef, ...], policy: PricePolicy) -> ModelRef | None:
    """Return the model with the highest input price; `None` as soon as one price is not known."""
    prices = [cost_of(model, _MANY, policy) for model in models]
    known = [price for price in prices if price is not None]
    return models[prices.index(max(known))] if known and len(known) == len(models) else None


def lost_by(tokens: int, model: ModelRef | None, usage: Usage, policy: PricePolicy) -> Decimal | None:
    """Return what the call would have cost less, had it read so many of its unread tokens from the cache."""
    left = {"write_5m": usage.write_5m, "write_1h": usage.write_1h, "fresh": usage.fresh}
    wanted = tokens
    for kind, count in left.items():
        taken = min(wanted, count)
        left[kind] = count - taken
        wanted -= taken
    better = Usage(**left, read=usage.read + tokens - wanted, output=usage.output)
    cost, less = cost_of(model, usage, policy), cost_of(model, better, policy)
    return None if cost is None or less is None else cost - less


def _sum(total: Decimal | None, value: Decimal | None) -> Decimal | None:
    return None if total is None or value is None else total + value
