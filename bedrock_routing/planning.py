"""Choose which legal positions are worth a cache point.

A boundary of `n` fresh tokens is worth `p*(1 - read)*n - (1 - p)*(write - 1)*n` in units of the input price,
where `p` is the chance that the same prefix is asked again within its lifetime. `p` starts from a prior per
kind of boundary; a prefix known to be warm keeps its point and costs no write. Whatever follows a boundary is
asked again at most as often as the boundary itself.

Every model has a cache of its own. Behind a router each counts with its share of the answers: for a model
that is warm the prefix is read now; for one that is not it is written, and read only if that very model is
asked again, by the next call or by one after it.

Pure: what is warm or seen is asked of functions that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bedrock_routing.boundaries import Boundary, Known, Skipped, extend_with_cuts, measure
from bedrock_routing.catalog import CacheRules, Ttl
from bedrock_routing.places import Candidate, Cuts, Place, gaps_of
from bedrock_routing.request import Block, Digester
from bedrock_routing.state import TTL_SECONDS, Case

__all__ = ["Boundary", "Plan", "Ratios", "Skipped", "choose_points", "extend_with_cuts"]

_MORE = 0.6
"""The chance of yet another call where a prefix has come again: what comes twice mostly comes often."""
_LEAST_CHANCE = 0.15
"""Below this nothing is cached even where writing costs no more than input: it would only fill the cache."""

_LEAST_AFTER = 50
"""Tokens behind the documents that are worth a point of their own; fewer are part of the next boundary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Give the prices of a cached token in units of the input price; of several models the worst."""

    read: float = 0.1
    write: float = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Hold the chosen points in prompt order, the texts to cut, and what was left out."""

    points: tuple[Boundary, ...] = ()
    cuts: Cuts
    skipped: tuple[Skipped, ...] = ()
    within: float = TTL_SECONDS["5m"]
    """How many seconds a prefix that is asked again may have been away."""
    judged: tuple[Case, ...] = ()
    """The prefixes whose return is learned from."""
    digests: Mapping[Place, bytes] = field(default_factory=dict[Place, bytes])
    """The digest of the prefix up to each place where a point is legal."""
    passed: tuple[bytes, ...] = ()
    """The digests at all legal boundaries; one that comes again is likely to come once more."""
    gaps: tuple[tuple[str, bytes], ...] = ()
    """Group and digest of the boundaries, the longest prefix first, to see how far apart calls come."""
    kept: bool | None = None
    """Whether documents that came back stand at the head again; `None` where that says nothing."""
    end: bytes = b""
    """The digest of the whole request, by which the next turn of a conversation is recognised."""


def choose_points(
    blocks: Sequence[Block],
    candidates: Sequence[Candidate],
    rules: CacheRules,
    *,
    digester: Digester,
    old_cuts: Cuts,
    ratios: Mapping[Ttl, Ratios],
    known: Known,
) -> Plan:
    """Return the plan with the best expected value.

    A text that holds documents can be cut at several places, and every cut changes the prefixes behind it.
    All are tried, then only those where a point went, until each cut has its point; and none at all, since
    the text may be warm as it is.
    """

    def planned(usable: Sequence[Candidate]) -> tuple[float, Plan]:
        cuts = _with_cuts(old_cuts, usable)
        boundaries, skipped, end = measure(blocks, usable, rules, digester=digester, cuts=cuts, known=known)
        boundaries = _not_less_likely_than_what_follows(boundaries)
        value, points = _best(boundaries, rules.max_points, ratios, known.shares)
        reasons = (*skipped, *_explain(blocks, boundaries, points))
        digests = {(each.block, each.offset): each.digest for each in boundaries}
        judged = tuple(
            (each.kind, (each.digest,))
            for each in boundaries
            if each.kind == "system" and each.offset is None
        )
        gaps = tuple((gaps_of(each.kind), each.digest) for each in reversed(boundaries))
        return value, Plan(
            points=points,
            cuts=cuts,
            skipped=reasons,
            judged=judged,
            digests=digests,
            passed=tuple(digests.values()),
            gaps=gaps,
            end=end,
        )

    whole = [each for each in candidates if not _is_new_cut(each, old_cuts)]
    plans = [planned(whole)]
    usable = list(candidates)
    while len(usable) > len(whole):
        plan = planned(usable)
        used = {(point.block, point.offset) for point in plan[1].points}
        left = [
            each for each in usable if not _is_new_cut(each, old_cuts) or (each.block, each.offset) in used
        ]
        if len(left) == len(usable):
            plans.append(plan)
            break
        usable = left
    return max(reversed(plans), key=lambda pair: round(pair[0], 6))[1]


