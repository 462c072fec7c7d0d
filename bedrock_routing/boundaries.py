"""Measure the places where a point could go: how large the prefix is, how likely it comes again, how warm.

Pure: what is warm or seen is asked of functions that the caller hands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bedrock_routing.catalog import CacheRules, Ttl
from bedrock_routing.places import CHANCE, Candidate, Cuts, Place, gaps_of
from bedrock_routing.request import Block, Digester, tokens_of
from bedrock_routing.rules import why_not_after

__all__ = ["Boundary", "Known", "Skipped", "extend_with_cuts", "measure", "prefixes"]

_WARM_CHANCE = 0.98
_UNSEEN_HISTORY_CHANCE = 0.2
"""For turns that this process never sent before: a history may be rewritten with every request."""
_HOUR_PAYS = 0.65
"""Late gaps per entry from which on an hour is cheaper: 0.75 / 1.15, at the prices of Claude."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Answer what earlier calls left behind for a prefix."""

    warm: Callable[[bytes, Ttl], tuple[bool, ...]]
    """Which models still have it."""
    lifetimes: tuple[Ttl, ...] = ("5m",)
    """Those to choose from, the longest first."""
    late: Callable[[str], float] = lambda _: 0.0
    """The share of gaps between calls that are longer than five minutes."""
    shares: tuple[float, ...] = (1.0,)
    """How likely each model is to answer, in the same order."""
    seen: Callable[[bytes], bool]
    """Whether it was part of an earlier request."""
    ended: Callable[[bytes], bool]
    """Whether it was a whole earlier request: then this one continues that conversation."""
    shared: tuple[int, float] = (-1, 0.0)
    """The block, and the characters of it, up to which other calls are known to come that ask the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Say why a place carries no cache point."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Be a place where a cache point can go, with all that the choice needs."""

    block: int
    offset: int | None
    """Characters of the block's text before the point; `None`: after the whole block."""
    kind: str
    chance: float
    tokens: int
    """Estimated size of the whole prefix up to here."""
    digest: bytes
    warm: tuple[bool, ...]
    """Which of the models still have it."""
    by_hand: bool
    ttl: Ttl


def measure(
    blocks: Sequence[Block],
    candidates: Sequence[Candidate],
    rules: CacheRules,
    *,
    digester: Digester,
    cuts: Cuts,
    known: Known,
) -> tuple[list[Boundary], list[Skipped], bytes]:
    """Walk the prompt once: size and digest of the prefix at each candidate, and why some are not legal."""
    wanted = _by_place(candidates)
    boundaries: list[Boundary] = []
    skipped: list[Skipped] = []
    ceiling, continues, resumed, digest = 1.0, True, False, digester.seed
    longest: Ttl = "1h"
    for index, offset, tokens, digest in prefixes(blocks, digester, cuts):
        candidate = wanted.get((index, offset))
        if candidate is None or (candidate.only_warm and not _is_warm(digest, known)):
            continue
        if candidate.kind == "history":
            continues = candidate.grows or known.ended(digest) or known.seen(digest)
            resumed = resumed or continues
        likely = _chance(candidate, digest, known, continues=continues)
        came_again = resumed and candidate.kind in ("history", "tail")  # whatever was expected
        likely = likely if came_again else min(ceiling, likely)
        if why := why_not_after(blocks[index], rules, tokens=tokens):
            skipped.append(Skipped(path=blocks[index].path, reason=why))
            if candidate.kind == "history" and not continues:  # what follows comes again no more often
                ceiling = min(ceiling, likely)
            continue
        late = known.late(gaps_of(candidate.kind)) if len(known.lifetimes) > 1 else 0.0
        if (index, math.inf if offset is None else offset) <= known.shared:
            likely, late = _WARM_CHANCE, 0.0
        ttl, warm = _lifetime(candidate, digest, known, chance=likely, late=late, longest=longest)
        longest = longest if candidate.by_hand else ttl
        chance = _WARM_CHANCE if any(warm) else likely * (1 - late if ttl == "5m" else 1)
        ceiling = min(ceiling, chance)
        boundaries.append(
            Boundary(
                block=index,
                offset=offset,
                kind=candidate.kind,
                chance=chance,
                tokens=tokens,
                digest=digest,
                warm=warm,
                by_hand=candidate.by_hand,
                ttl=ttl,
            )
        )
    return _without_idle(boundaries, wanted), skipped, digest


