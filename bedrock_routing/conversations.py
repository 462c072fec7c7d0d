"""Remember who answered the calls that a call continues, without any session id.

A request continues an earlier one when that one, or its part up to a cache point behind documents or turns,
stands at its head: so a conversation goes on, and so do separate questions over the same documents. What all
conversations begin with, tools and system prompt, makes no conversation.

Holds digests, model ids, counts and sums, never prompt text. Every table is bounded and safe for threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from bedrock_routing.affinity import Conversation, Decision
from bedrock_routing.arns import ModelRef
from bedrock_routing.placing import Placed
from bedrock_routing.request import member, sequence, text_digest
from bedrock_routing.state import CacheState
from bedrock_routing.tables import Bounded

__all__ = ["Caller", "Choice", "Conversations", "conversations_of"]

Wire = Mapping[str, Any]

_SHUT_SECONDS = 3600.0
"""For how long a model that may not be asked directly is left alone."""
_COMMON_TO_ALL = frozenset({"tools", "system"})
"""Kinds of boundaries up to which all conversations are the same."""


class Caller(NamedTuple):
    """Be who made a tool call."""

    model: ModelRef
    router: str | None
    """The router that had the model answer; `None` where nobody says that one did."""


class Conversations:
    """Know, per router, what is known of the calls that went before."""

    def __init__(self, *, size: int = 4096) -> None:
        self._known: Bounded[tuple[str, bytes], Conversation] = Bounded(size)
        self._callers: Bounded[bytes, Caller] = Bounded(size)
        self._shut: Bounded[tuple[str, str], float] = Bounded(256)
        self._lock = threading.Lock()

    def longest(self, router: str, digests: Iterable[bytes]) -> tuple[bytes | None, Conversation]:
        """Return the first of the digests that is known, and the conversation; a new one if none is."""
        for (_, digest), conversation in self._known.found((router, each) for each in digests):
            return digest, conversation
        return None, Conversation()

    def update(
        self, router: str, keys: Sequence[bytes], change: Callable[[Conversation], Conversation]
    ) -> None:
        """Change what is known under the first key, as it is now, and keep it under all of them.

        Calls at once begin with the same record; each is counted all the same.
        """
        with self._lock:
            _, before = self.longest(router, keys[:1])
            self._known.put_all([(router, each) for each in keys], change(before))

    def mark_caller(self, calls: Iterable[str], caller: Caller) -> None:
        """Note who made these tool calls, by their ids."""
        self._callers.put_all([text_digest(each) for each in calls], caller)

    def caller(self, calls: Iterable[str]) -> Caller | None:
        """Return who made one of these tool calls; `None` if that is not known."""
        found = self._callers.found(text_digest(each) for each in calls)
        return found[0][1] if found else None

    def shut(self, router: str, model: str, now: float) -> None:
        """Note that a model behind a router may not be asked directly."""
        self._shut.put((router, model), now + _SHUT_SECONDS)

    def may_ask(self, router: str, model: str, now: float) -> bool:
        """Tell whether a model behind a router may be asked directly, by what is known."""
        until = self._shut.get((router, model))
        return until is None or until <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Be what was decided for one call, and where to note what came of it."""

    known: Conversations
    router: str
    """Its ARN, whoever was asked."""
    models: tuple[ModelRef, ...]
    """Those that it may invoke."""
    decision: Decision
    found: bytes | None = None
    """The prefix by which the conversation was recognised."""
    end: bytes | None = None
    """The whole request, before the call was planned anew; `None`: only tool calls are of interest."""

    def at_router(self, why: str) -> Choice:
        """Return the choice once the model could not be asked and the router is."""
        decision = replace(self.decision, model=None, decided_by=f"router: {why}", locked=False)
        return replace(self, decision=decision)

    def shut(self, now: float) -> None:
        """Note that the model may not be asked directly."""
        if self.decision.model is not None:
            self.known.shut(self.router, self.decision.model, now)

    def note(
        self, answered: ModelRef, reply: Wire, *, end: bytes, placed: Sequence[Placed], output: int | None
    ) -> None:
        """Remember that a model has answered; `end` and `placed` are of the request as it went out."""
        calls = tuple(_tool_calls(reply))
        if calls:
            self.known.mark_caller(calls, Caller(answered, self.router))
        if self.end is None:
            return

        def after(before: Conversation) -> Conversation:
            waits = bool(calls)
            return before.after(self.decision, answered.cache_key, pending_tool=waits, output=output)

        keys = dict.fromkeys((self.found, end or self.end, *_points_of_its_own(placed)))
        self.known.update(self.router, [each for each in keys if each is not None], after)


def _points_of_its_own(placed: Sequence[Placed]) -> Iterator[bytes]:
    """Yield the points by which a later call is recognised.

    What the caller placed by hand in front of the messages may be anything, so it counts for nothing.
    """
    for point in placed:
        boundary = point.boundary
        common = point.section != "messages" if boundary.by_hand else boundary.kind in _COMMON_TO_ALL
        if not common:
            yield boundary.digest


def _tool_calls(reply: Wire) -> Iterator[str]:
    """Yield the ids of the tool calls in a reply."""
    message = member(member(reply, "output"), "message")
    for block in sequence(member(message, "content")):
        call = member(member(block, "toolUse"), "toolUseId")
        if isinstance(call, str):
            yield call


_books: WeakKeyDictionary[CacheState, Conversations] = WeakKeyDictionary()
_books_lock = threading.Lock()


def conversations_of(state: CacheState) -> Conversations:
    """Return what is known of all conversations of those who share what is known of a cache."""
    with _books_lock:
        return _books.setdefault(state, Conversations())
