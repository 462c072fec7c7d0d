"""Name the places in a prompt where a cache point could go, and find those behind its documents.

The chances are priors, per kind of place, that the prefix up to there is asked again; what was seen or is
warm improves them in `boundaries`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

from bedrock_routing.catalog import Section, Ttl
from bedrock_routing.documents import Span
from bedrock_routing.request import Block

__all__ = [
    "CHANCE",
    "GAPS",
    "OPENINGS",
    "Candidate",
    "Cuts",
    "Documents",
    "Found",
    "Place",
    "gaps_of",
    "list_of",
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
    last = list_of(blocks[documents[-1].block])
    here = {index for index in {each.block for each in documents} if list_of(blocks[index]) == last}
    return tuple(each for each in documents if each.block in here)


def list_of(block: Block) -> tuple[Section, int | None]:
    """Return what tells the list apart that a block stands in: tools, system, or one message."""
    return block.section, block.message


def gaps_of(kind: str) -> str:
    """Return under which name the gaps between calls over such a boundary are counted."""
    return GAPS[0] if kind in ("history", "tail") else GAPS[1]


def place_after(blocks: Sequence[Block], document: Found) -> Place:
    """Return the place after a document; at the end of its block where only white space follows."""
    end = document.span.end if document.span else None
    rest = blocks[document.block].value[end:] if end is not None else ""
    return document.block, end if rest.strip() else None
