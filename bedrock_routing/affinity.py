"""Decide who is asked: the prompt router, or a model that still holds this conversation's prefix.

Each model has a cache of its own, so a router that changes its mind pays for the whole prefix again. A
managed router cannot be told which model to take: to stay, that model is asked directly, and what the router
would have chosen then is not known. The decision says so.

Pure: sizes, prices, warmth and counters are arguments, and no chance is involved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bedrock_routing.policy import AffinityKind, AffinityPolicy

__all__ = [
    "Conversation",
    "Decision",
    "Option",
    "PromptSize",
    "TokenPrices",
    "cost_on",
    "decide",
]

_NOT_KNOWN = "what the router would choose is not known"


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
    direct: bool = True
    """Whether it may be asked without the router."""


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
    chosen: frozenset[str] = frozenset()
    """The models that the router chose since something is warm; the best of them is the least quality."""
    pending_tool: bool = False
    """Whether this call carries the result of a tool call of the last answer."""
    calls: int = 0
    asked: int = 0
    """Those of the calls that asked the router."""
    staying: float = 0.0
    """What it would have cost, in USD, to stay with the cheapest warm model; anew when none was warm."""
    extra: float = 0.0
    """What asking the router cost more than that, call by call."""

    output: int | None = None
    """How many tokens its answers have, of late."""

    def after(
        self, decision: Decision, answered: str, *, pending_tool: bool = False, output: int | None = None
    ) -> Conversation:
        """Return what is known once a model has answered.

        `pending_tool` says that the answer calls a tool, `output` how many tokens it has. A model whose price
        is not known adds nothing.
        """
        asked = decision.model is None
        stay = decision.stay_usd
        paid = decision.costs.get(answered)
        before = replace(self, staying=0.0, extra=0.0, chosen=frozenset()) if decision.restarts else self
        more = max(paid - stay, 0.0) if asked and stay is not None and paid is not None else 0.0
        return Conversation(
            last=answered,
            chosen=before.chosen | {answered} if asked else before.chosen,
            pending_tool=pending_tool,
            calls=self.calls + 1,
            asked=self.asked + asked,
            staying=before.staying + (stay or 0.0),
            extra=before.extra + more,
            output=_smoothed(self.output, output),
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
    """Whether nothing was warm: no budget is left over or overdrawn from before, and no choice binds."""
    locked: bool = False
    """Whether the model is asked because it made a tool call whose result this is."""


def decide(
    policy: AffinityPolicy,
    options: Sequence[Option],
    size: PromptSize,
    conversation: Conversation,
    *,
    fee: float = 0.0,
) -> Decision:
    """Return who is asked next; `fee` is what the router costs for each request, in USD."""
    last = next((each for each in options if each.model == conversation.last), None)
    if policy.locks_tools and conversation.pending_tool and last is not None and last.direct:
        reason = f"tool lock: a tool call of this model waits for its result; {_NOT_KNOWN}"
        return Decision(model=last.model, decided_by=reason, locked=True)
    if policy.kind == "router":
        return _router("every call asks it")
    if last is None:
        return _router("none of its models has answered in this conversation yet", restarts=True)
    if not any(each.warm > 0 for each in options):
        return _router("no model is known to hold this prefix", restarts=True)
    good = _warm_and_good(options, conversation.chosen)
    if not good:
        return _router(
            "the models that hold this prefix may be worse than one that it chose, or not be asked directly"
        )
    weighed = _weigh(policy, options, good, last, _Call(size=size, fee=fee))
    if conversation.asked < policy.asking * (conversation.calls + 1):
        return weighed.ask(f"{policy.asking:.0%} of the calls ask it, so that its choice stays known")
    return weighed.keep("sticky") if policy.kind == "sticky" else _by_cost(policy, weighed, conversation)


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
class _Call:
    """Hold what a call costs by: its tokens, and the router's fee in USD."""

    size: PromptSize
    fee: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """Hold the model that would be asked directly, and what everything is expected to cost."""

    best: Option
    costs: Mapping[str, float]
    stay: float | None
    router: float | None

    def ask(self, reason: str) -> Decision:
        return self._decision(None, f"router: {reason}")

    def keep(self, kind: AffinityKind) -> Decision:
        """Return the decision for the warm model, with all that speaks for it."""
        reason = f"{kind}: it holds {self.best.warm:,} tokens of this prefix"
        if kind == "cost" and self.stay is not None and self.router is not None:
            reason += f", about ${self.stay:.6f} instead of ${self.router:.6f}"
        return self._decision(self.best.model, f"{reason}; {_NOT_KNOWN}")

    def _decision(self, model: str | None, reason: str) -> Decision:
        return Decision(
            model=model, decided_by=reason, stay_usd=self.stay, router_usd=self.router, costs=self.costs
        )


def _weigh(
    policy: AffinityPolicy,
    options: Sequence[Option],
    good: Sequence[Option],
    last: Option,
    call: _Call,
) -> _Weighed:
    known = {each.model: cost for each in options if (cost := cost_on(each, call.size)) is not None}
    best = last if last in good else good[0]
    if len(known) < len(options):
        return _Weighed(best=best, costs={}, stay=None, router=None)
    if policy.kind == "cost":
        best = min(good, key=lambda each: (known[each.model], each is not last))
    shares = _shares(options)
    return _Weighed(
        best=best,
        costs={model: cost + call.fee for model, cost in known.items()},
        stay=known[best.model],
        router=call.fee + sum(shares[model] * cost for model, cost in known.items()),
    )


def _by_cost(policy: AffinityPolicy, weighed: _Weighed, conversation: Conversation) -> Decision:
    if weighed.stay is None or weighed.router is None:
        return weighed.ask("a price is not known")
    if weighed.router <= weighed.stay:
        return weighed.ask("it is not expected to cost more than a model that holds this prefix")
    most = conversation.extra + max(weighed.costs.values()) - weighed.stay
    if policy.beta and most <= policy.beta * (conversation.staying + weighed.stay):
        return weighed.ask(f"within the budget of {policy.beta:.0%} above the cost of staying")
    return weighed.keep("cost")


def _router(reason: str, *, restarts: bool = False) -> Decision:
    return Decision(model=None, decided_by=f"router: {reason}", restarts=restarts)


def _warm_and_good(options: Sequence[Option], chosen: Collection[str]) -> list[Option]:
    """Return the models that hold the prefix and are no worse than any that the router chose, these first."""
    ranks = _ranks(options)
    bound = [ranks[each.model] for each in options if each.model in chosen]
    usable = [each for each in options if each.warm > 0 and each.direct]
    least = [rank for rank in bound if rank is not None]
    if not bound or len(least) < len(bound):  # nothing is known of it: only a sole choice is surely as good
        return [each for each in usable if each.model in chosen] if len(bound) == 1 else []
    good = [each for each in usable if (rank := ranks[each.model]) is not None and rank >= max(least)]
    return sorted(good, key=lambda each: each.model not in chosen)


def _ranks(options: Sequence[Option]) -> dict[str, float | None]:
    """Return how good each model is; `None` where nothing is known of it."""
    if all(each.quality is not None for each in options):
        return {each.model: each.quality for each in options}
    return {each.model: each.prices and each.prices.input for each in options}


def _smoothed(before: int | None, now: int | None) -> int | None:
    return before if now is None else now if before is None else (before + now) // 2


def _shares(options: Sequence[Option]) -> dict[str, float]:
    total = sum(each.share or 0.0 for each in options)
    if not total or any(each.share is None for each in options):
        return {each.model: 1 / len(options) for each in options}
    return {each.model: (each.share or 0.0) / total for each in options}
