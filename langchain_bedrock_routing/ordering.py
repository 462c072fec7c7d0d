"""What an order of documents needs to know of each: its rank, its name and its size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.documents import Document

__all__ = [
    "RANK",
    "VOLATILE",
    "Metadata",
    "key_of",
    "ranked",
    "size_of",
    "without_duplicates",
    "without_rank",
]

RANK = "bedrock_routing_rank"
"""The metadata key of a document's place in the inner retriever's answer; 1 is the best."""

VOLATILE = (
    "score",
    "_score",
    "@search.score",
    "@search.reranker_score",
    "relevance_score",
    "rerank_score",
    "similarity_score",
    "query_similarity_score",
    "distance",
    "_distance",
)
"""The metadata keys under which searches and rerankers say how well a document fits one question."""


class Metadata(dict[str, Any]):
    """Be a document's metadata, printed without its rank and what else is `volatile`.

    These differ from question to question. A chain that prints whole documents into its prompt would
    otherwise never ask the same prompt twice.
    """

    def __init__(self, values: Mapping[str, Any], volatile: Iterable[str] = ()) -> None:
        super().__init__(values)
        self._unprinted = frozenset({RANK, *volatile})

    def __repr__(self) -> str:
        return repr({key: value for key, value in self.items() if key not in self._unprinted})


def ranked(documents: Iterable[Document], volatile: Iterable[str] = ()) -> list[Document]:
    """Return copies that know their rank; the documents given are left as they are."""
    return [
        each.model_copy(update={"metadata": Metadata({**each.metadata, RANK: rank}, volatile)})
        for rank, each in enumerate(documents, start=1)
    ]


def without_rank(document: Document, volatile: Iterable[str] = ()) -> Document:
    """Return a copy that has no rank, of a document that this question did not find."""
    kept = {key: value for key, value in document.metadata.items() if key != RANK}
    return document.model_copy(update={"metadata": Metadata(kept, volatile)})


def without_duplicates(documents: Iterable[Document]) -> list[Document]:
    """Keep the first of each document: of the same id, or without ids of the same text."""
    first: dict[str, Document] = {}
    for each in documents:
        first.setdefault(key_of(each), each)
    return list(first.values())


def key_of(document: Document) -> str:
    """Return what tells a document apart: its id, else its text."""
    if document.id is not None:
        return f"id:{document.id}"
    return hashlib.blake2b(document.page_content.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def size_of(document: Document) -> int:
    """Return the length of a document's text in characters."""
    return len(document.page_content)
