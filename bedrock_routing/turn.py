"""One planned call: what goes out, and the account of what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bedrock_routing.arns import ModelRef, parse_invoked
from bedrock_routing.catalog import Common, Section
from bedrock_routing.placing import Placed, without_points
from bedrock_routing.planning import Plan, Skipped
from bedrock_routing.policy import PricePolicy
from bedrock_routing.pricing import cost_of, uncached_cost_of
from bedrock_routing.receipt import Receipt
from bedrock_routing.request import Block, member, read_blocks
from bedrock_routing.rules import Refusal
from bedrock_routing.state import TTL_SECONDS, CacheState
from bedrock_routing.usage import Usage

__all__ = ["Target", "Turn"]

Wire = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Be what a call is sent to: a model, or a router with the models that it may invoke."""

    ref: ModelRef
    """What goes out as `modelId`."""
    models: tuple[ModelRef, ...]
    """The models that may answer; empty while they are not known."""
    common: Common

    @property
    def arn(self) -> str:
        """Return the string that goes out as `modelId`."""
        return self.ref.raw

    @property
    def is_router(self) -> bool:
        """Tell whether a prompt router decides which model answers."""
        return self.ref.is_router

    @property
    def cache_keys(self) -> tuple[str, ...]:
        """Return the names under which the warm prefixes of these models are kept."""
        return tuple(_cache_key(model) for model in self.models)


def _cache_key(model: ModelRef) -> str:
    return model.model_id or model.name


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

    def finish(self, reply: Wire, now: float, *, complete: bool = True) -> Receipt:
        """Account for the reply and remember what it tells about the cache.

        `reply` has the members of a Converse reply (`usage`, `trace`, `metrics`, `stopReason`); those that a
        cut stream never delivered are missing, and stay unknown in the receipt.
        """
        invoked = self._invoked(reply)
        ref = self._model(invoked)
        usage = Usage.from_wire(member(reply, "usage"))
        self._remember(ref, usage, now)
        self.state.commit(now)
        prices, routed = self.prices, self.target.is_router
        return Receipt(
            router_arn=self.target.arn if routed else None,
            invoked_model_id=invoked,
            model=(ref.model_id or ref.name) if ref else None,
            usage=usage,
            points=self.points,
            skipped=self.plan.skipped,
            cost_usd=usage and cost_of(ref, usage, prices, routed=routed),
            uncached_cost_usd=usage and uncached_cost_of(ref, usage, prices, routed=routed),
            latency_ms=member(member(reply, "metrics"), "latencyMs"),
            stop_reason=member(reply, "stopReason"),
            complete=complete,
        )

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

    def _remember(self, ref: ModelRef | None, usage: Usage | None, now: float) -> None:
        state = self.state
        if usage is None:
            return
        for text, offsets in self.cut.items():
            state.mark_split(text, offsets)
        state.learn(self.plan.judged, self.plan.passed, now, TTL_SECONDS["5m"])
        if self.plan.kept is not None:
            state.count("order kept", kept=self.plan.kept)
        state.mark_seen(self.plan.passed, self.plan.end, now)
        if ref is None:
            return
        if self.target.is_router:
            state.mark_answered(self.target.arn, ref.raw)
            state.mark_share(self.target.arn, _cache_key(ref))
        if usage.read + usage.write:
            for point in self.placed:
                boundary = point.boundary
                state.mark_warm(_cache_key(ref), boundary.digest, boundary.ttl, now=now)
