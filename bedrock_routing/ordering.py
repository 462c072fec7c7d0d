"""Put retrieved documents in an order that lets a prompt begin as an earlier one did.

A cache keeps beginnings: two prompts share what they share from the first character on, and not one token
more. Which documents stand first is therefore worth money, while the best of them stay the best wherever they
stand.

Pure: the time is an argument, in seconds of any clock that only goes forward.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar, get_args

from bedrock_routing.errors import ConfigurationError

__all__ = ["OrderMode", "SeenOrder"]

T = TypeVar("T")

OrderMode = Literal["shared", "stable", "preserve"]

_LIFETIME = 300.0
_FADING = 0.97
"""What is left of a count when the next documents are arranged: about the last thirty questions speak."""
_DETOURS = 500
"""Beginnings looked at besides the most promising one; they are hardly ever so many."""


class SeenOrder:
    """Arrange documents by what was seen of them before; safe for threads.

    `shared` begins with the longest warm beginning: the most text that was served in this order within
    `lifetime` seconds. Documents that were asked for most often lately follow, new ones come last. `stable`
    keeps the order of first sight, `preserve` the order given. The last `bound` documents are remembered, and
    as many beginnings. Copies start with the same memory and go on apart. Raises `ConfigurationError` for
    another mode.
    """

    def __init__(self, bound: int, mode: OrderMode = "shared", *, lifetime: float = _LIFETIME) -> None:
        if mode not in get_args(OrderMode):
            raise ConfigurationError(f"order must be one of {', '.join(get_args(OrderMode))}, not {mode!r}")
        self._mode = mode
        self._first_seen = _FirstSeen(bound)
        self._served = _Served(bound, lifetime)
        self._lock = threading.Lock()

    def arrange(
        self,
        documents: Sequence[T],
        key: Callable[[T], str],
        *,
        size: Callable[[T], int],
        now: float,
        first: int = 0,
    ) -> list[T]:
        """Return the documents in their new order; the first `first` stay first, as they are.

        `key` names a document; two with one name are the same document. `size` is its length in any unit.
        """
        if self._mode == "preserve":
            return list(documents)
        together: defaultdict[str, list[T]] = defaultdict(list)
        for each in documents:
            together[key(each)].append(each)
        names = list(together)
        with self._lock:
            if self._mode == "stable":
                order = [*names[:first], *self._first_seen.arrange(names, after=first)]
            else:
                sizes = {name: sum(map(size, same)) for name, same in together.items()}
                order = self._served.arrange(sizes, names[:first], now)
        return [each for name in order for each in together[name]]

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {name: copy.deepcopy(held) for name, held in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = object.__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin


class _FirstSeen:
    """Remember in which order documents were first seen."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._places: OrderedDict[str, int] = OrderedDict()
        self._next = 0

    def arrange(self, names: Sequence[str], *, after: int) -> list[str]:
        """Note all the names and return those after the first ones, in the order of first sight."""
        placed = {name: self._place(name) for name in names}
        _forget(self._places, self._bound)
        return sorted(names[after:], key=placed.__getitem__)

    def _place(self, name: str) -> int:
        if name not in self._places:
            self._places[name] = self._next
            self._next += 1
        self._places.move_to_end(name)
        return self._places[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Count:
    """Count how often something was served; older times fade with every question."""

    times: float = 0.0
    question: int = 0
    last: float = 0.0
    """When it was served last, in seconds."""

    def at(self, question: int) -> float:
        return self.times * _FADING ** (question - self.question)

    def again(self, question: int, now: float) -> _Count:
        return _Count(times=self.at(question) + 1.0, question=question, last=now)


_NEVER = _Count()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beginning:
    """Be a node of the tree of all beginnings: these documents, in this order."""

    number: int
    count: _Count


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """Be a way from the root of the tree over documents that this question found."""

    names: tuple[str, ...] = ()
    number: int = 0
    shared: int = 0
    """Size of the documents on the way."""
    warmth: float = 0.0
    """Size times count, added up: of two ways with as much to share, the one more travelled."""


class _Served:
    """Remember the sequences that were served, as a tree of their beginnings."""

    def __init__(self, bound: int, lifetime: float) -> None:
        self._bound = bound
        self._lifetime = lifetime
        self._documents: OrderedDict[str, _Count] = OrderedDict()
        # The node under (number of its parent, name of its document). The longest unused stands first, and
        # since parents are used with, and noted after, their children, that one never has children left.
        self._nodes: OrderedDict[tuple[int, str], _Beginning] = OrderedDict()
        self._children: dict[int, set[str]] = {}
        self._question = 0
        self._numbered = 0

    def arrange(self, sizes: Mapping[str, int], fixed: Sequence[str], now: float) -> list[str]:
        """Return all names in the order to serve them, beginning with the fixed ones, and note it."""
        self._question += 1
        start = self._follow(fixed)
        head = self._best_way(start, sizes, now).names if start else tuple(fixed)
        rest = sorted((name for name in sizes if name not in set(head)), key=self._often, reverse=True)
        order = [*head, *rest]
        self._note(order, now)
        return order

    def _follow(self, names: Iterable[str]) -> _Way | None:
        way = _Way()
        for name in names:
            node = self._nodes.get((way.number, name))
            if node is None:
                return None
            way = _Way(names=(*way.names, name), number=node.number)
        return way

    def _best_way(self, start: _Way, sizes: Mapping[str, int], now: float) -> _Way:
        """Return the way on from `start` that shares the most; the most travelled ways are tried first."""
        best, left = start, len(sizes) + _DETOURS
        waiting = [start]
        while waiting and left:
            way = waiting.pop()
            best = max(best, way, key=_gain)
            waiting += sorted(self._ways_on(way, sizes, now), key=lambda each: (each.warmth, each.names))
            left -= 1
        return best

    def _ways_on(self, way: _Way, sizes: Mapping[str, int], now: float) -> Iterable[_Way]:
        for name in self._children.get(way.number, set()) & sizes.keys():
            node = self._nodes[way.number, name]
            if now - node.count.last <= self._lifetime:
                yield _Way(
                    names=(*way.names, name),
                    number=node.number,
                    shared=way.shared + sizes[name],
                    warmth=way.warmth + sizes[name] * node.count.at(self._question),
                )

    def _often(self, name: str) -> float:
        return self._documents.get(name, _NEVER).at(self._question)

    def _note(self, order: Sequence[str], now: float) -> None:
        for name in order:
            self._documents[name] = self._documents.get(name, _NEVER).again(self._question, now)
            self._documents.move_to_end(name)
        _forget(self._documents, self._bound)
        parent, passed = 0, list[tuple[int, str]]()
        for name in order:
            place = parent, name
            node = self._nodes.get(place)
            self._nodes[place] = noted = self._served_again(node, now)
            self._children.setdefault(parent, set()).add(name)
            passed.append(place)
            parent = noted.number
        for place in reversed(passed):
            self._nodes.move_to_end(place)
        for parent, name in _forget(self._nodes, self._bound):
            self._children[parent].discard(name)
            if not self._children[parent]:
                del self._children[parent]

    def _served_again(self, node: _Beginning | None, now: float) -> _Beginning:
        if node is not None:
            return _Beginning(number=node.number, count=node.count.again(self._question, now))
        self._numbered += 1
        return _Beginning(number=self._numbered, count=_NEVER.again(self._question, now))


def _gain(way: _Way) -> tuple[int, float]:
    return way.shared, way.warmth


K = TypeVar("K")


def _forget(table: OrderedDict[K, Any], bound: int) -> list[K]:
    """Drop what was used longest ago until `bound` entries are left; return what was dropped."""
    return [table.popitem(last=False)[0] for _ in range(len(table) - bound)]
