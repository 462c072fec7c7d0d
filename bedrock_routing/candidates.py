"""Find where a cache point could go, and how likely the prefix up to there is asked again.

The order of a prompt is tools, system, messages; the candidates follow it: end of tools, end of the static
system text, after the documents that an earlier call shared, after the last document, end of earlier turns,
end of the request. The chances are priors; what was seen or is warm improves them in `planning`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from bedrock_routing.catalog import Ttl
from bedrock_routing.documents import Span
from bedrock_routing.policy import CachePolicy
from bedrock_routing.request import Block, member

__all__ = ["Candidate", "Documents", "find_candidates", "locate_documents", "searchable"]

CHANCE: Mapping[str, float] = {
    "tools": 0.9,
    "system": 0.9,
    "shared documents": 0.9,
    "documents": 0.6,
    "documents after the question": 0.1,
    "history": 0.9,
    "loop": 0.85,
    "conversation": 0.7,
    "first turn with tools": 0.5,
    "one question": 0.0,
}
"""The prior chance, per kind of boundary, that the same prefix comes again within its lifetime."""

_LEAST_LEAD = 2_000
"""Characters of text before the first document that are worth a boundary of their own."""
_EARLIER_TURNS = 2
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
    ttl: Ttl = "5m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Be the last block of the current turn, or of the system prompt, that holds documents."""

    block: int
    spans: tuple[Span, ...] = ()
    """Where they stand in the block's text; empty where the block itself is a document."""


def searchable(blocks: Sequence[Block]) -> tuple[int, ...]:
    """Return the blocks in which this turn's documents can stand: system and what follows the last answer.

    Texts of earlier turns are not searched: they were cut, if at all, when they were new.
    """
    answered = max((block.message or 0 for block in blocks if block.role == "assistant"), default=-1)
    return tuple(
        index
        for index, block in enumerate(blocks)
        if block.section == "system" or (block.role == "user" and (block.message or 0) > answered)
    )


def locate_documents(
    blocks: Sequence[Block], where: Sequence[int], find: Callable[[str], tuple[Span, ...]]
) -> Documents | None:
    """Return the last of the given blocks that is or holds a document."""
    for index in reversed(where):
        block = blocks[index]
        if block.kind in _DOCUMENT_KINDS:
            return Documents(block=index)
        if block.kind == "text" and (spans := find(block.value)):
            return Documents(block=index, spans=spans)
    return None


def find_candidates(
    blocks: Sequence[Block],
    policy: CachePolicy,
    documents: Documents | None,
    *,
    shared: int | None,
    one_shot: bool,
    ttl: Ttl,
) -> tuple[Candidate, ...]:
    """Return all candidates in prompt order.

    `shared` is how many of the documents stood at the head of an earlier request too. `one_shot` says that
    the answer is the end of it, as with a forced tool choice.
    """
    found: list[Candidate] = []
    if policy.tools:
        found += _last_of(blocks, "tools")
    if policy.system:
        found += _system(blocks, documents)
    if policy.documents and documents is not None:
        found += _documents(blocks, documents, shared)
    if policy.history:
        found += _turns(blocks, one_shot=one_shot)
    found.sort(key=_place)
    return tuple(found) if ttl == "5m" else tuple(replace(each, ttl=ttl) for each in found)


def _place(candidate: Candidate) -> tuple[int, float]:
    return candidate.block, float("inf") if candidate.offset is None else candidate.offset


def _last_of(blocks: Sequence[Block], section: str) -> list[Candidate]:
    last = max((index for index, block in enumerate(blocks) if block.section == section), default=None)
    return [] if last is None else [Candidate(block=last, kind=section, chance=CHANCE[section])]


def _system(blocks: Sequence[Block], documents: Documents | None) -> list[Candidate]:
    if documents is None or blocks[documents.block].section != "system":
        return _last_of(blocks, "system")
    found: list[Candidate] = []
    before = documents.block - 1
    if before >= 0 and blocks[before].section == "system":
        found.append(Candidate(block=before, kind="system", chance=CHANCE["system"]))
    return found + _lead(blocks, documents, "system")


def _lead(blocks: Sequence[Block], documents: Documents, kind: str) -> list[Candidate]:
    start = documents.spans[0].start if documents.spans else 0
    if start < _LEAST_LEAD or not blocks[documents.block].value[:start].strip():
        return []
    return [Candidate(block=documents.block, offset=start, kind=kind, chance=CHANCE[kind])]


def _documents(blocks: Sequence[Block], documents: Documents, shared: int | None) -> list[Candidate]:
    kind = "documents after the question" if _asked_before(blocks, documents) else "documents"
    if not documents.spans:
        return [Candidate(block=documents.block, kind="documents", chance=CHANCE[kind])]
    text = blocks[documents.block].value
    ends = [span.end for span in documents.spans]
    found: list[Candidate] = []
    if shared and shared < len(ends):
        found.append(_after_document(documents.block, text, ends[shared - 1], "shared documents"))
    chance = CHANCE["shared documents" if shared == len(ends) else kind]
    found.append(_after_document(documents.block, text, ends[-1], "documents", chance))
    return found


def _after_document(block: int, text: str, end: int, kind: str, chance: float | None = None) -> Candidate:
    offset = end if text[end:].strip() else None
    return Candidate(block=block, offset=offset, kind=kind, chance=CHANCE[kind] if chance is None else chance)


def _asked_before(blocks: Sequence[Block], documents: Documents) -> bool:
    """Tell whether the user's question stands before the documents, which makes every prefix a new one."""
    block = blocks[documents.block]
    if block.role != "user":
        return False
    lead = block.value[: documents.spans[0].start] if documents.spans else ""
    earlier = takewhile(
        lambda each: each is not block, (each for each in blocks if each.message == block.message)
    )
    return "?" in lead or any(each.kind == "text" and "?" in each.value for each in earlier)


def _turns(blocks: Sequence[Block], *, one_shot: bool) -> list[Candidate]:
    ends = _ends_of_user_turns(blocks)
    if not ends:
        return []
    *earlier, last = ends
    found = [
        Candidate(block=end, kind="history", chance=CHANCE["history"]) for end in earlier[-_EARLIER_TURNS:]
    ]
    if last == len(blocks) - 1:
        found.append(Candidate(block=last, kind="tail", chance=0.0 if one_shot else _tail_chance(blocks)))
    return found


def _ends_of_user_turns(blocks: Sequence[Block]) -> list[int]:
    return [
        index
        for index, block in enumerate(blocks)
        if block.role == "user" and (index + 1 == len(blocks) or blocks[index + 1].message != block.message)
    ]


def _tail_chance(blocks: Sequence[Block]) -> float:
    last = blocks[-1].message
    if any(block.kind == "toolResult" for block in blocks if block.message == last):
        return CHANCE["loop"]
    if any(block.role == "assistant" for block in blocks):
        return CHANCE["conversation"]
    has_tools = any(block.section == "tools" and member(block.raw, "toolSpec") for block in blocks)
    return CHANCE["first turn with tools" if has_tools else "one question"]
