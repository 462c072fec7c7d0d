"""Find where a cache point could go, and how likely the prefix up to there is asked again.

The order of a prompt is tools, system, messages; the candidates follow it: end of tools, end of the static
system text, after the documents that an earlier call shared, between those and the last, after the last
document, end of earlier turns, end of the request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from bedrock_routing.places import CHANCE, Candidate, Cuts, Documents, Found, list_of, place_after
from bedrock_routing.policy import CachePolicy
from bedrock_routing.request import Block, member
from bedrock_routing.rules import is_moved

__all__ = ["find_candidates", "kind_of_turn"]

_LEAST_LEAD = 2_000
"""Characters of text before the first document that are worth a boundary of their own."""
_EARLIER_TURNS = 2
_OLD_TURNS = 32
"""How many turns before those are looked at for what a model still has."""


def find_candidates(
    blocks: Sequence[Block],
    policy: CachePolicy,
    documents: Documents,
    *,
    old_cuts: Cuts,
    begun: Collection[int] = (),
    shared: int,
    turn: str,
    may_follow: Callable[[Block], bool],
    chance: Mapping[str, float] = CHANCE,
) -> tuple[Candidate, ...]:
    """Return all candidates in prompt order.

    A text that was cut before is a candidate there and nowhere else inside; one of which only the beginning
    was (`begun`) can also be cut behind that. `shared` is how many of the documents stood at the head of an
    earlier request too, `turn` what the request's end is (`kind_of_turn`). `chance` holds the priors, or what
    was learned since.
    """
    found: list[Candidate] = []
    if policy.tools:
        found += _last_of(blocks, "tools", chance)
    if policy.system:
        found += _system(blocks, documents, chance)
    if policy.documents:
        found += _documents(blocks, documents, shared, chance) if documents else []
        found = [each for each in found if _may_cut(each, old_cuts, begun)]
        found += [
            Candidate(block=block, offset=offset, kind="documents", chance=chance["documents"])
            for block, offsets in old_cuts.items()
            for offset in offsets
        ]
    if policy.history:
        found += _turns(blocks, turn, chance, may_follow)
    found.sort(key=_place)
    return tuple(found)


def _may_cut(candidate: Candidate, old: Cuts, begun: Collection[int]) -> bool:
    offset, known = candidate.offset, old.get(candidate.block)
    if offset is None or known is None or offset in known:
        return True
    return candidate.block in begun and offset > max(known, default=0)


def _place(candidate: Candidate) -> tuple[int, float]:
    return candidate.block, float("inf") if candidate.offset is None else candidate.offset


def _last_of(blocks: Sequence[Block], section: str, chance: Mapping[str, float]) -> list[Candidate]:
    return [Candidate(block=each, kind=section, chance=chance[section]) for each in _of(blocks, section)[-1:]]


def _of(blocks: Sequence[Block], section: str) -> list[int]:
    """Return the blocks of a section without markers."""
    return [
        index for index, block in enumerate(blocks) if block.section == section and block.kind != "cachePoint"
    ]


def _system(blocks: Sequence[Block], documents: Documents, chance: Mapping[str, float]) -> list[Candidate]:
    """Return the end of the system prompt; where it holds documents, the end of what precedes them.

    What follows the documents may change with every question, so the end then counts only if it is warm.
    """
    if not documents or blocks[documents[0].block].section != "system":
        return _last_of(blocks, "system", chance)
    first = documents[0]
    system = _of(blocks, "system")
    found = [Candidate(block=index, kind="system", chance=chance["system"]) for index in system]
    lead = [each for each in found if each.block < first.block][-1:]
    if first.span is not None and first.span.start >= _LEAST_LEAD:
        lead = [replace(found[0], block=first.block, offset=first.span.start)]
    return [*lead, Candidate(block=system[-1], kind="after documents", chance=chance["after documents"])]


def _documents(
    blocks: Sequence[Block], documents: Documents, shared: int, chance: Mapping[str, float]
) -> list[Candidate]:
    late = chance["documents after the question"] if _asked_before(blocks, documents[0]) else 1.0
    leading, whole = min(late, chance["leading documents"]), min(late, chance["documents"])
    found: list[Candidate] = []
    for count, lead in _leading(len(documents), shared):
        if count <= shared:
            kind, likely = "shared documents", chance["shared documents"]
        elif count == len(documents):
            kind, likely = "documents", whole
        else:
            kind, likely = "leading documents", leading if lead else math.sqrt(leading * whole)
        block, offset = place_after(blocks, documents[count - 1])
        found.append(Candidate(block=block, offset=offset, kind=kind, chance=likely))
    return found


def _leading(count: int, shared: int) -> list[tuple[int, bool]]:
    """Return after how many documents a point may go, and whether these lead: those shared, all, and between.

    On the way to the last document further points cost nothing: each token is written once. They let another
    call read the beginning that it has in common with this one.
    """
    lead = shared or 1
    return [(each, each <= lead) for each in sorted({1, lead, (lead + count) // 2, count})]


def _asked_before(blocks: Sequence[Block], first: Found) -> bool:
    """Tell whether the user's question stands before the documents, which makes every prefix a new one."""
    block = blocks[first.block]
    if block.role != "user":
        return False
    lead = block.value[: first.span.start] if first.span else ""
    earlier = takewhile(
        lambda each: each is not block, (each for each in blocks if list_of(each) == list_of(block))
    )
    return "?" in lead or any(each.kind == "text" and "?" in each.value for each in earlier)


