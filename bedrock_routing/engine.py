"""Plan one call before it goes out: see the request, recognise documents, choose cache points.

Nothing here touches the network or a clock. What earlier calls left behind (warm prefixes, cuts, refusals) is
read from `CacheState`, which belongs to the caller; the turn that comes out writes to it when the call is
back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bedrock_routing.candidates import find_candidates, kind_of_turn
from bedrock_routing.catalog import CacheRules, Ttl
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.history import History
from bedrock_routing.places import (
    CHANCE,
    GAPS,
    OPENINGS,
    Cuts,
    Documents,
    locate_documents,
    of_last_list,
    searchable,
)
from bedrock_routing.placing import close_ttls, hand_placed, place, without_points
from bedrock_routing.planning import Boundary, Known, Plan, Skipped, choose_points
from bedrock_routing.policy import CachePolicy, PricePolicy
from bedrock_routing.pricing import ratios_of
from bedrock_routing.recall import recall
from bedrock_routing.request import Block, Digester, member, read_blocks
from bedrock_routing.rules import why_not_after
from bedrock_routing.state import TTL_SECONDS, CacheState, Case
from bedrock_routing.turn import Target, Turn

__all__ = ["Engine"]

Wire = Mapping[str, Any]

_START = b"start "


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Hold the settings and the memory with which calls are planned."""

    cache: CachePolicy | None
    """`None`: requests go out as they were written."""
    prices: PricePolicy
    state: CacheState
    documents: DocumentMemory
    history: History = field(default_factory=History)
    """What earlier calls had cached; it only explains what is missed."""

    def begin(
        self, params: Wire, target: Target, now: float, *, shared: tuple[str, int | None] | None = None
    ) -> Turn:
        """Plan a request; the returned turn holds what goes out.

        `shared`: the path of the block, and the characters of its text (`None`: all), up to which other calls
        are known to ask the same now.
        """
        blocks = read_blocks(params)
        if self.cache is None:
            return self.as_written(params, target)
        rules = self._rules(target, now)
        if rules is None:
            return self._unplanned(params, blocks, target, now)
        self.state.refresh(now)
        digester = Digester(params)
        plan = self._plan(params, blocks, target, rules=rules, digester=digester, now=now, shared=shared)
        outgoing = place(params, blocks, plan)
        moved = outgoing.moved
        skipped = tuple(
            Skipped(path=moved.get(each.path, each.path), reason=each.reason) for each in plan.skipped
        )
        return Turn(
            state=self.state,
            prices=self.prices,
            target=target,
            params=outgoing.params,
            placed=outgoing.placed,
            plan=replace(plan, skipped=skipped),
            cut=self._splits(blocks, plan.cuts, digester),
            asked=self.history.asked(self.documents, now),
            history=self.history,
        )

    def _rules(self, target: Target, now: float) -> CacheRules | None:
        """Return the common rules without what this target has refused lately, or silently ignored."""
        rules = target.common.cache
        if rules is None:
            return None
        least = self.state.minimum(target.cache_keys, now)
        if least > rules.min_tokens:
            rules = replace(rules, min_tokens=least)
        refused = self.state.refused(target.arn, now)
        if not refused:
            return rules
        left = rules.sections - refused
        return replace(rules, sections=left) if left else None

    def as_written(self, params: Wire, target: Target, *skipped: Skipped) -> Turn:
        """Return a turn that sends the request as the caller wrote it."""
        own = tuple(block for block in read_blocks(params) if block.kind == "cachePoint")
        return self._turn(target, params, Plan(cuts={}, skipped=skipped), own=own)

    def _turn(self, target: Target, params: Wire, plan: Plan, own: tuple[Block, ...] = ()) -> Turn:
        return Turn(state=self.state, prices=self.prices, target=target, params=params, plan=plan, own=own)

    def _unplanned(self, params: Wire, blocks: Sequence[Block], target: Target, now: float) -> Turn:
        """Place nothing; drop the caller's points only where it is known that they would fail the call."""
        why = target.common.why or "cache points were refused before"
        own = [block for block in blocks if block.kind == "cachePoint"]
        refuses = target.common.refuses or bool(self.state.refused(target.arn, now))
        if not own or not refuses:
            return self.as_written(params, target, Skipped(path="*", reason=why))
        plan = Plan(cuts={}, skipped=tuple(Skipped(path=block.path, reason=why) for block in own))
        return self._turn(target, without_points(params, blocks), plan)

    def _plan(
        self,
        params: Wire,
        blocks: Sequence[Block],
        target: Target,
        *,
        rules: CacheRules,
        digester: Digester,
        now: float,
        shared: tuple[str, int | None] | None = None,
    ) -> Plan:
        policy = self.cache or CachePolicy()
        lifetimes = self._lifetimes(policy, rules)
        within = max(TTL_SECONDS[ttl] for ttl in lifetimes)
        this_turn = searchable(blocks)
        everywhere = locate_documents(
            blocks, this_turn, lambda block: self.documents.find(block.value, digester.text(block))
        )
        documents = of_last_list(blocks, everywhere)
        known_cuts = self._old_cuts(blocks, digester)
        begun = self._begun(blocks, everywhere, known_cuts, digester)
        old_cuts = {**known_cuts, **begun}
        known = Known(
            warm=lambda digest, lifetime: self.state.warm(target.cache_keys, digest, lifetime, now),
            seen=lambda digest: self.state.was_seen(digest, now, within),
            ended=self.state.was_end,
            shares=self.state.shares(target.arn, target.cache_keys),
            lifetimes=lifetimes,
            late=lambda gaps: self.state.chance(gaps, 0.0),
            shared=_place_of(shared, blocks),
        )
        recalled = recall(
            blocks,
            documents,
            digester,
            cuts=old_cuts,
            memory=self.documents,
            state=self.state,
            now=now,
            within=within,
        )
        turn = kind_of_turn(blocks, documents, one_shot=_is_forced(params))
        automatic = find_candidates(
            blocks,
            policy,
            documents,
            old_cuts=old_cuts,
            begun=begun,
            shared=recalled.shared,
            turn=turn,
            may_follow=lambda block: why_not_after(block, rules, tokens=rules.min_tokens) is None,
            chance={
                **CHANCE,
                **{kind: self.state.chance(kind, CHANCE[kind]) for kind in ("system", *OPENINGS)},
                "leading documents": recalled.leading,
                "documents": recalled.again,
            },
        )
        by_hand, dropped = hand_placed(blocks, rules)
        plan = choose_points(
            blocks,
            [*by_hand, *automatic],
            rules,
            digester=digester,
            old_cuts=old_cuts,
            ratios={ttl: ratios_of(target.models, ttl, self.prices) for ttl in TTL_SECONDS},
            known=known,
        )
        points = close_ttls(plan.points)
        return replace(
            plan,
            points=points,
            skipped=(*dropped, *_shortened(blocks, points), *_other_ttl(policy, rules), *plan.skipped),
            within=within,
            judged=(*plan.judged, *recalled.judged(plan.digests), *_opening(turn, plan)),
            passed=(*plan.passed, *recalled.passed()),
            kept=recalled.kept,
            cuts={**dict.fromkeys(_kept_whole(everywhere, points), ()), **plan.cuts},
        )

    def _lifetimes(self, policy: CachePolicy, rules: CacheRules) -> tuple[Ttl, ...]:
        """Return the lifetimes to choose from, the longest first."""
        if policy.ttl != "auto":
            return (policy.ttl if policy.ttl in rules.ttls else rules.ttls[0],)
        if {"5m", "1h"} <= set(rules.ttls):
            return ("1h", "5m") if any(self.state.chance(gaps, 0.0) for gaps in GAPS) else ("5m",)
        return rules.ttls[:1]

    def _old_cuts(self, blocks: Sequence[Block], digester: Digester) -> Cuts:
        """Cut each text where it was cut, or left whole, when it was new: otherwise its prefixes differ."""
        cuts: dict[int, tuple[int, ...]] = {}
        for index, block in enumerate(blocks):
            if block.kind == "text" and block.role != "assistant":
                offsets = self.state.splits_of(_name_of_text(block, digester))
                if offsets is not None:
                    cuts[index] = offsets
        return cuts

    def _begun(self, blocks: Sequence[Block], documents: Documents, known: Cuts, digester: Digester) -> Cuts:
        """Cut a new text as far as an older one that began with the same documents was cut."""
        cuts: dict[int, tuple[int, ...]] = {}
        for index in {each.block for each in documents if each.span} - known.keys():
            names = self._names_of_starts(blocks[index], digester)
            # A piece of nothing but white space, or of nothing, would fail the call.
            end = len(blocks[index].value.rstrip())
            found = (
                tuple(each for each in self.state.splits_of(name) or () if each < end)
                for name in reversed(names.values())
            )
            if offsets := next(filter(None, found), None):
                cuts[index] = offsets
        return cuts

    def _names_of_starts(self, block: Block, digester: Digester) -> dict[int, bytes]:
        """Return what a text up to the end of each of its documents is remembered by, by offset."""
        text = digester.text(block)
        spans, heads = self.documents.find(block.value, text), self.documents.heads(block.value, text)
        return {
            span.end: _START + block.section.encode() + head for span, head in zip(spans, heads, strict=True)
        }

    def _splits(
        self, blocks: Sequence[Block], cuts: Cuts, digester: Digester
    ) -> dict[bytes, tuple[int, ...]]:
        """Return the cuts by the names under which texts, and beginnings of texts, are remembered."""
        named: dict[bytes, tuple[int, ...]] = {}
        for index, offsets in cuts.items():
            name = _name_of_text(blocks[index], digester)
            if self.state.splits_of(name) == offsets:
                continue
            named[name] = offsets
            starts = self._names_of_starts(blocks[index], digester) if offsets else {}
            for number, offset in enumerate(offsets, start=1):
                if offset in starts:
                    named[starts[offset]] = offsets[:number]
        return named


