"""One planned call: what goes out, and the account of what came back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from bedrock_routing.arns import ModelRef, parse_invoked
from bedrock_routing.catalog import Common, Section
from bedrock_routing.conversations import Choice
from bedrock_routing.diagnosis import Asked, Call, Mark
from bedrock_routing.history import History
from bedrock_routing.misses import Miss
from bedrock_routing.placing import Placed, without_points
from bedrock_routing.planning import Plan, Skipped
from bedrock_routing.policy import PricePolicy
from bedrock_routing.pricing import cost_of, uncached_cost_of
from bedrock_routing.receipt import PURPOSES, Purpose, Receipt
from bedrock_routing.request import Block, member, most_tokens, read_blocks
from bedrock_routing.rules import Refusal
from bedrock_routing.savings import lost_by, strongest_cost_of
from bedrock_routing.state import CacheState
from bedrock_routing.usage import Usage

__all__ = ["Target", "Turn"]

Wire = Mapping[str, Any]

logger = logging.getLogger("bedrock_routing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Be what a call is sent to: a model, or a router with the models that it may invoke."""

    ref: ModelRef
    """What goes out as `modelId`."""
    models: tuple[ModelRef, ...]
    """The models that may answer; empty while they are not known."""
    common: Common
    cache_keys: tuple[str, ...] = field(init=False)
    """The names under which the warm prefixes of these models are kept."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache_keys", tuple(model.cache_key for model in self.models))

    @property
    def arn(self) -> str:
        """Return the string that goes out as `modelId`."""
        return self.ref.raw

    @property
    def is_router(self) -> bool:
        """Tell whether a prompt router decides which model answers."""
        return self.ref.is_router


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Be one planned call: `params` goes out, `finish` reads what came back."""

    state: CacheState
    prices: PricePolicy
    target: Target
    params: Wire
    plan: Plan
    placed: tuple[Placed, ...] = ()
    own: tuple[Block, ...] = ()
    """The caller's cache points, where the request goes out as it was written."""
    cut: Mapping[bytes, tuple[int, ...]] = field(default_factory=dict[bytes, tuple[int, ...]])
    asked: Asked | None = None
    history: History | None = None
    """What earlier calls had cached, to explain what is missed now; without it nothing is explained."""
    choice: Choice | None = None
    """What was decided on who is asked, where that was not left to the router or the caller."""
    instead: Turn | None = None
    """The call as it goes to the router, should the model that was chosen not be there for direct calls."""
    purpose: Purpose | None = None
    """Why this call is made, where it is not the caller's: without caching there would be none."""

    @property
    def decided_by(self) -> str:
        """Return who chose the model, and why, as the receipt says it."""
        if self.choice is not None:
            return self.choice.decision.decided_by
        if self.purpose is not None:
            return PURPOSES[self.purpose]
        return "router: every call asks it" if self.target.is_router else "caller: the model was named"

    @property
    def points(self) -> tuple[str, ...]:
        """Return where cache points go out."""
        return tuple(point.path for point in self.placed) or tuple(block.path for block in self.own)

    @property
    def sections(self) -> tuple[Section, ...]:
        """Return the sections in which cache points go out."""
        return tuple(point.section for point in self.placed) or tuple(block.section for block in self.own)

    def without_refused(self, refusal: Refusal, now: float) -> Turn:
        """Return the same call without any cache point, and remember what the model does not take at all."""
        if refusal.lasting:
            self.state.mark_refused(self.target.arn, refusal.sections, now)
        reason = f"refused by the service: {refusal.message}"
        skipped = tuple(Skipped(path=path, reason=reason) for path in self.points)
        return replace(
            self,
            params=without_points(self.params, read_blocks(self.params)),
            placed=(),
            own=(),
            cut={},
            plan=replace(self.plan, points=(), skipped=(*self.plan.skipped, *skipped)),
        )

    def at_router(self, why: str) -> Turn | None:
        """Return the same call as the router gets it; `None` where it was not kept from the router."""
        if self.instead is None or self.choice is None:
            return None
        return replace(self.instead, choice=self.choice.at_router(why))

    def finish(self, reply: Wire, now: float, *, complete: bool = True) -> Receipt:
        """Account for the reply and remember what it tells about the cache.

        `reply` has the members of a Converse reply (`usage`, `trace`, `metrics`, `stopReason`); those that a
        cut stream never delivered are missing, and stay unknown in the receipt.
        """
        invoked = self._invoked(reply)
        ref = self._model(invoked)
        usage = Usage.from_wire(member(reply, "usage"))
        miss = self._explain(ref, usage)
        self._remember(ref, usage, now)
        self.state.commit(now)
        self._note_choice(ref, usage, reply)
        prices, routed, choice = self.prices, self.target.is_router, self.choice
        cost = usage and cost_of(ref, usage, prices, routed=routed)
        model = ref.cache_key if ref else None
        return Receipt(
            router_arn=choice.router if choice else self.target.arn if routed else None,
            invoked_model_id=invoked,
            model=model,
            decided_by=self.decided_by,
            router_choice=model if routed else None,
            usage=usage,
            points=self.points,
            skipped=self.plan.skipped,
            miss=miss,
            cost_usd=cost,
            uncached_cost_usd=usage and self._uncached(ref, usage),
            strongest_cost_usd=usage
            and strongest_cost_of(choice.models if choice else self.target.models, usage, prices)
            if routed or choice
            else cost,
            latency_ms=member(member(reply, "metrics"), "latencyMs"),
            stop_reason=member(reply, "stopReason"),
            complete=complete,
            purpose=self.purpose,
        )

    def _uncached(self, ref: ModelRef | None, usage: Usage) -> Decimal | None:
        if self.purpose is not None:
            return Decimal(0)
        return uncached_cost_of(ref, usage, self.prices, routed=self.target.is_router)

    def _invoked(self, reply: Wire) -> str | None:
        router = member(member(reply, "trace"), "promptRouter")
        said = member(router, "invokedModelId")
        return said if said or self.target.is_router else self.target.arn

    def _model(self, invoked: str | None) -> ModelRef | None:
        """Return who answered; behind an id that hides its model, the one model that it stands for."""
        ref = parse_invoked(invoked) if invoked else None
        hidden = ref is not None and ref.model_id is None
        only = self.target.models[0] if len(self.target.models) == 1 and not self.target.is_router else None
        return only if hidden and only is not None else ref

    def _explain(self, ref: ModelRef | None, usage: Usage | None) -> Miss | None:
        """Return what was missed, and remember what is cached now; an error in here costs only this."""
        asked, history, rules = self.asked, self.history, self.target.common.cache
        if asked is None or history is None or rules is None or ref is None or usage is None:
            return None
        model, points = ref.cache_key, self.plan.points
        try:
            if points and history.repeats(model, points[-1].digest, usage, asked.at):
                return None
            marks = [Mark(point.digest, point.tokens, point.ttl) for point in points]
            call = Call(asked, self.params, marks, model, usage)
            miss = history.explain(call, self.target.cache_keys, rules)
            history.note(call)
        except Exception:
            logger.warning("a miss could not be explained; the call is not affected", exc_info=True)
            return None
        return miss and replace(miss, lost_usd=lost_by(miss.tokens, ref, usage, self.prices))

    def _note_choice(self, ref: ModelRef | None, usage: Usage | None, reply: Wire) -> None:
        """Remember who answered in this conversation; an error in here costs only this."""
        if self.choice is None or ref is None:
            return
        output = usage.output if usage is not None else None
        try:
            self.choice.note(ref, reply, end=self.plan.end, placed=self.placed, output=output)
        except Exception:
            logger.warning("who answered could not be noted; the call is not affected", exc_info=True)

    def _remember(self, ref: ModelRef | None, usage: Usage | None, now: float) -> None:
        state = self.state
        if usage is None:
            return
        for text, offsets in self.cut.items():
            state.mark_split(text, offsets)
        state.note_gaps(self.plan.gaps, now)
        state.learn(self.plan.judged, self.plan.passed, now, self.plan.within)
        if self.plan.kept is not None:
            state.count("order kept", kept=self.plan.kept)
        state.mark_seen(self.plan.passed, self.plan.end, now)
        if ref is None:
            return
        if self.target.is_router:
            state.mark_answered(self.target.arn, ref.raw)
            state.mark_share(self.target.arn, ref.cache_key)
        if self.placed:
            longest = most_tokens(self.placed[-1].boundary.tokens)
            state.mark_cached(ref.cache_key, longest, cached=bool(usage.read + usage.write), now=now)
        if usage.read + usage.write:
            for point in self.placed:
                boundary = point.boundary
                state.mark_warm(ref.cache_key, boundary.digest, boundary.ttl, now=now)
