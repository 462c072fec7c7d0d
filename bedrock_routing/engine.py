"""Plan one call before it goes out, account for it when it is back.

`Engine.begin` sees the request, recognises documents and chooses cache points; `Turn.finish` reads the reply
and writes the receipt. Nothing here touches the network or a clock. What a call leaves behind (warm prefixes,
cuts, refusals) goes into `CacheState`, which belongs to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bedrock_routing.arns import ModelRef, parse_invoked
from bedrock_routing.candidates import (
    Cuts,
    Documents,
    find_candidates,
    locate_documents,
    of_last_list,
    searchable,
)
from bedrock_routing.catalog import CacheRules, Common, Section, Ttl
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.placing import Placed, close_ttls, hand_placed, place, without_points
from bedrock_routing.planning import Boundary, Known, Plan, Skipped, choose_points, extend_with_cuts
from bedrock_routing.policy import CachePolicy, PricePolicy
from bedrock_routing.pricing import cost_of, ratios_of, uncached_cost_of
from bedrock_routing.receipt import Receipt
from bedrock_routing.request import Block, Digester, member, read_blocks
from bedrock_routing.rules import Refusal
from bedrock_routing.state import TTL_SECONDS, CacheState
from bedrock_routing.usage import Usage

__all__ = ["Engine", "Target", "Turn"]

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
class Engine:
    """Hold the settings and the memory with which calls are planned."""

    cache: CachePolicy | None
    """`None`: requests go out as they were written."""
    prices: PricePolicy
    state: CacheState
    documents: DocumentMemory

    def begin(self, params: Wire, target: Target, now: float) -> Turn:
        """Plan a request; the returned turn holds what goes out."""
        blocks = read_blocks(params)
        if self.cache is None:
            return self.as_written(params, target)
        rules = self._rules(target, now)
        if rules is None:
            return self._unplanned(params, blocks, target, now)
        digester = Digester(params)
        plan = self._plan(params, blocks, target, rules=rules, digester=digester, now=now)
        outgoing = place(params, blocks, plan)
        moved = outgoing.moved
        skipped = tuple(
            Skipped(path=moved.get(each.path, each.path), reason=each.reason) for each in plan.skipped
        )
        return Turn(
            engine=self,
            target=target,
            params=outgoing.params,
            placed=outgoing.placed,
            plan=replace(plan, skipped=skipped),
            cut={_name_of_text(blocks[index], digester): offsets for index, offsets in plan.cuts.items()},
        )

    def _rules(self, target: Target, now: float) -> CacheRules | None:
        """Return the common rules without the sections that this target has refused lately."""
        rules = target.common.cache
        if rules is None:
            return None
        refused = self.state.refused(target.arn, now)
        if not refused:
            return rules
        left = rules.sections - refused
        return replace(rules, sections=left) if left else None

    def as_written(self, params: Wire, target: Target, *skipped: Skipped) -> Turn:
        """Return a turn that sends the request as the caller wrote it."""
        own = tuple(block for block in read_blocks(params) if block.kind == "cachePoint")
        return Turn(engine=self, target=target, params=params, own=own, plan=Plan(cuts={}, skipped=skipped))

    def _unplanned(self, params: Wire, blocks: Sequence[Block], target: Target, now: float) -> Turn:
        """Place nothing; drop the caller's points only where it is known that they would fail the call."""
        why = target.common.why or "cache points were refused before"
        own = [block for block in blocks if block.kind == "cachePoint"]
        refuses = target.common.refuses or bool(self.state.refused(target.arn, now))
        if not own or not refuses:
            return self.as_written(params, target, Skipped(path="*", reason=why))
        plan = Plan(cuts={}, skipped=tuple(Skipped(path=block.path, reason=why) for block in own))
        return Turn(engine=self, target=target, params=without_points(params, blocks), plan=plan)

    def _plan(
        self,
        params: Wire,
        blocks: Sequence[Block],
        target: Target,
        *,
        rules: CacheRules,
        digester: Digester,
        now: float,
    ) -> Plan:
        policy = self.cache or CachePolicy()
        ttl: Ttl = policy.ttl if policy.ttl in rules.ttls else rules.ttls[0]
        this_turn = searchable(blocks)
        everywhere = locate_documents(
            blocks, this_turn, lambda block: self.documents.find(block.value, digester.text(block))
        )
        documents = of_last_list(blocks, everywhere)
        old_cuts = self._old_cuts(blocks, digester)
        known = Known(
            warm=lambda digest, lifetime: self.state.is_warm(target.cache_keys, digest, lifetime, now),
            seen=lambda digest: self.state.was_seen(digest, now, TTL_SECONDS[ttl]),
            ended=self.state.was_end,
        )
        heads = _document_heads(blocks, documents, digester, old_cuts)
        shared = next((count for count in range(len(heads), 0, -1) if known.seen(heads[count - 1])), 0)
        automatic = find_candidates(
            blocks,
            policy,
            documents,
            old_cuts=old_cuts,
            shared=shared,
            one_shot=_is_forced(params),
            ttl=ttl,
        )
        by_hand, dropped = hand_placed(blocks, rules)
        plan = choose_points(
            blocks,
            [*by_hand, *automatic],
            rules,
            digester=digester,
            old_cuts=old_cuts,
            ratios=ratios_of(target.models, ttl, self.prices),
            known=known,
        )
        points = close_ttls(plan.points)
        return replace(
            plan,
            points=points,
            skipped=(*dropped, *_shortened(blocks, points), *plan.skipped),
            passed=(*plan.passed, *heads),
            cuts={**{each.block: () for each in everywhere if each.span}, **plan.cuts},
        )

    def _old_cuts(self, blocks: Sequence[Block], digester: Digester) -> Cuts:
        """Cut each text where it was cut, or left whole, when it was new: otherwise its prefixes differ."""
        cuts: dict[int, tuple[int, ...]] = {}
        for index, block in enumerate(blocks):
            if block.kind == "text" and block.role != "assistant":
                offsets = self.state.splits_of(_name_of_text(block, digester))
                if offsets is not None:
                    cuts[index] = offsets
        return cuts


