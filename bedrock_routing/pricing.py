"""Turn tokens into money, by the model that answered.

Prices come from the package `genai-prices` (an offline snapshot). Unknown models cost `None`, never 0. A
router's own ARN has no price: a call is priced by the model that the trace names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from bedrock_routing.arns import ModelRef
from bedrock_routing.catalog import Ttl
from bedrock_routing.planning import Ratios
from bedrock_routing.policy import PricePolicy
from bedrock_routing.usage import Usage

__all__ = ["cost_of", "ratios_of", "uncached_cost_of"]

_UNIT = 1_000
_MANY = 1_000_000
_CLAUDE_HOUR_WRITE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prices:
    """Hold what one token of each kind costs, where that does not depend on the size of the prompt."""

    fresh: Decimal
    read: Decimal
    write_5m: Decimal
    write_1h: Decimal
    output: Decimal

    def of(self, usage: Usage) -> Decimal:
        return (
            self.fresh * usage.fresh
            + self.read * usage.read
            + self.write_5m * usage.write_5m
            + self.write_1h * usage.write_1h
            + self.output * usage.output
        )


def cost_of(
    model: ModelRef | None, usage: Usage, policy: PricePolicy, *, routed: bool = False
) -> Decimal | None:
    """Return what the call cost in USD, or `None` where the model or its price is not known."""
    name = _priced_name(model)
    price = None if name is None else _price(name, usage, policy.nova_writes)
    return _with_fee(price, policy, routed=routed)


def uncached_cost_of(
    model: ModelRef | None, usage: Usage, policy: PricePolicy, *, routed: bool = False
) -> Decimal | None:
    """Return what the same tokens of the same model would have cost without any caching."""
    return cost_of(model, Usage(fresh=usage.prompt, output=usage.output), policy, routed=routed)


def ratios_of(models: Iterable[ModelRef], ttl: Ttl, policy: PricePolicy) -> Ratios:
    """Return read and write prices in units of the input price; of several models the dearest.

    Where no price is known the usual ratios of Claude stand in: they make the planner careful.
    """
    each = [_ratios(_priced_name(model), ttl, policy.nova_writes) for model in models]
    if not each:
        return Ratios()
    return Ratios(read=max(ratio.read for ratio in each), write=max(ratio.write for ratio in each))


def _priced_name(model: ModelRef | None) -> str | None:
    """Return the id that carries the price; it keeps the geography, since `global.` profiles cost less."""
    return None if model is None or model.model_id is None else model.name


@lru_cache(maxsize=512)
def _ratios(name: str | None, ttl: Ttl, nova_writes: str) -> Ratios:
    usual = Ratios() if ttl == "5m" else Ratios(write=_CLAUDE_HOUR_WRITE)
    fresh = name and _price(name, Usage(fresh=_UNIT), nova_writes)
    if not name or not fresh:
        return usual
    read = _price(name, Usage(fresh=0, read=_UNIT), nova_writes) or Decimal(0)
    written = Usage(fresh=0, write_5m=_UNIT) if ttl == "5m" else Usage(fresh=0, write_1h=_UNIT)
    write = _price(name, written, nova_writes) or Decimal(0)
    return Ratios(read=float(read / fresh), write=float(write / fresh))


def _price(name: str, usage: Usage, nova_writes: str) -> Decimal | None:
    flat = _flat_prices(name, nova_writes)
    return _looked_up(name, usage, nova_writes) if flat is None else flat.of(usage)


@lru_cache(maxsize=512)
def _flat_prices(name: str, nova_writes: str) -> _Prices | None:
    """Return the unit prices of a model; `None` where a long prompt costs more a token, or none is known.

    Asking the package for every call would cost more time than all the rest of the accounting.
    """
    kinds = {
        "fresh": (Usage(fresh=_UNIT), Usage(fresh=_MANY)),
        "read": (Usage(fresh=0, read=_UNIT), Usage(fresh=0, read=_MANY)),
        "write_5m": (Usage(fresh=0, write_5m=_UNIT), Usage(fresh=0, write_5m=_MANY)),
        "write_1h": (Usage(fresh=0, write_1h=_UNIT), Usage(fresh=0, write_1h=_MANY)),
        "output": (Usage(fresh=0, output=_UNIT), Usage(fresh=0, output=_MANY)),
    }
    prices: dict[str, Decimal] = {}
    for kind, (few, many) in kinds.items():
        small, large = _looked_up(name, few, nova_writes), _looked_up(name, many, nova_writes)
        if small is None or large is None or small * _MANY != large * _UNIT:
            return None
        prices[kind] = small / _UNIT
    return _Prices(**prices)


def _looked_up(name: str, usage: Usage, nova_writes: str) -> Decimal | None:
    """Ask the package, which counts cached tokens inside `input_tokens`; free ones are left out."""
    free = usage.write if nova_writes == "list" and _has_no_write_price(name) else 0
    priced = PricedUsage(
        input_tokens=usage.prompt - free,
        cache_read_tokens=usage.read,
        cache_write_tokens=usage.write - free,
        cache_write_1h_tokens=0 if free else usage.write_1h,
        output_tokens=usage.output,
    )
    try:
        return calc_price(priced, model_ref=name, provider_id="aws").total_price
    except (LookupError, ValueError):
        return None


@lru_cache(maxsize=512)
def _has_no_write_price(name: str) -> bool:
    """Tell whether the table has no write price, as for Nova; it then falls back to the input price."""
    plain = _looked_up(name, Usage(fresh=_UNIT), "input")
    return plain is not None and plain == _looked_up(name, Usage(fresh=0, write_5m=_UNIT), "input")


def _with_fee(price: Decimal | None, policy: PricePolicy, *, routed: bool) -> Decimal | None:
    if price is None or not routed or not policy.per_request_usd:
        return price
    return price + Decimal(str(policy.per_request_usd))