def _name_of_text(block: Block, digester: Digester) -> bytes:
    """Return what a text is remembered by; the same words in system and in a message are two texts."""
    return block.section.encode() + digester.text(block)


def _kept_whole(documents: Documents, points: Sequence[Boundary]) -> Iterator[int]:
    """Yield the texts that could have been cut and were not, though a cached prefix now holds them whole."""
    last = max((point.block for point in points), default=-1)
    return (each.block for each in documents if each.span and each.block <= last)


def _opening(turn: str, plan: Plan) -> Iterator[Case]:
    """Return the end of a first request, which a conversation or a loop comes back to."""
    if turn in OPENINGS and plan.end in plan.passed:
        yield turn, (plan.end,)


def _other_ttl(policy: CachePolicy, rules: CacheRules) -> Iterator[Skipped]:
    if policy.ttl != "auto" and policy.ttl not in rules.ttls:
        reason = f"{rules.ttls[0]} instead of {policy.ttl}: a model does not offer {policy.ttl}"
        yield Skipped(path="*", reason=reason)


def _shortened(blocks: Sequence[Block], points: Sequence[Boundary]) -> Iterator[Skipped]:
    """Say which of the caller's points get five minutes where they asked for an hour."""
    for point in points:
        own = blocks[point.block + 1] if point.by_hand else None
        if own is not None and member(own.value, "ttl") == "1h" and point.ttl == "5m":
            reason = "5m instead of 1h: a model does not offer 1h, or a 5m point stands before it"
            yield Skipped(path=own.path, reason=reason)


def _place_of(shared: tuple[str, int | None] | None, blocks: Sequence[Block]) -> tuple[int, float]:
    if shared is None:
        return -1, 0.0
    path, end = shared
    index = next((index for index, block in enumerate(blocks) if block.path == path), -1)
    return index, math.inf if end is None else end


def _is_forced(params: Wire) -> bool:
    choice = member(params.get("toolConfig"), "toolChoice")
    return bool(choice) and "auto" not in choice