def _name_of_text(block: Block, digester: Digester) -> bytes:
    """Return what a text is remembered by; the same words in system and in a message are two texts."""
    return block.section.encode() + digester.text(block)


def _document_heads(
    blocks: Sequence[Block], documents: Documents, digester: Digester, cuts: Cuts
) -> tuple[bytes, ...]:
    """Return what tells the prompt up to each document apart; equal to an earlier call's if all before is."""
    if not documents:
        return ()
    ends: dict[int, list[int]] = {}
    for each in documents:
        ends.setdefault(each.block, []).extend([each.span.end] if each.span else [])
    heads: list[bytes] = []
    prefix = digester.seed
    for index in range(documents[-1].block + 1):
        block = blocks[index]
        if block.kind == "cachePoint":
            continue
        heads += digester.prefixes(prefix, block, ends[index]) if ends.get(index) else ()
        prefix = extend_with_cuts(digester, prefix, block, () if index in ends else cuts.get(index, ()))
        heads += (prefix,) if index in ends and not ends[index] else ()
    return tuple(heads)


def _shortened(blocks: Sequence[Block], points: Sequence[Boundary]) -> Iterator[Skipped]:
    """Say which of the caller's points get five minutes where they asked for an hour."""
    for point in points:
        own = blocks[point.block + 1] if point.by_hand else None
        if own is not None and member(own.value, "ttl") == "1h" and point.ttl == "5m":
            reason = "5m instead of 1h: a model does not offer 1h, or a 5m point stands before it"
            yield Skipped(path=own.path, reason=reason)


def _is_forced(params: Wire) -> bool:
    choice = member(params.get("toolConfig"), "toolChoice")
    return bool(choice) and "auto" not in choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Be one planned call: `params` goes out, `finish` reads what came back."""

    engine: Engine
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
            self.engine.state.mark_refused(self.target.arn, refusal.sections, now)
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
        prices, routed = self.engine.prices, self.target.is_router
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
        state = self.engine.state
        if usage is None:
            return
        for text, offsets in self.cut.items():
            state.mark_split(text, offsets)
        state.mark_seen(self.plan.passed, self.plan.end, now)
        if ref is None:
            return
        if self.target.is_router:
            state.mark_answered(self.target.arn, ref.raw)
        if usage.read + usage.write:
            for point in self.placed:
                boundary = point.boundary
                state.mark_warm(
                    _cache_key(ref), boundary.digest, boundary.ttl, tokens=boundary.tokens, now=now
                )
