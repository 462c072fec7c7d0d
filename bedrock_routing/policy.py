"""What the user may set: where cache points may go, and how uncertain prices are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bedrock_routing.catalog import Ttl
from bedrock_routing.errors import ConfigurationError

__all__ = ["CachePolicy", "PricePolicy"]

OnUnsupported = Literal["ignore", "warn", "raise"]

_TTLS = ("5m", "1h")
_ON_UNSUPPORTED = ("ignore", "warn", "raise")
_NOVA_WRITES = ("input", "list")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Say which cache points may be placed automatically.

    A section that is switched off here may still carry points that the caller placed by hand.
    """

    ttl: Ttl = "5m"
    """How long an entry lives after its last use; 1h falls back to 5m where a model does not offer it."""
    tools: bool = True
    system: bool = True
    documents: bool = True
    history: bool = True
    """Earlier turns and the end of the request, in conversations and tool loops."""
    on_unsupported: OnUnsupported = "ignore"
    """What happens where no cache point may be sent: nothing, a warning once, or a `ConfigurationError`."""

    def __post_init__(self) -> None:
        if self.ttl not in _TTLS:
            raise ConfigurationError(f"ttl must be '5m' or '1h', not {self.ttl!r}")
        if self.on_unsupported not in _ON_UNSUPPORTED:
            raise ConfigurationError(
                f"on_unsupported must be 'ignore', 'warn' or 'raise', not {self.on_unsupported!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """Say how prices that the public lists leave open are read.

    `nova_writes`: AWS's price list carries Nova's cache writes at 0, no bill was seen that shows it; "input"
    prices them as input (the upper bound), "list" at 0. `per_request_usd`: a fee per routed call; one text
    of 2025 names $1 per 1,000 requests, three tests of 2026 saw none, so the default is 0.
    """

    nova_writes: Literal["input", "list"] = "input"
    per_request_usd: float = 0.0

    def __post_init__(self) -> None:
        if self.nova_writes not in _NOVA_WRITES:
            raise ConfigurationError(f"nova_writes must be 'input' or 'list', not {self.nova_writes!r}")
        if self.per_request_usd < 0:
            raise ConfigurationError(f"per_request_usd must not be negative, but is {self.per_request_usd}")