def _is_new_cut(candidate: Candidate, old: Cuts) -> bool:
    return candidate.offset is not None and candidate.offset not in old.get(candidate.block, ())


def _with_cuts(old: Cuts, usable: Sequence[Candidate]) -> Cuts:
    cuts = {block: set(offsets) for block, offsets in old.items()}
    for each in usable:
        if each.offset is not None:
            cuts.setdefault(each.block, set()).add(each.offset)
    return {block: tuple(sorted(offsets)) for block, offsets in cuts.items()}


def _best(
    boundaries: Sequence[Boundary], most: int, ratios: Mapping[Ttl, Ratios], shares: Sequence[float]
) -> tuple[float, tuple[Boundary, ...]]:
    """Return the selection of at most `most` boundaries with the highest expected value.

    The value of a boundary depends on the chosen one before it, so the best selection is kept per number of
    points and last point. The caller's own points are in every selection.
    """
    states: dict[tuple[int, int], tuple[float, tuple[Boundary, ...]]] = {(0, -1): (0.0, ())}
    for place, boundary in enumerate(boundaries):
        if boundary.chance < _LEAST_CHANCE and not boundary.by_hand:
            continue
        worth = _worth_of_a_token(boundary, ratios[boundary.ttl], shares)
        added: dict[tuple[int, int], tuple[float, tuple[Boundary, ...]]] = {}
        for (count, _), (value, points) in states.items():
            if count == most:
                continue
            before = points[-1].tokens if points else 0
            if boundary.kind == "after documents" and boundary.tokens - before < _LEAST_AFTER:
                continue
            total = value + worth * (boundary.tokens - before)
            if (count + 1, place) not in added or total > added[count + 1, place][0]:
                added[count + 1, place] = (total, (*points, boundary))
        states = added if boundary.by_hand and added else {**states, **added}
    return max(states.values(), key=lambda state: (round(state[0], 6), len(state[1])))


def _not_less_likely_than_what_follows(boundaries: Sequence[Boundary]) -> list[Boundary]:
    """Raise each chance to that of the likeliest boundary behind it: whoever asks that one asks this one."""
    raised: list[Boundary] = []
    for each in reversed(boundaries):
        chance = max(each.chance, raised[-1].chance if raised else 0.0)
        raised.append(each if chance == each.chance else replace(each, chance=chance))
    return raised[::-1]


def _worth_of_a_token(boundary: Boundary, ratios: Ratios, shares: Sequence[float]) -> float:
    """Return what a point here is expected to save, per token that no point before it covers."""
    saved, chance = 1 - ratios.read, boundary.chance
    worth = 0.0
    for share, warm in zip(shares, boundary.warm, strict=True):
        again = 1.0 if warm else chance * (share + (1 - share) * _MORE * share / (1 - _MORE * (1 - share)))
        worth += share * (again * saved - (1 - again) * (ratios.write - 1))
    return worth


def _explain(
    blocks: Sequence[Block], boundaries: Sequence[Boundary], points: Sequence[Boundary]
) -> Iterator[Skipped]:
    for boundary in boundaries:
        if boundary in points:
            continue
        unlikely = boundary.chance < _LEAST_CHANCE
        reason = (
            "unlikely to be asked again"
            if unlikely
            else "its write would cost more than it is likely to save"
        )
        yield Skipped(path=blocks[boundary.block].path, reason=f"{boundary.kind}: {reason}")
