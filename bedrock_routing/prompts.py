"""See a prompt that went out as a chain of pieces, so that two prompts can be compared.

Nothing is read until a chain is asked for: a call that misses nothing only keeps references to what its
caller holds anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from bedrock_routing.documents import DocumentMemory
from bedrock_routing.request import Block, Digester, member, read_blocks, text_digest, tokens_of

__all__ = ["Chain", "Piece", "Prompt", "chain_of", "common_ends"]

Wire = Mapping[str, Any]

_FIELDS = "additionalModelRequestFields"
_CHOICE = "toolConfig.toolChoice"


class Prompt(NamedTuple):
    """Be a request as it went out, and the memory that knows the documents in it."""

    params: Wire
    documents: DocumentMemory


class Piece(NamedTuple):
    """Be a part of a prompt that stays or goes as one: a block, a document in a text, what is between two."""

    path: str
    """The place on the wire of the block that it is part of."""
    message: int | None
    content: bytes
    """Equal for equal content, wherever in the prompt it stands."""
    tokens: int
    prefix: bytes | None = None
    """The digest of all up to here, as the planner has it; `None` within a block on the wire."""
    is_point: bool = False
    block: Block | None = None
    start: int = 0
    """Characters of its block's text before it."""
    end: int | None = None

    @property
    def text(self) -> str:
        """Return what the piece says; of a block that is no text, its JSON without binary content."""
        if self.block is None:
            return ""
        if isinstance(self.block.value, str):
            return self.block.value[self.start : self.end]
        return json.dumps(self.block.raw, default=lambda value: type(value).__name__, ensure_ascii=False)


Chain = tuple[Piece, ...]


def chain_of(prompt: Prompt) -> Chain:
    """Return the pieces of a prompt in order."""
    return tuple(_pieces(prompt))


def _pieces(prompt: Prompt) -> Iterator[Piece]:
    params = prompt.params
    digester = Digester(params)
    prefix = digester.seed
    yield Piece(path=_FIELDS, message=None, content=prefix, tokens=0)
    blocks = read_blocks(params)
    in_messages = False
    for block, following in zip_longest(blocks, blocks[1:]):
        if block.kind == "cachePoint":
            continue
        if block.section == "messages" and not in_messages:
            in_messages = True
            yield _choice_of(params)
        *inner, last = _parts(prompt.documents, digester, block)
        yield from inner
        prefix = digester.extend(prefix, block)
        is_point = following is not None and following.kind == "cachePoint"
        yield last._replace(prefix=prefix, is_point=is_point)


def _choice_of(params: Wire) -> Piece:
    """Return what tells whether a tool is forced: messages behind another choice are another prefix."""
    choice = member(params.get("toolConfig"), "toolChoice")
    forced = bool(choice) and "auto" not in choice
    return Piece(path=_CHOICE, message=None, content=b"forced" if forced else b"auto", tokens=0)


def _parts(documents: DocumentMemory, digester: Digester, block: Block) -> Iterator[Piece]:
    """Yield the documents in a text, and what stands between them; other blocks whole."""
    edges = [0]
    if block.kind == "text" and isinstance(block.value, str):
        spans = documents.find(block.value, digester.text(block))
        edges += sorted({edge for span in spans for edge in span if 0 < edge < len(block.value)})
    kind = f"{block.section} {block.role} ".encode()
    for start, end in zip(edges, [*edges[1:], None], strict=True):
        whole = len(edges) == 1
        yield Piece(
            path=block.path,
            message=block.message,
            content=kind + (digester.text(block) if whole else text_digest(block.value[start:end])),
            tokens=tokens_of(block, start, end),
            block=block,
            start=start,
            end=end,
        )


def common_ends(old: str, new: str) -> tuple[int, int]:
    """Return how many characters two texts share at the start, and of the rest at the end."""
    before = _common(old, new, backwards=False)
    return before, _common(old[before:], new[before:], backwards=True)


def _common(old: str, new: str, *, backwards: bool) -> int:
    """Halve the distance instead of reading character by character: slices compare as fast as they copy."""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if backwards:
            same = old[len(old) - middle : len(old) - low] == new[len(new) - middle : len(new) - low]
        else:
            same = old[low:middle] == new[low:middle]
        low, high = (middle, high) if same else (low, middle - 1)
    return low
