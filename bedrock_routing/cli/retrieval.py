"""A LangChain retriever over documents that are too long to be sent whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import Field, PrivateAttr

from bedrock_routing.cli.chunking import chunk_documents
from bedrock_routing.cli.ranking import HeadingIndex, MeaningIndex, WordIndex, fused

__all__ = ["HybridRetriever"]

_WORDS, _MEANING, _HEADINGS = 2.0, 1.0, 1.0  # where rankings disagree, the one by words is right more often
_HEADING_LINE = re.compile(r"^#{1,6}[ \t]+(.+)$", re.MULTILINE)
_MARKUP = re.compile(r"<[^>\n]*>|\{#[^}\n]*\}|\\(?=[^\w\s])")


class HybridRetriever(BaseRetriever):
    """Find the chunks of documents that speak of a question, by its words, its meaning and their headings.

    Build one with `from_documents`. `k` is how many chunks come back, best first; `k=3` in `invoke`
    counts for that call. What comes back are copies: changing them changes nothing here.
    """

    k: int = Field(default=6, ge=1)
    _chunks: tuple[Document, ...] = PrivateAttr(default=())
    _words: WordIndex = PrivateAttr(default_factory=lambda: WordIndex(()))
    _headings: HeadingIndex = PrivateAttr(default_factory=lambda: HeadingIndex(()))
    _meaning: MeaningIndex = PrivateAttr(default_factory=lambda: MeaningIndex(()))

    @classmethod
    def from_documents(
        cls, documents: Sequence[Document], k: int = 6, on_progress: Callable[[int, int], None] | None = None
    ) -> HybridRetriever:
        """Cut documents into chunks and index them; `on_progress` gets the chunks done and all of them."""
        retriever = cls(k=k)
        retriever._index(chunk_documents(documents), on_progress)
        return retriever

    @property
    def chunks(self) -> tuple[Document, ...]:
        """Return copies of all chunks, in the order of the documents."""
        return tuple(chunk.model_copy(deep=True) for chunk in self._chunks)

    def _index(self, chunks: Sequence[Document], on_progress: Callable[[int, int], None] | None) -> None:
        texts = [chunk.page_content for chunk in chunks]
        self._chunks = tuple(chunks)
        self._words = WordIndex(
            [f"{_heading(chunk)}\n{text}" for chunk, text in zip(chunks, texts, strict=True)]
        )
        self._headings = HeadingIndex([list(_own_headings(chunk)) for chunk in chunks])
        self._meaning = MeaningIndex(texts, on_progress=on_progress)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager
        return self._best(query, k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager
        return await run_in_executor(None, self._best, query, k)

    def _best(self, query: str, k: int | None) -> list[Document]:
        wanted = self.k if k is None else k
        if wanted < 1:
            raise ValueError(f"k is how many chunks to return and must be at least 1, not {wanted}.")
        order = fused(
            (_WORDS, self._words.scores(query)),
            (_MEANING, self._meaning.scores(query)),
            (_HEADINGS, self._headings.scores(query)),
        )
        return [self._chunks[index].model_copy(deep=True) for index in order[:wanted]]


def _heading(chunk: Document) -> str:
    """Return the headings of a chunk once more: a word in a heading counts double."""
    return str(chunk.metadata.get("heading", ""))  # pyright: ignore[reportUnknownMemberType]


def _own_headings(chunk: Document) -> Iterator[str]:
    """Yield the innermost heading that a chunk stands under, and those within it."""
    yield _heading(chunk).rpartition(" > ")[2]
    for line in _HEADING_LINE.findall(chunk.page_content):
        yield _MARKUP.sub("", line)
