"""Keep prefixes warm between calls, for who asks for it: when a ping is due and pays, send it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from bedrock_routing.errors import ConfigurationError
from bedrock_routing.keep_warm import MARGIN
from bedrock_routing.kept import Kept, KeptPrefixes, Stopped
from bedrock_routing.ledger import Ledger
from bedrock_routing.state import TTL_SECONDS
from bedrock_routing.watching import Finished, watching_here

if TYPE_CHECKING:
    from bedrock_routing.client import RoutedClient

__all__ = ["KeepWarm"]

logger = logging.getLogger("bedrock_routing")

Wait: TypeAlias = "Callable[[threading.Condition, float | None], object]"


class KeepWarm:
    """Keep what finished calls have cached in the cache while no call comes, as long as that pays.

    Nothing is sent before it is entered (`with KeepWarm(client):`), nor after it was left. Half a minute
    before an entry ends, the longest prefix of a call is asked for one token; behind a router the models that
    hold it are asked directly, each by its share of the answers. Every ping is a call of its own: it costs a
    read, has a receipt with `purpose` "ping" in the ledgers that the call before it went to, and is counted
    in `ledger`. Nothing in here raises into a call.

    A prefix is given up when its pings cost as much as one write, when they do not pay, when a ping fails or
    did not read, or when the entry is gone; the next call over it starts again. `stopped` says what was given
    up and why. Only calls whose points were placed by a `RoutedClient` are kept; those with a guardrail are
    not, since it charges for pings too.

    `client`: whose calls are kept, from any thread; without one all calls made inside the block are, also
    through a framework, as in `collect()`. `chance`: of another call within the lifetime that a ping adds; it
    is corrected by what becomes of the pings. `expected_idle`: seconds between calls over a prefix, if they
    are known; where an entry of an hour would cost less than pings, none are sent, and `stopped` says so.
    `most`: prefixes that are kept at once, the newest. `thread=False`: nothing is sent unless you call
    `tend`; `wait` stands in for `Condition.wait` in the thread. Raises `ConfigurationError` for impossible
    values.
    """

    def __init__(
        self,
        client: RoutedClient | None = None,
        *,
        chance: float = 0.5,
        expected_idle: float | None = None,
        most: int = 8,
        margin: float = MARGIN,
        thread: bool = True,
        wait: Wait = threading.Condition.wait,
    ) -> None:
        _check(client, chance=chance, most=most, margin=margin)
        self.ledger = Ledger()
        """The receipts of the pings."""
        self._client = client
        self._prefixes = KeptPrefixes(prior=chance, idle=expected_idle, most=most, margin=margin)
        self._threaded = thread
        self._wait = wait
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._open: ExitStack | None = None

    def __enter__(self) -> Self:
        with self._changed:
            if self._open is not None:
                raise ConfigurationError("this KeepWarm is open already; make another one")
            self._open = ExitStack()
        if self._client is None:
            self._open.enter_context(watching_here(self._observe))
        else:
            self._client.watchers.add(self._observe)
            self._open.callback(self._client.watchers.remove, self._observe)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Send nothing any more; a ping that is on its way is not waited for."""
        with self._changed:
            entered, self._open = self._open, None
            self._prefixes.clear()
            self._changed.notify_all()
        if entered is not None:
            entered.close()

    @property
    def chance(self) -> float:
        """Return the chance that a ping is followed by a call while what it added lasts, as it is now."""
        with self._changed:
            return self._prefixes.chance

    @property
    def stopped(self) -> tuple[Stopped, ...]:
        """Return what is not kept warm any longer, and why; the newest hundred."""
        with self._changed:
            return tuple(self._prefixes.stopped)

    def tend(self) -> float | None:
        """Send the pings that are due now; return the seconds until the next one is, `None` without any.

        The thread does just this. Call it yourself with `thread=False`, from a scheduler of your own.
        """
        while (kept := self._take_due()) is not None:
            self._ping(kept)
        with self._changed:
            return self._prefixes.seconds_left()

    def _observe(self, finished: Finished) -> None:
        context = copy_context()
        with self._changed:
            if self._open is None:
                return
            self._prefixes.observe(finished, context)
            if self._threaded and self._thread is None and self._prefixes.seconds_left() is not None:
                name = "bedrock-routing-keep-warm"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _take_due(self) -> Kept | None:
        with self._changed:
            return self._prefixes.take_due()

    def _ping(self, kept: Kept) -> None:
        """Send one ping; what goes wrong with it is noted and raised nowhere."""
        now, call = kept.finished.clock(), kept.ping()
        if call is None:
            return
        try:
            receipt = kept.context.copy().run(kept.finished.ask, call)
        except Exception as error:
            logger.info("a ping of %s failed; it is not pinged for a while", kept.name, exc_info=True)
            with self._changed:
                self._prefixes.failed(kept, error, now)
            return
        self.ledger.add(receipt)
        with self._changed:
            if self._open is not None:
                self._prefixes.pinged(kept, receipt, now)

    def _run(self) -> None:
        while self._is_due():
            try:
                self.tend()
            except Exception:
                logger.warning("keeping prefixes warm failed, and ends", exc_info=True)
                self.close()

    def _is_due(self) -> bool:
        """Wait until a ping is due; `False`: there will be none, the block is left."""
        with self._changed:
            while self._open is not None and ((left := self._prefixes.seconds_left()) is None or left > 0):
                self._wait(self._changed, left)
            if self._open is None:
                self._thread = None
            return self._open is not None


def _check(client: Any, *, chance: float, most: int, margin: float) -> None:
    if client is not None and not hasattr(client, "watchers"):
        raise ConfigurationError(
            "KeepWarm needs a RoutedClient, or none at all to keep what is called inside its block"
        )
    if not 0 <= chance <= 1:
        raise ConfigurationError(f"chance must be between 0 and 1, not {chance}")
    if most < 1:
        raise ConfigurationError(f"most must be at least 1, not {most}")
    if not 0 < margin < TTL_SECONDS["5m"]:
        raise ConfigurationError(f"margin must be above 0 and below {TTL_SECONDS['5m']:.0f}, not {margin}")
