"""Turn tokens into money, by the model that answered.

Prices come from the package `genai-prices` (an offline snapshot). Unknown models cost `None`, never 0. A
router's own ARN has no price: a call is priced by the model that the trace names.
"""

from __future__ import annotations

from collections.abc import Iterable
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

_PROBE_TOKENS = 1_000


def cost_of(
    model: ModelRef | None, usage: Usage, policy: PricePolicy, *, routed: bool = False
) -> Decimal | None:
    """Return what the call cost in USD, or `None` where the model or its price is not known."""
    free = usage.write if policy.nova_writes == "list" and _writes_cost_nothing(model) else 0
    return _with_fee(_price(model, usage, free=free), policy, routed=routed)


def uncached_cost_of(
    model: ModelRef | None, usage: Usage, policy: PricePolicy, *, routed: bool = False
) -> Decimal | None:
    """Return what the same tokens of the same model would have cost without any caching."""
    plain = Usage(fresh=usage.prompt, output=usage.output)
    return _with_fee(_price(model, plain), policy, routed=routed)


def ratios_of(models: Iterable[ModelRef], ttl: Ttl, policy: PricePolicy) -> Ratios:
    """Return read and write prices in units of the input price; of several models the dearest.

    Where no price is known the usual ratios of Claude stand in: they make the planner careful.
    """
    each = [_ratios(model, ttl, policy.nova_writes) for model in models]
    if not each:
        return Ratios()
    return Ratios(read=max(ratio.read for ratio in each), write=max(ratio.write for ratio in each))


@lru_cache(maxsize=512)
def _ratios(model: ModelRef, ttl: Ttl, nova_writes: str) -> Ratios:
    fresh = _price(model, Usage(fresh=_PROBE_TOKENS))
    if not fresh:
        return Ratios(write=1.25 if ttl == "5m" else 2.0)
    read = _price(model, Usage(fresh=0, read=_PROBE_TOKENS))
    written = Usage(fresh=0, **{f"write_{ttl}": _PROBE_TOKENS})
    free = _PROBE_TOKENS if nova_writes == "list" and _writes_cost_nothing(model) else 0
    write = _price(model, written, free=free)
    return Ratios(read=float((read or 0) / fresh), write=float((write or 0) / fresh))


def _price(model: ModelRef | None, usage: Usage, *, free: int = 0) -> Decimal | None:
    """Price one usage; `free` prompt tokens are left out of the bill."""
    if model is None or model.model_id is None:
        return None
    # The package counts cached tokens inside input_tokens and refuses a count without its parent.
    priced = PricedUsage(
        input_tokens=usage.prompt - free,
        cache_read_tokens=usage.read,
        cache_write_tokens=usage.write - free,
        cache_write_1h_tokens=usage.write_1h if usage.write_1h > free else 0,
        output_tokens=usage.output,
    )
    try:
        return calc_price(priced, model_ref=model.name, provider_id="aws").total_price
    except (LookupError, ValueError):
        return None


@lru_cache(maxsize=512)
def _writes_cost_nothing(model: ModelRef | None) -> bool:
    """Tell whether the price table names no write price, as for Nova, whose list price is 0."""
    plain = _price(model, Usage(fresh=_PROBE_TOKENS))
    return plain is not None and plain == _price(model, Usage(fresh=0, write_5m=_PROBE_TOKENS))


def _with_fee(price: Decimal | None, policy: PricePolicy, *, routed: bool) -> Decimal | None:
    if price is None or not routed or not policy.per_request_usd:
        return price
    return price + Decimal(str(policy.per_request_usd))
