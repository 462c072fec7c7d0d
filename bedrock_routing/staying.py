"""Ask `affinity` who gets a call, and plan it for that model.

A call is first planned for the router. What the plan found out (where texts are cut, where points go) says
how much of the prompt each model holds; where a model is asked in the router's place, the call is planned
once more, by its rules and its warm prefixes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from bedrock_routing.affinity import Conversation, Decision, Option, PromptSize, TokenPrices, decide
from bedrock_routing.arns import ModelRef, parse
from bedrock_routing.boundaries import prefixes
from bedrock_routing.catalog import Ttl
from bedrock_routing.conversations import Caller, Choice, Conversations
from bedrock_routing.policy import AffinityPolicy, PricePolicy
from bedrock_routing.pricing import cost_of
from bedrock_routing.request import Digester, member, read_blocks, sequence
from bedrock_routing.state import TTL_SECONDS
from bedrock_routing.turn import Turn
from bedrock_routing.usage import Usage

__all__ = ["Staying"]

Wire = Mapping[str, Any]

_USUAL_OUTPUT = 300
"""Tokens of an answer, until one of the conversation was seen."""
_LEAST_PRICED = 1_000
"""Tokens for which prices are asked at least: some grow with the prompt."""


class _Prefix(NamedTuple):
    """Be the prompt up to the end of a block, or of a part of one."""

    digest: bytes
    tokens: int


class _Waiting(NamedTuple):
    """Be the tool calls whose results a request brings, and who made them, as far as that is known."""

    calls: tuple[str, ...]
    caller: Caller | None = None

    def noted_in(self, conversation: Conversation, keys: Collection[str]) -> Conversation:
        """Say who waits for a result: the caller, if it has one of these keys, or who answered before."""
        key = self.caller.model.cache_key if self.caller is not None else None
        last = key if key in keys else None
        waits = bool(self.calls) and (last is not None or conversation.pending_tool)
        return replace(conversation, last=last or conversation.last, pending_tool=waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staying:
    """Hold by what policy calls to a router are given to a model directly."""

    policy: AffinityPolicy
    known: Conversations

    def directed(self, routed: Turn, request: Wire, plan: Callable[[ModelRef], Turn], now: float) -> Turn:
        """Return the turn as it was planned for the router, or one for the model that is asked instead."""
        target, waiting = routed.target, _Waiting(())
        if self.policy.locks_tools:
            calls = tuple(_answered_calls(request))
            waiting = _Waiting(calls, self.known.caller(calls))
        models = target.models or _invoked_by(target.arn, waiting.caller)
        if target.models:
            choice = self._choice(routed, request, waiting, now)
        else:
            choice = self._of_unlisted(target.arn, models, now)
        routed = replace(routed, choice=choice)
        model = next((each for each in models if each.cache_key == choice.decision.model), None)
        return routed if model is None else replace(plan(model), choice=choice, instead=routed)

    def _of_unlisted(self, router: str, invoked: Sequence[ModelRef], now: float) -> Choice:
        """Return the choice where nobody lists a router's models, and so nothing can be weighed.

        What is left is the lock, on a model that made the waiting tool call because this router invoked it.
        """
        each = [(model.cache_key, self.known.may_ask(router, model.cache_key, now)) for model in invoked]
        options = [Option(model=key, prices=None, direct=direct) for key, direct in each]
        waits = Conversation(last=options[0].model if options else None, pending_tool=True)
        policy = AffinityPolicy(lock_tools=self.policy.locks_tools)
        decision = decide(policy, options, PromptSize(prefix=0, new=0, output=0), waits)
        return Choice(known=self.known, router=router, models=(), decision=decision)

    def _choice(self, routed: Turn, request: Wire, waiting: _Waiting, now: float) -> Choice:
        router = routed.target.arn
        walk = _walk(routed, request) if self.policy.kind != "router" else ()
        found, conversation = self.known.longest(router, (each.digest for each in reversed(walk)))
        if self.policy.locks_tools:
            conversation = waiting.noted_in(conversation, routed.target.cache_keys)
        return Choice(
            known=self.known,
            router=router,
            models=routed.target.models,
            decision=self._decide(routed, request, conversation, walk, now),
            found=found,
            end=walk[-1].digest if walk else None,
        )

    def _decide(
        self, routed: Turn, request: Wire, conversation: Conversation, walk: Sequence[_Prefix], now: float
    ) -> Decision:
        whole = walk[-1].tokens if walk else 0
        warm = _warm(routed, walk, now)
        last = routed.placed[-1].boundary if routed.placed else None
        cached = max(*warm, last.tokens if last else 0)
        size = PromptSize(prefix=cached, new=whole - cached, output=_output(request, conversation))
        options = self._options(routed, warm, whole, last.ttl if last else "5m", now)
        return decide(self.policy, options, size, conversation, fee=routed.prices.per_request_usd)

    def _options(
        self, routed: Turn, warm: Sequence[int], tokens: int, ttl: Ttl, now: float
    ) -> Sequence[Option]:
        target = routed.target
        ranks = {parse(name).key: rank for name, rank in self.policy.quality.items()}
        each = zip(
            target.cache_keys,
            target.models,
            warm,
            routed.state.shares(target.arn, target.cache_keys),
            strict=True,
        )
        return [
            Option(
                model=key,
                prices=_prices(model, tokens, ttl, routed.prices) if tokens else None,
                warm=held,
                quality=None if model.key is None else ranks.get(model.key),
                share=share,
                direct=self.known.may_ask(target.arn, key, now),
            )
            for key, model, held, share in each
        ]


def _invoked_by(router: str, caller: Caller | None) -> tuple[ModelRef, ...]:
    return (caller.model,) if caller is not None and caller.router == router else ()


def _walk(routed: Turn, request: Wire) -> Sequence[_Prefix]:
    """Return every prefix of the prompt, cut as it goes out, the shortest first."""
    found = prefixes(read_blocks(request), Digester(request), routed.plan.cuts)
    return [_Prefix(digest, tokens) for _, _, tokens, digest in found]


def _warm(routed: Turn, walk: Sequence[_Prefix], now: float) -> list[int]:
    """Return how many tokens of the prompt each model holds."""
    keys = routed.target.cache_keys
    held = [0] * len(keys)
    for prefix in reversed(walk):
        for ttl in TTL_SECONDS:
            for number, warm in enumerate(routed.state.warm(keys, prefix.digest, ttl, now)):
                if warm and not held[number]:
                    held[number] = prefix.tokens
        if all(held):
            break
    return held


def _output(request: Wire, conversation: Conversation) -> int:
    """Return how many tokens the answer will have: as many as those before it, and no more than it may."""
    usual = _USUAL_OUTPUT if conversation.output is None else conversation.output
    most = member(request.get("inferenceConfig"), "maxTokens")
    return min(usual, most) if isinstance(most, int) else usual


def _answered_calls(request: Wire) -> Iterator[str]:
    """Yield the ids of the tool calls whose results the last message brings."""
    last = sequence(request.get("messages"))[-1:]
    for block in sequence(member(last[0], "content")) if last else ():
        call = member(member(block, "toolResult"), "toolUseId")
        if isinstance(call, str):
            yield call


def _prices(model: ModelRef, tokens: int, ttl: Ttl, policy: PricePolicy) -> TokenPrices | None:
    """Return what a token costs in a prompt of this size; `None` where that is not known."""
    size = max(tokens, _LEAST_PRICED)
    written = Usage(fresh=0, write_1h=size) if ttl == "1h" else Usage(fresh=0, write_5m=size)
    usages = (Usage(fresh=size), Usage(fresh=0, read=size), written, Usage(fresh=size, output=size))
    costs = [float(cost) for usage in usages if (cost := cost_of(model, usage, policy)) is not None]
    if len(costs) < len(usages):
        return None
    fresh, read, write, both = (cost / size for cost in costs)
    return TokenPrices(input=fresh, read=read, write=write, output=both - fresh)
