"""Put retrieved documents in an order that stays the same from question to question."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Self

from langchain_core.documents import Document

__all__ = ["RANK", "Metadata", "SeenOrder", "ranked", "without_duplicates"]

RANK = "bedrock_routing_rank"
"""The metadata key of a document's place in the inner retriever's answer; 1 is the best."""


class Metadata(dict[str, Any]):
    """Be a document's metadata, printed without the rank.

    The rank differs from question to question. A chain that prints whole documents into its prompt would
    otherwise never ask the same prompt twice.
    """

    def __repr__(self) -> str:
        return repr({key: value for key, value in self.items() if key != RANK})


def ranked(documents: Iterable[Document]) -> list[Document]:
    """Return copies that know their rank; the documents given are left as they are."""
    return [
        each.model_copy(update={"metadata": Metadata({**each.metadata, RANK: rank})})
        for rank, each in enumerate(documents, start=1)
    ]


def without_duplicates(documents: Iterable[Document]) -> list[Document]:
    """Keep the first of each document: of the same id, or without ids of the same text."""
    first: dict[str, Document] = {}
    for each in documents:
        first.setdefault(_key(each), each)
    return list(first.values())


class SeenOrder:
    """Remember in which order the last `bound` documents were first seen; safe for threads.

    Copies start with the same memory and go on apart.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._places: OrderedDict[str, int] = OrderedDict()
        self._next = 0
        self._lock = threading.Lock()

    def arrange(self, documents: Sequence[Document]) -> list[Document]:
        """Return the documents seen earlier in their earlier order, and then the new ones in theirs."""
        with self._lock:
            placed = [(self._place(_key(each)), each) for each in documents]
            while len(self._places) > self._bound:
                self._places.popitem(last=False)
        return [each for _, each in sorted(placed, key=lambda pair: pair[0])]

    def _place(self, key: str) -> int:
        if key not in self._places:
            self._places[key] = self._next
            self._next += 1
        self._places.move_to_end(key)
        return self._places[key]

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"bound": self._bound, "places": OrderedDict(self._places), "next": self._next}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._bound, self._places, self._next = state["bound"], state["places"], state["next"]
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self)(self._bound)
        twin.__setstate__(self.__getstate__())
        return twin


def _key(document: Document) -> str:
    if document.id is not None:
        return f"id:{document.id}"
    return hashlib.blake2b(document.page_content.encode(errors="surrogatepass"), digest_size=16).hexdigest()
