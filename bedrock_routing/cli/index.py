"""Find passages in documents that are too long to be sent whole; every framework's retriever asks here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from langchain_core.documents import Document

from bedrock_routing.cli.chunking import chunk_documents
from bedrock_routing.cli.ranking import HeadingIndex, MeaningIndex, WordIndex, fused

__all__ = ["HybridIndex"]

_WORDS, _MEANING, _HEADINGS = 2.0, 1.0, 1.0  # where rankings disagree, the one by words is right more often
_HEADING_LINE = re.compile(r"^#{1,6}[ \t]+(.+)$", re.MULTILINE)
_MARKUP = re.compile(r"<[^>\n]*>|\{#[^}\n]*\}|\\(?=[^\w\s])")


class HybridIndex:
    """Find the chunks of documents that speak of a question, by its words, its meaning and their headings.

    `on_progress` gets the chunks done and all of them. What comes back are copies: changing them changes
    nothing here.
    """

    def __init__(
        self, documents: Sequence[Document] = (), *, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        self._chunks = tuple(chunk_documents(documents))
        texts = [chunk.page_content for chunk in self._chunks]
        headed = zip(self._chunks, texts, strict=True)
        self._words = WordIndex([f"{_heading(chunk)}\n{text}" for chunk, text in headed])
        self._headings = HeadingIndex([list(_own_headings(chunk)) for chunk in self._chunks])
        self._meaning = MeaningIndex(texts, on_progress=on_progress)

    def best(self, question: str, k: int) -> list[Document]:
        """Return the `k` best chunks, best first; of those with one text only the best is returned."""
        if k < 1:
            raise ValueError(f"k is how many chunks to return and must be at least 1, not {k}.")
        order = fused(
            (_WORDS, self._words.scores(question)),
            (_MEANING, self._meaning.scores(question)),
            (_HEADINGS, self._headings.scores(question)),
        )
        found: dict[str, Document] = {}
        for index in order:
            found.setdefault(self._chunks[index].page_content, self._chunks[index])
        return [chunk.model_copy(deep=True) for chunk in list(found.values())[:k]]


def _heading(chunk: Document) -> str:
    """Return the headings of a chunk once more: a word in a heading counts double."""
    return str(chunk.metadata.get("heading", ""))  # pyright: ignore[reportUnknownMemberType]


def _own_headings(chunk: Document) -> Iterator[str]:
    """Yield the innermost heading that a chunk stands under, and those within it."""
    yield _heading(chunk).rpartition(" > ")[2]
    for line in _HEADING_LINE.findall(chunk.page_content):
        yield _MARKUP.sub("", line)
