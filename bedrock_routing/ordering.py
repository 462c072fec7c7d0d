"""Put retrieved documents in an order that stays the same from question to question."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

__all__ = ["SeenOrder"]

T = TypeVar("T")


class SeenOrder:
    """Remember in which order the last `bound` documents were first seen; safe for threads.

    Copies start with the same memory and go on apart.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._places: OrderedDict[str, int] = OrderedDict()
        self._next = 0
        self._lock = threading.Lock()

    def arrange(self, documents: Sequence[T], key: Callable[[T], str]) -> list[T]:
        """Return the documents seen earlier in their earlier order, and then the new ones in theirs.

        `key` names a document; two with one name are the same document.
        """
        with self._lock:
            placed = [(self._place(key(each)), each) for each in documents]
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
