"""Make many calls, in the order in which a cache serves them best, on a bounded number of threads.

Of the requests that share a beginning one goes first, and the others follow while it is warm. That no two
write the same prefix is what the gate in `fanout` sees to; here only the order is chosen, and how many calls
are on their way.
"""

from __future__ import annotations

import enum
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from bedrock_routing.connections import connections_of
from bedrock_routing.documents import process_memory
from bedrock_routing.errors import ConfigurationError
from bedrock_routing.grouping import Beginning, arrange, beginnings_of
from bedrock_routing.passages import Sharing

__all__ = ["Outcome", "Progress", "Schedule", "converse_many"]

if TYPE_CHECKING:
    from bedrock_routing.client import RoutedClient

logger = logging.getLogger("bedrock_routing")

Wire: TypeAlias = Mapping[str, Any]
Outcome: TypeAlias = "dict[str, Any] | Exception"
_Name: TypeAlias = "bytes | int"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Say how far many calls have come."""

    done: int = 0
    """Calls that have come back, with a reply or an error."""
    failed: int = 0
    """Those of them with an error."""
    total: int | None = None
    """All there are; `None` where the requests come from an iterator, which does not say."""


class _State(enum.Enum):
    """Name what is known of a group's prefix."""

    COLD = enum.auto()
    """Whoever goes next leads."""
    LED = enum.auto()
    """A leader is on its way."""
    WARM = enum.auto()


