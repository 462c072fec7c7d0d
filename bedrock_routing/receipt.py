"""What one call did: who was asked, who answered, what the cache did and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from bedrock_routing.misses import Miss
from bedrock_routing.planning import Skipped
from bedrock_routing.request import member
from bedrock_routing.usage import Usage

__all__ = ["KEY", "PURPOSES", "Purpose", "Receipt"]

KEY = "bedrock_routing"
"""The key under which a receipt stands in a response and in both frameworks' metadata."""

Purpose: TypeAlias = Literal["prime", "ping"]
"""Why a call was made that no caller made: so that others can read a prefix, or so that it stays cached."""

PURPOSES: Mapping[Purpose, str] = {
    "prime": "prime: one token, asked for so that calls which wait can read this prefix",
    "ping": "ping: one token, asked for so that this prefix stays in the cache",
}
"""What the receipt of such a call says, as who decided and under `skipped`, for the path `*`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Hold what one call did. `None` is unknown: a stream that was cut never said which model it was."""

    router_arn: str | None = None
    """The router that the call was meant for; `None` where the caller named a model."""
    invoked_model_id: str | None = None
    """Who answered, exactly as the trace said it; for a call straight to a model, that model."""
    model: str | None = None
    """The same without Region and account, e.g. `amazon.nova-lite-v1:0`."""
    decided_by: str | None = None
    """Who chose that model and why, in words: `router: ...`, or sticky, cost, tool lock, prime, caller."""
    router_choice: str | None = None
    """The model that the router chose; `None` where it was not asked or did not say."""
    usage: Usage | None = None
    points: tuple[str, ...] = ()
    """Where cache points went out, as paths on the wire."""
    skipped: tuple[Skipped, ...] = ()
    """Where none went out although it could have, and why; the path `*` is the whole request."""
    miss: Miss | None = None
    """What an earlier call had cached and this one did not read, and why; `None`: nothing is known of."""
    cost_usd: Decimal | None = None
    uncached_cost_usd: Decimal | None = None
    """What the same tokens of the same model would have cost without caching."""
    strongest_cost_usd: Decimal | None = None
    """What the same tokens, cached as they were, would have cost on the dearest model that may answer."""
    latency_ms: int | None = None
    stop_reason: str | None = None
    complete: bool = True
    """Whether the reply ended as it should; `False` for a stream that was cut or left."""
    purpose: str | None = None
    """`prime` or `ping`: made for the cache only, so that without caching it would have cost nothing."""

    @property
    def saved_usd(self) -> Decimal | None:
        """Return what caching saved; negative for a call that only wrote."""
        if self.cost_usd is None or self.uncached_cost_usd is None:
            return None
        return self.uncached_cost_usd - self.cost_usd

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt as plain JSON-able values."""
        usage = self.usage
        return {
            "router_arn": self.router_arn,
            "invoked_model_id": self.invoked_model_id,
            "model": self.model,
            "decided_by": self.decided_by,
            "router_choice": self.router_choice,
            "cache": {
                "read": usage and usage.read,
                "write": usage and usage.write,
                "write_5m": usage and usage.write_5m,
                "write_1h": usage and usage.write_1h,
                "fresh": usage and usage.fresh,
                "hit_ratio": usage and usage.hit_ratio,
                "points": list(self.points),
                "skipped": [{"path": each.path, "reason": each.reason} for each in self.skipped],
                "miss": self.miss and self.miss.to_dict(),
            },
            "output_tokens": usage and usage.output,
            "cost_usd": _number(self.cost_usd),
            "uncached_cost_usd": _number(self.uncached_cost_usd),
            "saved_usd": _number(self.saved_usd),
            "strongest_cost_usd": _number(self.strongest_cost_usd),
            "latency_ms": self.latency_ms,
            "stop_reason": self.stop_reason,
            "complete": self.complete,
            "purpose": self.purpose,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Receipt:
        """Read what `to_dict` wrote; keys that are missing are unknown."""
        cache = data.get("cache")
        return cls(
            router_arn=data.get("router_arn"),
            invoked_model_id=data.get("invoked_model_id"),
            model=data.get("model"),
            decided_by=data.get("decided_by"),
            router_choice=data.get("router_choice"),
            usage=_usage(cache, data.get("output_tokens")),
            points=tuple(member(cache, "points") or ()),
            skipped=tuple(
                Skipped(path=each["path"], reason=each["reason"]) for each in member(cache, "skipped") or ()
            ),
            miss=Miss.from_dict(miss) if (miss := member(cache, "miss")) else None,
            cost_usd=_decimal(data.get("cost_usd")),
            uncached_cost_usd=_decimal(data.get("uncached_cost_usd")),
            strongest_cost_usd=_decimal(data.get("strongest_cost_usd")),
            latency_ms=data.get("latency_ms"),
            stop_reason=data.get("stop_reason"),
            complete=data.get("complete", True),
            purpose=data.get("purpose"),
        )


def _usage(cache: object, output: int | None) -> Usage | None:
    fresh = member(cache, "fresh")
    if fresh is None:
        return None
    return Usage(
        fresh=fresh,
        read=member(cache, "read") or 0,
        write_5m=member(cache, "write_5m") or 0,
        write_1h=member(cache, "write_1h") or 0,
        output=output or 0,
    )


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _decimal(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))
