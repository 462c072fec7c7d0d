"""What the user may set: cache points, what calls at once wait for, who is asked, how prices are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bedrock_routing.arns import parse
from bedrock_routing.catalog import Ttl
from bedrock_routing.errors import ConfigurationError

__all__ = ["AffinityKind", "AffinityPolicy", "CachePolicy", "PricePolicy"]

AffinityKind = Literal["router", "sticky", "cost"]
FanOut = Literal["first-event", "reply", "off"]
OnUnsupported = Literal["ignore", "warn", "raise"]

_AFFINITIES = ("router", "sticky", "cost")
_TTLS = ("auto", "5m", "1h")
_FAN_OUT = ("first-event", "reply", "off")
_ON_UNSUPPORTED = ("ignore", "warn", "raise")
_NOVA_WRITES = ("input", "list")


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePolicy:
    """Say which cache points may be placed automatically, and what calls at once do about them.

    A section that is switched off here may still carry points that the caller placed by hand.
    """

    ttl: Ttl | Literal["auto"] = "auto"
    """How long an entry lives after its last use.

    `auto`: five minutes, until calls over the same prefix are seen to come further apart; then an hour, where
    the model offers it and the dearer write is likely to pay. 1h falls back to 5m where it is not offered.
    """
    tools: bool = True
    system: bool = True
    documents: bool = True
    history: bool = True
    """Earlier turns and the end of the request, in conversations and tool loops."""
    fan_out: FanOut = "first-event"
    """What calls at once do about a prefix that is in no cache: one goes first, the others wait and read it.

    `first-event`: they wait for its first event. For that the one that goes first is sent as ConverseStream
    and its reply put together, unless it has a guardrail or streams are not permitted; a call that is alone
    is sent as what it is, some milliseconds later. `reply`: all are sent as what they are, so that the others
    wait for a whole answer. `off`: none waits, each of them writes.
    """
    fan_out_seconds: float = 10.0
    """The longest that a call waits for others, in all; then it goes on its own."""
    prime: bool = True
    """Whether models behind a router are asked directly, for one token, before calls that wait go on.

    Done only where it is expected to cost less than it saves: from three or four waiting calls on. Primes
    have receipts of their own. Where they fail or do not help, there are none for an hour.
    """
    on_unsupported: OnUnsupported = "ignore"
    """What happens where no cache point may be sent: nothing, a warning once, or a `ConfigurationError`."""

    def __post_init__(self) -> None:
        if self.ttl not in _TTLS:
            raise ConfigurationError(f"ttl must be 'auto', '5m' or '1h', not {self.ttl!r}")
        if self.fan_out not in _FAN_OUT:
            raise ConfigurationError(f"fan_out must be 'first-event', 'reply' or 'off', not {self.fan_out!r}")
        if not self.fan_out_seconds >= 0:
            raise ConfigurationError(f"fan_out_seconds must not be negative, but is {self.fan_out_seconds}")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityPolicy:
    """Say how much of the router's freedom is given up for a warm cache.

    `router`: none, every call asks the router. `sticky`: the model that answered last is asked as long as it
    holds the prefix. `cost`: the cheapest model that holds it is asked where that is expected to cost less
    than asking the router. Neither asks a model of less quality than the best that the router chose since the
    prefix is warm, nor changes the model between a tool call and its result. A call that is not the router's
    is not judged by it: how good the answers are stands in no number here. Raises `ConfigurationError` for
    impossible values.
    """

    kind: AffinityKind = "router"
    beta: float = 0.0
    """`cost`: the router is asked all the same while that adds at most this share to the cost of staying."""
    asking: float = 0.1
    """The share of a conversation's calls that ask the router in any case, whatever the budget says."""
    lock_tools: bool = False
    """`router`: the result of a tool call goes to the model that made it; the other kinds always do that."""
    quality: Mapping[str, float] = field(default_factory=dict[str, float])
    """How good models are, higher is better, by model ids in any form that `parse` reads.

    It counts where it names all models behind a router; else the price of input stands for quality.
    """

    def __post_init__(self) -> None:
        if self.kind not in _AFFINITIES:
            raise ConfigurationError(f"affinity must be one of {', '.join(_AFFINITIES)}, not {self.kind!r}")
        if not 0 <= self.asking <= 1:
            raise ConfigurationError(f"asking must be between 0 and 1, not {self.asking}")
        if not self.beta >= 0:
            raise ConfigurationError(f"beta must not be negative, but is {self.beta}")
        for model in self.quality:
            if parse(model).key is None:
                raise ConfigurationError(f"quality names {model!r}, which does not say which model it is")

    @classmethod
    def of(cls, affinity: AffinityPolicy | AffinityKind) -> AffinityPolicy:
        """Return the policy that is given, or the one of a kind that is given alone."""
        return affinity if isinstance(affinity, AffinityPolicy) else cls(kind=affinity)

    @property
    def locks_tools(self) -> bool:
        """Tell whether the result of a tool call goes to the model that made it."""
        return self.lock_tools or self.kind != "router"