class Schedule:
    """Say which request goes next; used by one thread.

    Followers of a group that is warm come first, so that it is done before it cools. A further group is begun
    when what is left of the begun ones no longer fills all threads. Followers whose leader is on its way go
    when there is nothing else: they wait at the gate, and go on at the leader's first event.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._counts: Counter[bytes] = Counter()
        self._unsent: dict[int, tuple[Beginning, ...]] = {}
        self._cold: deque[_Name] = deque()
        self._members: dict[_Name, deque[int]] = {}
        self._states: dict[_Name, _State] = {}
        self._begun: dict[_Name, None] = {}
        self._sent: dict[int, tuple[_Name, Beginning | None]] = {}
        self._leaders: dict[_Name, int] = {}

    @property
    def unsent(self) -> int:
        """Return how many requests wait."""
        return len(self._unsent)

    def add(self, requests: Mapping[int, tuple[Beginning, ...]]) -> None:
        """Take in further requests, and group all that wait anew."""
        self._counts.update(each.digest for beginnings in requests.values() for each in beginnings)
        self._unsent |= requests
        groups = arrange(self._unsent, self._counts)
        self._members = {
            group.leader if group.prefix is None else group.prefix: deque(group.members) for group in groups
        }
        self._begun = {name: None for name in self._states if name in self._members}
        self._cold = deque(name for name in self._members if name not in self._begun)

    def take(self) -> int | None:
        """Return the request that goes next, `None` when none waits."""
        name = self._next_group()
        if name is None:
            return None
        self._begun[name] = None
        members = self._members[name]
        number = members.popleft()
        if not members:
            del self._members[name], self._begun[name]
        if self._states.get(name, _State.COLD) is _State.COLD:
            self._states[name] = _State.LED
            self._leaders[name] = number
        beginnings = self._unsent.pop(number)
        self._sent[number] = name, next((each for each in beginnings if each.digest == name), None)
        return number

    def sharing(self, number: int) -> Sharing | None:
        """Return what a request that was taken shares with the others of its group."""
        name, end = self._sent[number]
        followers = len(self._members.get(name, ()))
        return end and Sharing(path=end.path, end=end.end, followers=followers)

    def ended(self, number: int, *, failed: bool) -> None:
        """Note that a call has come back. Where a leader failed, the next of its group leads."""
        name, _ = self._sent.pop(number)
        if not failed:
            self._states[name] = _State.WARM
        elif self._states[name] is _State.LED and self._leaders[name] == number:
            self._states[name] = _State.COLD

    def _next_group(self) -> _Name | None:
        for wanted in (_State.WARM, _State.COLD):
            found = next((name for name in self._begun if self._states[name] is wanted), None)
            if found is not None:
                return found
        if self._cold and sum(len(self._members[name]) for name in self._begun) < self._at_once:
            return self._cold.popleft()
        return next(iter(self._begun), None)


@overload
def converse_many(
    client: RoutedClient,
    requests: Iterable[Wire],
    *,
    max_concurrency: int | None = None,
    return_errors: Literal[False] = False,
    on_progress: Callable[[Progress], object] | None = None,
    ahead: int = 1_000,
) -> list[dict[str, Any]]: ...


@overload
def converse_many(
    client: RoutedClient,
    requests: Iterable[Wire],
    *,
    max_concurrency: int | None = None,
    return_errors: bool,
    on_progress: Callable[[Progress], object] | None = None,
    ahead: int = 1_000,
) -> list[Outcome]: ...


def converse_many(
    client: RoutedClient,
    requests: Iterable[Wire],
    *,
    max_concurrency: int | None = None,
    return_errors: bool = False,
    on_progress: Callable[[Progress], object] | None = None,
    ahead: int = 1_000,
) -> list[dict[str, Any]] | list[Outcome]:
    """Make many calls of `client.converse`, each given as its arguments; return the replies in their order.

    Whatever order they come in, those that share a beginning are sent after one of them and while it is warm.
    An error stays with its call: with `return_errors` it stands in the place of the reply, else, when all
    calls are made, the first one is raised. At most `max_concurrency` calls are on their way at once; by
    default as many as the client has connections (botocore's `max_pool_connections`, 10). A list is put in
    order as a whole; an iterator is read `ahead` requests at a time, and only they are. `on_progress` is
    called after each call, in the caller's thread. Raises `ConfigurationError` for impossible numbers.
    """
    at_once = connections_of(client) if max_concurrency is None else max_concurrency
    if at_once < 1 or ahead < 1:
        raise ConfigurationError(f"max_concurrency ({at_once}) and ahead ({ahead}) must be at least 1")
    outcomes = _make_all(client, requests, at_once, ahead, _telling(on_progress))
    return outcomes if return_errors else _raise_first(outcomes)


def _make_all(
    client: RoutedClient,
    requests: Iterable[Wire],
    at_once: int,
    ahead: int,
    tell: Callable[[Progress], None],
) -> list[Outcome]:
    """Return what each call returned or raised, in the order of the requests."""
    total = len(requests) if isinstance(requests, Sized) else None
    ahead = ahead if total is None else max(total, 1)
    source, schedule = enumerate(requests), Schedule(at_once)
    waiting: dict[int, Wire] = {}
    outcomes: dict[int, Outcome] = {}
    ended: SimpleQueue[tuple[int, dict[str, Any] | BaseException]] = SimpleQueue()
    progress = Progress(total=total)

    def make(number: int, request: Wire, sharing: Sharing | None) -> None:
        try:
            with nullcontext() if sharing is None else client.sharing(sharing):
                ended.put((number, client.converse(**request)))
        except BaseException as error:
            ended.put((number, error))

    with ThreadPoolExecutor(at_once, thread_name_prefix="bedrock-routing-bulk") as pool:
        while True:
            if schedule.unsent <= ahead // 2 and (more := dict(islice(source, ahead - schedule.unsent))):
                waiting |= more
                schedule.add({number: _beginnings(request) for number, request in more.items()})
            running = len(waiting) - schedule.unsent
            while running < at_once and (number := schedule.take()) is not None:
                sharing = schedule.sharing(number)
                pool.submit(copy_context().run, make, number, waiting[number], sharing)
                running += 1
            if not running:
                break
            number, outcome = ended.get()
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
            failed = isinstance(outcome, Exception)
            del waiting[number]
            schedule.ended(number, failed=failed)
            outcomes[number] = outcome
            progress = replace(progress, done=progress.done + 1, failed=progress.failed + failed)
            tell(progress)
    return [outcomes[number] for number in range(len(outcomes))]


def _raise_first(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return the replies; if there are errors, raise that of the first request that has one."""
    replies = [each for each in outcomes if not isinstance(each, Exception)]
    errors = [each for each in outcomes if isinstance(each, Exception)]
    if errors:
        errors[0].add_note(
            f"{len(errors)} of {len(outcomes)} calls failed; return_errors=True returns the replies of the "
            "others, and each error in its place."
        )
        raise errors[0]
    return replies


def _beginnings(request: Wire) -> tuple[Beginning, ...]:
    """Return the beginnings of a request; one that cannot be read is sent all the same, on its own."""
    try:
        return beginnings_of(request, process_memory())
    except Exception:
        logger.debug("a request could not be compared with others", exc_info=True)
        return ()


def _telling(on_progress: Callable[[Progress], object] | None) -> Callable[[Progress], None]:
    """Return what tells of progress; what goes wrong with it is logged once and stops nothing."""
    has_failed = False

    def tell(progress: Progress) -> None:
        nonlocal has_failed
        if on_progress is None:
            return
        try:
            on_progress(progress)
        except Exception:
            if not has_failed:
                logger.warning("on_progress failed; the calls go on", exc_info=True)
            has_failed = True

    return tell
