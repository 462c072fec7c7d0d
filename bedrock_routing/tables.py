"""A bounded table, safe for threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["Bounded"]

K = TypeVar("K")
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """Be a table that forgets what was used longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return the value and count it as used.

        Every call asks dozens of times. Each step is atomic, so this takes no lock.
        """
        value = self._items.get(key)
        if value is not None:
            try:
                self._items.move_to_end(key)
            except KeyError:  # it has gone in between, and was found all the same
                return value
        return value

    def found(self, keys: Iterable[K]) -> list[tuple[K, V]]:
        """Return those of the keys that are there, with their values; does not count as use."""
        with self._lock:
            return [(key, self._items[key]) for key in keys if key in self._items]

    def put(self, key: K, value: V) -> None:
        """Keep the value; the oldest gives way."""
        self.put_all((key,), value)

    def put_all(self, keys: Iterable[K], value: V) -> None:
        """Keep one value under many keys."""
        with self._lock:
            for key in keys:
                self._items[key] = value
                self._items.move_to_end(key)
            while len(self._items) > self._size:
                self._items.popitem(last=False)

    def __len__(self) -> int:
        return len(self._items)
