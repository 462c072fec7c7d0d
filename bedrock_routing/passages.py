"""Say what a call holds on its way through a gate: what it writes, who waits for it, how it is told."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from bedrock_routing.bridge import Signal
from bedrock_routing.catalog import Ttl
from bedrock_routing.policy import CachePolicy
from bedrock_routing.receipt import Receipt
from bedrock_routing.turn import Turn

if TYPE_CHECKING:
    from bedrock_routing.fanout import Gate

__all__ = ["UNFINISHED", "Key", "Passage", "Route", "Sharing", "Stage", "Writing"]

logger = logging.getLogger("bedrock_routing")

Key: TypeAlias = "tuple[str, bytes, Ttl]"
"""A prefix as a target is asked for it: ARN, digest, lifetime."""


class Stage(enum.Enum):
    """Name what those who wait for a call are told of it."""

    WRITING = enum.auto()
    PRIMING = enum.auto()
    READY = enum.auto()
    GONE = enum.auto()
    """The call came to nothing: one of those who wait leads next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Say what a call is known to share with others that are made at about the same time."""

    path: str
    """The block on the wire in which that ends."""
    end: int | None = None
    """The characters of its text up to there; `None`: the whole block."""
    followers: int = 0
    """How many of the others are still to come."""


UNFINISHED = (Stage.WRITING, Stage.PRIMING)


@dataclass(slots=True, kw_only=True, eq=False)
class Writing:
    """Be one call that writes prefixes, and know who waits for it; guarded by the gate's lock."""

    keys: tuple[Key, ...]
    since: float
    late: bool
    """Only its reply will be seen; a call whose first event is seen leads instead of waiting for it."""
    stage: Stage = Stage.WRITING
    wanted: dict[Key, int] = field(default_factory=dict[Key, int])
    waiting: list[Signal] = field(default_factory=list[Signal])
    """Given once the stage is final, to all who wait: threads, and calls on event loops."""
    primes: frozenset[str] = frozenset()
    """The models that were primed."""
    pending: int = 0
    """How many primes have not come back yet."""
    over: bool = False

    def join(self, wanted: Sequence[Key], ready: Signal) -> Signal:
        """Count a call that waits for some of the prefixes; return what it is to wait for."""
        for key in wanted:
            self.wanted[key] = self.wanted.get(key, 0) + 1
        self.waiting.append(ready)
        return ready

    def part(self, wanted: Sequence[Key], ready: Signal) -> None:
        """Let a call wait no more, for whatever reason."""
        for key in wanted:
            self.wanted[key] -= 1
        self.waiting.remove(ready)

    def become(self, stage: Stage) -> None:
        """Come to a stage; one that is final releases those who wait."""
        self.stage = stage
        if stage not in UNFINISHED:
            for each in self.waiting:
                each.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Say how a call is planned, and what may be done for those who wait for it."""

    plan: Callable[[], Turn]
    prime: Callable[[Turn], object]
    """Send a prime and account for it."""
    clock: Callable[[], float]
    policy: CachePolicy
    streams: bool
    """Whether the caller asked for a stream."""
    followers: int = 0
    """How many calls over the same prefix are known to come later, besides those that wait."""
    may_stream: bool
    """Whether a call for a whole answer may be sent as a stream, so that its first event is seen."""


@dataclass(slots=True, kw_only=True, eq=False)
class Passage:
    """Be what a call holds while it is on its way; it must leave, however the call ends."""

    turn: Turn
    gate: Gate | None = None
    """`None`: nobody ever waits for this call, nor it for others."""
    route: Route | None = None
    writing: Writing | None = None
    early: bool = False
    """Whether a call for a whole answer should go as a stream, since others may come to wait for it."""
    primes: frozenset[str] = frozenset()
    """The models that were primed for this call."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def opened(self, *, led: bool = True) -> None:
        """Note that the first event has come, so that what this call writes can be read.

        `led`: by whom is not known yet, if it was a router that was asked.
        """
        if self.gate is None or self.route is None or self.writing is None:
            return
        try:
            self.gate.open(self.turn, self.route, self.writing, led=led)
        except Exception:
            logger.warning("calls that wait could not be released; the call is not affected", exc_info=True)
            self.leave()

    def ended(self, receipt: Receipt) -> None:
        """Note how the call ended, once the state has learned of it."""
        if self.gate is not None and self.route is not None and self.primes:
            self.gate.note(self, receipt, self.route.clock())
        if receipt.complete:
            self.opened(led=False)

    def cannot_stream(self) -> None:
        """Note that the target gives no streams: what it answers is seen as a whole only."""
        if self.gate is not None and self.route is not None:
            self.gate.fail("stream", self.turn.target.arn, self.route.clock())

    def leave(self) -> None:
        """Let others lead where this call came to nothing; a second time does nothing."""
        if self.gate is not None and self.writing is not None:
            self.gate.leave(self.writing)
            self.writing = None