def _turns(
    blocks: Sequence[Block], kind: str, chance: Mapping[str, float], may_follow: Callable[[Block], bool]
) -> list[Candidate]:
    anchors = _anchors(blocks, may_follow, most=_EARLIER_TURNS + _OLD_TURNS + 1)
    if not anchors:
        return []
    open_turn = blocks[-1].role == "user"
    earlier = anchors[:-1] if open_turn else anchors
    found = [
        Candidate(
            block=each,
            kind="history",
            chance=CHANCE["history"],
            grows=kind == "loop",
            only_warm=age > _EARLIER_TURNS,
        )
        for age, each in zip(range(len(earlier), 0, -1), earlier, strict=True)
    ]
    if open_turn:
        found.append(Candidate(block=anchors[-1], kind="tail", chance=chance[kind]))
    return found


def _anchors(blocks: Sequence[Block], may_follow: Callable[[Block], bool], *, most: int) -> list[int]:
    """Return, for each of the user's last messages, the last block up to its end that a point may follow.

    Where none may follow a tool result that is the model's own words before the call. Nor does one go before
    a document that would be moved to the front of its message: it would make another prompt of it.
    """
    anchors: dict[int, None] = {}
    messages = _of(blocks, "messages")
    users = list(dict.fromkeys(blocks[index].message for index in messages if blocks[index].role == "user"))
    first = users[-most - 1 :][0] if users else None  # one more, in whose end a later one may have its own
    messages = [index for index in messages if (blocks[index].message or 0) >= (first or 0)]
    moved = {blocks[index].message: index for index in messages if is_moved(blocks[index])}
    last: int | None = None
    for index, after in zip(messages, [*messages[1:], None], strict=bool(messages)):
        if may_follow(blocks[index]) and index > moved.get(blocks[index].message, -1):
            last = index
        ends = after is None or blocks[after].message != blocks[index].message
        if ends and blocks[index].role == "user" and last is not None:
            anchors[last] = None
    return list(anchors)[-most:]


def kind_of_turn(blocks: Sequence[Block], documents: Documents, *, one_shot: bool) -> str:
    """Return what the end of a request is: a name in `CHANCE`."""
    last = blocks[-1].message if blocks else None
    if one_shot:
        return "one question"
    if any(block.kind == "toolResult" for block in blocks if block.message == last):
        return "loop"
    if any(block.role == "assistant" for block in blocks):
        return "conversation"
    if any(block.section == "tools" and member(block.raw, "toolSpec") for block in blocks):
        return "opening with tools"
    return "one question" if documents else "opening"
