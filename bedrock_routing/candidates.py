"""Find where a cache point could go, and how likely the prefix up to there is asked again.

The order of a prompt is tools, system, messages; the candidates follow it: end of tools, end of the static
system text, after the documents that an earlier call shared, between those and the last, after the last
document, end of earlier turns, end of the request. The chances are priors; what was seen or is warm improves
them in `planning`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat, takewhile
from typing import NamedTuple

from bedrock_routing.catalog import Ttl
from bedrock_routing.documents import Span
from bedrock_routing.policy import CachePolicy
from bedrock_routing.request import Block, member
from bedrock_routing.rules import is_moved

__all__ = [
    "CHANCE",
    "GAPS",
    "OPENINGS",
    "Candidate",
    "Cuts",
    "Documents",
    "Found",
    "Place",
    "find_candidates",
    "gaps_of",
    "kind_of_turn",
    "locate_documents",
    "of_last_list",
    "place_after",
    "searchable",
]

CHANCE: Mapping[str, float] = {
    "tools": 0.9,
    "system": 0.9,
    "shared documents": 0.9,
    "leading documents": 0.6,
    "each document": 0.75,
    "order kept": 0.85,
    "documents": 0.6,
    "one document": 0.6,
    "documents after the question": 0.1,
    "after documents": 0.1,
    "history": 0.85,
    "loop": 0.85,
    "conversation": 0.7,
    "opening with tools": 0.5,
    "opening": 0.25,
    "one question": 0.0,
}
"""The prior chance, per kind of boundary, that the same prefix comes again within its lifetime.

"each document", "one document" and "order kept" are no boundaries: `recall` makes those of documents out of
them.
"""

OPENINGS = ("opening", "opening with tools")
"""Ends of first requests, of which it is learned whether they are come back to."""

GAPS = ("gaps of turns", "gaps of the rest")
"""Under which names the gaps between calls are counted."""

Place = tuple[int, int | None]
"""A block, and the characters of its text before a point; `None`: after the whole block."""

Cuts = Mapping[int, tuple[int, ...]]
"""For each block index: the offsets at which its text is cut."""

_LEAST_LEAD = 2_000
"""Characters of text before the first document that are worth a boundary of their own."""
_EARLIER_TURNS = 2
_OLD_TURNS = 32
"""How many turns before those are looked at for what a model still has."""
_DOCUMENT_KINDS = frozenset({"document", "searchResult"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Be a place where a point could go."""

    block: int
    kind: str
    chance: float
    offset: int | None = None
    """Characters of the block's text before the point; `None`: after the whole block."""
    by_hand: bool = False
    ttl: Ttl | None = None
    """`None`: as the policy and the gaps between calls ask for."""
    grows: bool = False
    """Whether later requests surely only add to it, as in a tool loop; another history may be rewritten."""
    unseen: float = 0.0
    """Of a history that was never sent: the chance for which something else that ends here comes again."""
    only_warm: bool = False
    """Whether the place counts only where a model still has the prefix."""


class Found(NamedTuple):
    """Be the place of one document: a span of a block's text, or a whole block that is a document."""

    block: int
    span: Span | None = None


Documents = tuple[Found, ...]
"""Documents in the order in which they stand in the prompt."""


def searchable(blocks: Sequence[Block]) -> tuple[int, ...]:
    """Return the blocks where templates put documents: system, the first turn, what follows the last answer.

    In the first turn they are new with every conversation, and it may begin with turns that were never asked.
    Texts of other turns are not searched: they were cut, if at all, when they were new.
    """
    answered = max((block.message or 0 for block in blocks if block.role == "assistant"), default=-1)
    first = next((block.message for block in blocks if block.role == "user"), None)
    return tuple(
        index
        for index, block in enumerate(blocks)
        if block.section == "system"
        or (block.role == "user" and (block.message == first or (block.message or 0) > answered))
    )


def locate_documents(
    blocks: Sequence[Block], where: Sequence[int], find: Callable[[Block], tuple[Span, ...]]
) -> Documents:
    """Return the documents in the given blocks, in order."""
    found: list[Found] = []
    for index in where:
        block = blocks[index]
        if block.kind in _DOCUMENT_KINDS:
            found.append(Found(block=index))
        elif block.kind == "text":
            found += map(Found, repeat(index), find(block))
    return tuple(found)


def of_last_list(blocks: Sequence[Block], documents: Documents) -> Documents:
    """Return the documents of the last list that holds any: the system prompt, or one message."""
    if not documents:
        return ()
    last = _list_of(blocks[documents[-1].block])
    here = {index for index in {each.block for each in documents} if _list_of(blocks[index]) == last}
    return tuple(each for each in documents if each.block in here)


def _list_of(block: Block) -> tuple[str, int | None]:
    return block.section, block.message


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


def gaps_of(kind: str) -> str:
    """Return under which name the gaps between calls over such a boundary are counted."""
    return GAPS[0] if kind in ("history", "tail") else GAPS[1]


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


def place_after(blocks: Sequence[Block], document: Found) -> Place:
    """Return the place after a document; at the end of its block where only white space follows."""
    end = document.span.end if document.span else None
    rest = blocks[document.block].value[end:] if end is not None else ""
    return document.block, end if rest.strip() else None


def _asked_before(blocks: Sequence[Block], first: Found) -> bool:
    """Tell whether the user's question stands before the documents, which makes every prefix a new one."""
    block = blocks[first.block]
    if block.role != "user":
        return False
    lead = block.value[: first.span.start] if first.span else ""
    earlier = takewhile(
        lambda each: each is not block, (each for each in blocks if _list_of(each) == _list_of(block))
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
