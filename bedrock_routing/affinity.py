"""Decide who is asked: the prompt router, or a model that still holds this conversation's prefix.

Each model has a cache of its own, so a router that changes its mind pays for the whole prefix again. A
managed router cannot be told which model to take: to stay, that model is asked directly, and what the router
would have chosen then is not known. The decision says so.

Pure: sizes, prices, warmth and counters are arguments, and no chance is involved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bedrock_routing.errors import ConfigurationError

__all__ = [
    "AffinityPolicy",
    "Conversation",
    "Decision",
    "Option",
    "PromptSize",
    "TokenPrices",
    "cost_on",
    "decide",
]

_KINDS = ("router", "sticky", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityPolicy:
    """Say how much of the router's freedom is given up for a warm cache.

    `router`: none, every call asks the router. `sticky`: the model that answered last is asked as long as it
    holds the prefix. `cost`: the cheapest model that holds it is asked where that is expected to cost less
    than asking the router. Neither stays with a model of less quality than the one the router chose last, nor
    changes the model between a tool call and its result. Raises `ConfigurationError` for impossible values.
    """

    kind: Literal["router", "sticky", "cost"] = "router"
    beta: float = 0.0
    """`cost`: the router is asked all the same while that adds at most this share to the cost of staying."""
    asking: float = 0.1
    """The share of a conversation's calls that ask the router in any case, whatever the budget says."""
    fee: float = 0.0
    """What the router costs for each request, in USD."""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ConfigurationError(f"affinity must be one of {', '.join(_KINDS)}, not {self.kind!r}")
        if not 0 <= self.asking <= 1:
            raise ConfigurationError(f"asking must be between 0 and 1, not {self.asking}")
        if self.beta < 0 or self.fee < 0:
            raise ConfigurationError("beta and fee must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """Hold what one token costs, in USD."""

    input: float
    read: float
    write: float
    output: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Be a model that the router may invoke."""

    model: str
    prices: TokenPrices | None
    """`None` where they are not known."""
    warm: int = 0
    """Tokens of this prompt's prefix that the service is known to hold for this model."""
    quality: float | None = None
    """Its rank, higher is better; unless all have one, the input price stands for it."""
    share: float | None = None
    """How often the router chose it; unless all have one, each is taken to be equally likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSize:
    """Hold the estimated tokens of a call."""

    prefix: int
    """Up to the last cache point: read where it is warm, else written."""
    new: int
    """Behind it: neither read nor written."""
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Hold what is known of the calls before this one."""

    last: str | None = None
    """The model that answered last."""
    chosen: str | None = None
    """The model that the router chose when it was asked last."""
    pending_tool: bool = False
    """Whether this call carries the result of a tool call of the last answer."""
    calls: int = 0
    asked: int = 0
    """Those of the calls that asked the router."""
    staying: float = 0.0
    """What it would have cost, in USD, to stay with the cheapest warm model; anew when none was warm."""
    extra: float = 0.0
    """What asking the router cost more than that, call by call."""

    def after(self, decision: Decision, answered: str, *, pending_tool: bool = False) -> Conversation:
        """Return what is known once a model has answered.

        `pending_tool` says that the answer calls a tool. A model whose price is not known adds nothing.
        """
        asked = decision.model is None
        stay = decision.stay_usd
        paid = decision.costs.get(answered)
        before = replace(self, staying=0.0, extra=0.0) if decision.restarts else self
        more = max(paid - stay, 0.0) if asked and stay is not None and paid is not None else 0.0
        return Conversation(
            last=answered,
            chosen=answered if asked else self.chosen,
            pending_tool=pending_tool,
            calls=self.calls + 1,
            asked=self.asked + asked,
            staying=before.staying + (stay or 0.0),
            extra=before.extra + more,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Say who is asked, and why."""

    model: str | None
    """`None`: the router."""
    decided_by: str
    """The policy and its reason, in words for the receipt."""
    stay_usd: float | None = None
    """What the best warm model is expected to cost; `None` where nothing is warm or a price is not known."""
    router_usd: float | None = None
    """What the router is expected to cost."""
    costs: Mapping[str, float] = field(default_factory=dict[str, float])
    """What each model would cost if the router chose it, its fee included, where all prices are known."""
    restarts: bool = False
    """Whether nothing was warm, so that no budget is left over or overdrawn from before."""


def decide(
    policy: AffinityPolicy, options: Sequence[Option], size: PromptSize, conversation: Conversation
) -> Decision:
    """Return who is asked next."""
    if policy.kind == "router":
        return _router("every call asks it")
    by_name = {each.model: each for each in options}
    last = by_name.get(conversation.last or "")
    if last is None:
        return _router("none of its models has answered in this conversation yet", restarts=True)
    if conversation.pending_tool:
        return Decision(model=last.model, decided_by=f"{policy.kind}: a tool call of this model waits")
    if not any(each.warm > 0 for each in options):
        return _router("no model is known to hold this prefix", restarts=True)
    good = _warm_and_good(options, by_name.get(conversation.chosen or ""))
    if not good:
        return _router("the models that hold this prefix may be worse than the one that it chose")
    weighed = _weigh(policy, options, good, last, size)
    if conversation.asked < policy.asking * (conversation.calls + 1):
        return weighed.ask(f"{policy.asking:.0%} of the calls ask it, so that its choice stays known")
    return _sticky(weighed) if policy.kind == "sticky" else _by_cost(policy, weighed, conversation)


def cost_on(option: Option, size: PromptSize) -> float | None:
    """Return what a call is expected to cost on a model in USD, or `None` where its price is not known."""
    prices = option.prices
    if prices is None:
        return None
    read = min(option.warm, size.prefix)
    return (
        prices.read * read
        + prices.write * (size.prefix - read)
        + prices.input * size.new
        + prices.output * size.output
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """Hold the models that may be asked directly, the best first, and what everything is expected to cost."""

    last: Option
    good: Sequence[Option]
    costs: Mapping[str, float]
    stay: float | None
    router: float | None

    def ask(self, reason: str) -> Decision:
        return self._decision(None, f"router: {reason}")

    def keep(self, kind: str, option: Option) -> Decision:
        """Return the decision for a warm model, with all that speaks for it."""
        reason = f"{kind}: it holds {option.warm:,} tokens of this prefix"
        if kind == "cost" and self.stay is not None and self.router is not None:
            reason += f", about ${self.stay:.6f} instead of ${self.router:.6f}"
        return self._decision(option.model, f"{reason}; what the router would choose is not known")

    def _decision(self, model: str | None, reason: str) -> Decision:
        return Decision(
            model=model, decided_by=reason, stay_usd=self.stay, router_usd=self.router, costs=self.costs
        )


def _weigh(
    policy: AffinityPolicy, options: Sequence[Option], good: Sequence[Option], last: Option, size: PromptSize
) -> _Weighed:
    known = {each.model: cost for each in options if (cost := cost_on(each, size)) is not None}
    if len(known) < len(options):
        return _Weighed(last=last, good=good, costs={}, stay=None, router=None)
    shares = _shares(options)
    return _Weighed(
        last=last,
        good=sorted(good, key=lambda each: (known[each.model], each is not last)),
        costs={model: cost + policy.fee for model, cost in known.items()},
        stay=known[last.model] if policy.kind == "sticky" else min(known[each.model] for each in good),
        router=policy.fee + sum(shares[model] * cost for model, cost in known.items()),
    )


def _sticky(weighed: _Weighed) -> Decision:
    if weighed.last not in weighed.good:
        return weighed.ask("the model that answered last is cold, or may be worse than the one that it chose")
    return weighed.keep("sticky", weighed.last)


def _by_cost(policy: AffinityPolicy, weighed: _Weighed, conversation: Conversation) -> Decision:
    if weighed.stay is None or weighed.router is None:
        return weighed.ask("a price is not known")
    if weighed.router <= weighed.stay:
        return weighed.ask("it is not expected to cost more than a model that holds this prefix")
    most = conversation.extra + max(weighed.costs.values()) - weighed.stay
    if policy.beta and most <= policy.beta * (conversation.staying + weighed.stay):
        return weighed.ask(f"within the budget of {policy.beta:.0%} above the cost of staying")
    return weighed.keep("cost", weighed.good[0])


def _router(reason: str, *, restarts: bool = False) -> Decision:
    return Decision(model=None, decided_by=f"router: {reason}", restarts=restarts)


def _warm_and_good(options: Sequence[Option], chosen: Option | None) -> list[Option]:
    """Return the models that hold the prefix and are no worse than the one the router chose."""
    if chosen is None:
        return []
    ranks = _ranks(options)
    least = ranks[chosen.model]
    if least is None:
        return [chosen] if chosen.warm > 0 else []
    found = [(each, ranks[each.model]) for each in options if each.warm > 0]
    return [each for each, rank in found if each is chosen or (rank is not None and rank >= least)]


def _ranks(options: Sequence[Option]) -> dict[str, float | None]:
    """Return how good each model is; `None` where nothing is known of it."""
    if all(each.quality is not None for each in options):
        return {each.model: each.quality for each in options}
    return {each.model: each.prices and each.prices.input for each in options}


def _shares(options: Sequence[Option]) -> dict[str, float]:
    total = sum(each.share or 0.0 for each in options)
    if not total or any(each.share is None for each in options):
        return {each.model: 1 / len(options) for each in options}
    return {each.model: (each.share or 0.0) / total for each in options}
