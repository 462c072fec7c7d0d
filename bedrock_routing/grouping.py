"""Group requests by the longest beginning that they share, so that one of each group can go first. Pure.

Beginnings are compared where a cache point can stand: at the end of a tool, of a block, of a document that
was recognised in a text. Only digests are compared and kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from xxhash import xxh3_128_digest

from bedrock_routing.documents import DocumentMemory
from bedrock_routing.prompts import Prompt, chain_of
from bedrock_routing.request import member, most_tokens, text_digest

__all__ = ["Beginning", "Group", "arrange", "beginnings_of", "group_by_prefix"]

Wire: TypeAlias = Mapping[str, Any]


class Beginning(NamedTuple):
    """Be a part of a request from its start; a tuple, since every request has many."""

    digest: bytes
    """Equal for equal beginnings of calls to the same model."""
    tokens: int
    """Estimated size."""
    path: str
    """The place on the wire of the block that it ends in."""
    end: int | None
    """The characters of that block's text up to its end; `None`: all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Be requests that share a beginning; one that shares none with others is a group of its own."""

    prefix: bytes | None
    """The digest of what they share; `None` for a request that shares nothing."""
    tokens: int
    """Its estimated size."""
    members: tuple[int, ...]
    """The places of the requests, in their order."""

    @property
    def leader(self) -> int:
        """Return the request that goes first and writes."""
        return self.members[0]

    @property
    def followers(self) -> tuple[int, ...]:
        """Return the requests that read what the leader wrote."""
        return self.members[1:]


def group_by_prefix(
    requests: Iterable[Wire], *, documents: DocumentMemory | None = None, min_tokens: int = 0
) -> tuple[Group, ...]:
    """Group requests, as `converse` takes them, by the longest beginning that each shares with another one.

    Each request is in exactly one group. Groups come in the order in which they are best sent: those that
    share a part of their beginnings stand together. `documents` recognises retrieved documents in texts
    (`process_memory()` holds those of this process); without it texts are compared whole. Shared beginnings
    below `min_tokens`, for which the minimum of the model is a good value, do not count.
    """
    memory = DocumentMemory() if documents is None else documents
    each = {number: beginnings_of(request, memory) for number, request in enumerate(requests)}
    counts = Counter(beginning.digest for beginnings in each.values() for beginning in beginnings)
    return arrange(each, counts, min_tokens=min_tokens)


def arrange(
    each: Mapping[int, Sequence[Beginning]], counts: Mapping[bytes, int], *, min_tokens: int = 0
) -> tuple[Group, ...]:
    """Group requests by their number, given their beginnings; `counts`: how many requests have each.

    More may be counted than is to be grouped: a request can share with one that is sent already.
    """
    members: dict[bytes | int, list[int]] = {}
    tokens: dict[bytes | int, int] = {}
    first: dict[bytes, int] = {}
    for number, beginnings in each.items():
        shared = _longest_shared(beginnings, counts, min_tokens)
        key = number if shared is None else shared.digest
        members.setdefault(key, []).append(number)
        tokens[key] = 0 if shared is None else shared.tokens
        for beginning in beginnings:
            first.setdefault(beginning.digest, len(first))

    def place(key: bytes | int) -> tuple[int, ...]:
        digests = [beginning.digest for beginning in each[members[key][0]]]
        end = digests.index(key) + 1 if isinstance(key, bytes) else len(digests)
        return tuple(first[digest] for digest in digests[:end])

    return tuple(
        Group(
            prefix=key if isinstance(key, bytes) else None,
            tokens=tokens[key],
            members=tuple(members[key]),
        )
        for key in sorted(members, key=place)
    )


def beginnings_of(request: Wire, documents: DocumentMemory) -> tuple[Beginning, ...]:
    """Return all beginnings of a request, the shortest first."""
    model = member(request, "modelId")
    digest, tokens = text_digest(str(model)), 0
    found: list[Beginning] = []
    for piece in chain_of(Prompt(request, documents)):
        place = f"{piece.message}".encode()
        digest = xxh3_128_digest(digest + place + piece.content)
        tokens += piece.tokens
        if piece.block is not None:
            found.append(Beginning(digest, tokens, piece.path, piece.end))
    return tuple(found)


def _longest_shared(
    beginnings: Sequence[Beginning], counts: Mapping[bytes, int], min_tokens: int
) -> Beginning | None:
    """Return the longest beginning that another request has too, by how many have each."""
    for each in reversed(beginnings):
        if counts.get(each.digest, 0) > 1 and most_tokens(each.tokens) >= min_tokens:
            return each
    return None
