"""Recognise retrieved documents in a prompt.

Chains paste documents into strings. The texts of recently retrieved documents are kept here, bounded in
number and size, and looked for verbatim in the outgoing request. A text that is found is a document; one
that is not found costs nothing. The memory lives in this process only and is never written anywhere.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from bedrock_routing.request import digests_up_to, text_digest
from bedrock_routing.tables import Bounded

__all__ = ["DocumentMemory", "Span", "process_memory", "remember_documents"]

_SHORTEST = 40
"""A shorter text (a name, a yes) would be found in places where it is no document."""
_TEXTS_SEARCHED = 64
_PROBE = 64
"""Characters looked for first: long enough to skip through a text, short enough to prepare at once."""


class Span(NamedTuple):
    """Be the place of one document in a text; a tuple, since every call makes dozens."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Searched:
    """Keep what was found in a text, as long as no document has come since."""

    version: int
    spans: tuple[Span, ...]
    heads: tuple[bytes, ...]
    names: tuple[bytes, ...]


class DocumentMemory:
    """Keep the texts of recently retrieved documents; safe for threads."""

    def __init__(self, *, max_documents: int = 256, max_characters: int = 16_000_000) -> None:
        self._texts: OrderedDict[str, None] = OrderedDict()
        self._characters = 0
        self._max_documents = max_documents
        self._max_characters = max_characters
        self._lock = threading.Lock()
        self._version = 0
        self._found: Bounded[bytes, _Searched] = Bounded(_TEXTS_SEARCHED)

    def remember(self, texts: Iterable[str]) -> None:
        """Keep each text, without outer white space; those not retrieved for longest give way."""
        stripped = [text for each in texts if len(text := each.strip()) >= _SHORTEST]
        with self._lock:
            # Kept backwards and searched from the newest on: in the order in which they stand in the prompt,
            # where each is found at once.
            for text in reversed(stripped):
                self._keep(text)

    def _keep(self, text: str) -> None:
        if text in self._texts:
            self._texts.move_to_end(text)
            return
        self._texts[text] = None
        self._version += 1
        self._characters += len(text)
        while len(self._texts) > self._max_documents or self._characters > self._max_characters:
            oldest, _ = self._texts.popitem(last=False)
            self._characters -= len(oldest)

    def find(self, text: str, digest: bytes | None = None) -> tuple[Span, ...]:
        """Return where documents stand in `text`, in order and without overlaps.

        The newest documents are looked for first, and what they cover is not read again: a prompt full of
        documents is searched in little more than one pass. Each document is found once. A text that was
        searched before, as the system prompt of an agent's every step, is not searched again; `digest` is its
        `text_digest`, where the caller has it.
        """
        return () if len(text) < _SHORTEST else self._searched(text, digest).spans

    def heads(self, text: str, digest: bytes | None = None) -> tuple[bytes, ...]:
        """Return the `text_digest` of the text up to the end of each document in it."""
        return () if len(text) < _SHORTEST else self._searched(text, digest).heads

    def names(self, text: str, digest: bytes | None = None) -> tuple[bytes, ...]:
        """Return the `text_digest` of each document in the text, wherever it stands."""
        return () if len(text) < _SHORTEST else self._searched(text, digest).names

    def _searched(self, text: str, digest: bytes | None) -> _Searched:
        name, version = digest or text_digest(text), self._version
        before = self._found.get(name)
        if before is not None and before.version == version:
            return before
        spans = self._search(text)
        heads = digests_up_to(text, [span.end for span in spans])
        names = tuple(text_digest(text[span.start : span.end]) for span in spans)
        found = _Searched(version=version, spans=spans, heads=heads, names=names)
        self._found.put(name, found)
        return found

    def _search(self, text: str) -> tuple[Span, ...]:
        with self._lock:
            known = list(reversed(self._texts))
        spans: list[Span] = []
        gaps = [(0, len(text))]
        for document in known:
            if not gaps:
                break
            for number, (start, end) in enumerate(gaps):
                at = _search(document, text, start, end)
                if at is not None:
                    after = at + len(document)
                    spans.append(Span(start=at, end=after))
                    left = ((start, at), (after, end))
                    gaps[number : number + 1] = [gap for gap in left if gap[1] - gap[0] >= _SHORTEST]
                    break
        return tuple(sorted(spans))

    def clear(self) -> None:
        """Forget all texts."""
        with self._lock:
            self._texts.clear()
            self._version += 1
            self._characters = 0

    def __len__(self) -> int:
        return len(self._texts)


def _search(document: str, text: str, start: int, end: int) -> int | None:
    """Return where a document stands in a part of a text."""
    probe = document[:_PROBE]
    at = text.find(probe, start, end)
    while at >= 0:
        if at + len(document) <= end and text.startswith(document, at):
            return at
        at = text.find(probe, at + 1, end)
    return None


_PROCESS = DocumentMemory()


def process_memory() -> DocumentMemory:
    """Return the memory that all clients of this process share."""
    return _PROCESS


def remember_documents(texts: Iterable[str]) -> None:
    """Tell this process which texts are retrieved documents, so that prompts which hold them are cached."""
    _PROCESS.remember(texts)
