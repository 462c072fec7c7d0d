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

__all__ = ["DocumentMemory", "Span", "process_memory", "remember_documents"]

_SHORTEST = 40
"""A shorter text (a name, a yes) would be found in places where it is no document."""
_PROBE = 64
"""Characters looked for first: a short needle is found or refuted fastest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Be the place of one document in a text."""

    start: int
    end: int


class DocumentMemory:
    """Keep the texts of recently retrieved documents; safe for threads."""

    def __init__(self, *, max_documents: int = 256, max_characters: int = 16_000_000) -> None:
        self._texts: OrderedDict[str, None] = OrderedDict()
        self._characters = 0
        self._max_documents = max_documents
        self._max_characters = max_characters
        self._lock = threading.Lock()

    def remember(self, texts: Iterable[str]) -> None:
        """Keep each text, without outer white space; the longest unused ones give way."""
        stripped = [text for each in texts if len(text := each.strip()) >= _SHORTEST]
        with self._lock:
            for text in stripped:
                self._keep(text)

    def _keep(self, text: str) -> None:
        if text in self._texts:
            self._texts.move_to_end(text)
            return
        self._texts[text] = None
        self._characters += len(text)
        while len(self._texts) > self._max_documents or self._characters > self._max_characters:
            oldest, _ = self._texts.popitem(last=False)
            self._characters -= len(oldest)

    def find(self, text: str) -> tuple[Span, ...]:
        """Return where documents stand in `text`, in order and without overlaps.

        Of two that overlap, the one that starts first counts, then the longer one. The ends matter most: that
        is where a cache point may go.
        """
        if len(text) < _SHORTEST:
            return ()
        with self._lock:
            known = list(self._texts)
        found: list[Span] = []
        for document in known:
            if len(document) <= len(text):
                found.extend(_occurrences(document, text))
        found.sort(key=lambda span: (span.start, -span.end))
        return tuple(_without_overlaps(found))

    def clear(self) -> None:
        """Forget all texts."""
        with self._lock:
            self._texts.clear()
            self._characters = 0

    def __len__(self) -> int:
        return len(self._texts)


def _occurrences(document: str, text: str) -> list[Span]:
    probe = document[:_PROBE]
    spans: list[Span] = []
    at = text.find(probe)
    while at >= 0:
        if text.startswith(document, at):
            spans.append(Span(start=at, end=at + len(document)))
            at = text.find(probe, at + len(document))
        else:
            at = text.find(probe, at + 1)
    return spans


def _without_overlaps(spans: list[Span]) -> list[Span]:
    kept: list[Span] = []
    for span in spans:
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


_PROCESS = DocumentMemory()


def process_memory() -> DocumentMemory:
    """Return the memory that all clients of this process share."""
    return _PROCESS


def remember_documents(texts: Iterable[str]) -> None:
    """Tell this process which texts are retrieved documents, so that prompts which hold them are cached."""
    _PROCESS.remember(texts)