def _is_warm(digest: bytes, known: Known) -> bool:
    return any(any(known.warm(digest, ttl)) for ttl in known.lifetimes)


def _without_idle(boundaries: Sequence[Boundary], wanted: Mapping[Place, Candidate]) -> list[Boundary]:
    """Leave out the ends of old turns that no model reads from: each reads the newest one that it has."""
    left: list[Boundary] = []
    read: set[int] = set()
    for each in reversed(boundaries):
        holding = {number for number, warm in enumerate(each.warm) if warm}
        if not wanted[each.block, each.offset].only_warm or holding - read:
            left.append(each)
            read |= holding
    return left[::-1]


def _lifetime(
    candidate: Candidate, digest: bytes, known: Known, *, chance: float, late: float, longest: Ttl
) -> tuple[Ttl, tuple[bool, ...]]:
    """Return how long an entry shall live, and which models have it with that lifetime.

    Entries are kept apart by lifetime: one that is warm keeps its own. Of a new one an hour costs 0.75 of an
    input token more to write, and spares 1.15 for each late gap; `p / (1 - p)` calls are to come, not all
    of them to the same model. An hour may not follow five minutes.
    """
    if candidate.ttl is not None:
        return candidate.ttl, known.warm(digest, candidate.ttl)
    usable = known.lifetimes if longest == "1h" else known.lifetimes[-1:]
    if len(usable) == 1:
        return usable[0], known.warm(digest, usable[0])
    found: list[tuple[Ttl, tuple[bool, ...]]] = [(ttl, known.warm(digest, ttl)) for ttl in usable]
    for ttl, warm in found:
        if any(warm):
            return ttl, warm
    same_model = sum(share * share for share in known.shares)
    late = 1 - (1 - late) ** (1 / same_model)  # until the same model is asked again several gaps go by
    return found[0 if late * chance * same_model > _HOUR_PAYS * (1 - chance) else -1]


def _by_place(candidates: Sequence[Candidate]) -> dict[Place, Candidate]:
    """Keep one candidate per place: the most likely one, or the caller's own point with its chance."""
    wanted: dict[Place, Candidate] = {}
    for each in sorted(candidates, key=lambda each: (each.by_hand, not each.only_warm, each.chance)):
        held = wanted.get((each.block, each.offset))
        wanted[each.block, each.offset] = each if held is None else _joined(each, held)
    return wanted


def _joined(candidate: Candidate, less_likely: Candidate) -> Candidate:
    """Return what counts of two candidates for one place."""
    if candidate.by_hand:
        return replace(candidate, chance=less_likely.chance)
    return replace(candidate, unseen=less_likely.chance) if candidate.kind == "history" else candidate


def _chance(candidate: Candidate, digest: bytes, known: Known, *, continues: bool) -> float:
    if candidate.kind in ("history", "tail") and not continues and not known.seen(digest):
        return min(candidate.chance, max(_UNSEEN_HISTORY_CHANCE, candidate.unseen))
    if candidate.kind in ("system", "after documents") and known.seen(digest):
        return max(candidate.chance, CHANCE["system"])
    return candidate.chance


def prefixes(
    blocks: Sequence[Block], digester: Digester, cuts: Cuts
) -> Iterator[tuple[int, int | None, int, bytes]]:
    """Yield block, offset, estimated tokens and digest at the end of every piece of the prompt."""
    digest, tokens = digester.seed, 0
    for index, block in enumerate(blocks):
        if block.kind == "cachePoint":
            continue
        for start, offset in _pieces(cuts.get(index, ())):
            digest = digester.extend(digest, block, start, offset)
            tokens += tokens_of(block, start, offset)
            yield index, offset, tokens, digest


def extend_with_cuts(digester: Digester, prefix: bytes, block: Block, cuts: Sequence[int]) -> bytes:
    """Return the digest of `prefix` followed by `block`, cut at these offsets."""
    for start, offset in _pieces(cuts):
        prefix = digester.extend(prefix, block, start, offset)
    return prefix


def _pieces(cuts: Sequence[int]) -> Iterator[tuple[int, int | None]]:
    return zip((0, *cuts), (*cuts, None), strict=True)
