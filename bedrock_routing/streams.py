"""Follow a ConverseStream: account for it when its last event has passed, and say when it was cut."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import EventStreamError, IncompleteReadError, ResponseStreamingError
from urllib3.exceptions import ProtocolError

from bedrock_routing.errors import IncompleteStreamError
from bedrock_routing.receipt import KEY, Receipt
from bedrock_routing.request import member
from bedrock_routing.turn import Turn

__all__ = ["RoutedStream"]

logger = logging.getLogger("bedrock_routing")

Event = Mapping[str, Any]
_CUT = (ProtocolError, ResponseStreamingError, IncompleteReadError, ConnectionError)
"""What comes up when a stream is cut inside a frame; between two frames botocore says nothing at all."""


class RoutedStream:
    """Iterate the events of a stream as botocore gives them; the `metadata` event also holds the receipt.

    botocore ends a truncated stream without an error; here it raises `IncompleteStreamError`. `receipt` is
    there as soon as the stream has ended, however it did. `opened` is called at the first event. A stream
    that is left, by closing it or just by dropping it, is recorded where the call was made: in the context
    of that.
    """

    def __init__(
        self,
        stream: Any,
        *,
        turn: Turn,
        finish: Callable[..., Receipt],
        reopen: Callable[[Exception], tuple[Any, Turn] | None],
        explain: Callable[[Exception], Exception] = lambda error: error,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        self._course = _Course(
            stream=stream, turn=turn, finish=finish, reopen=reopen, explain=explain, opened=opened
        )
        self._events: Generator[Event] = self._course.events()

    def __iter__(self) -> Iterator[Event]:
        """Return the one iterator of this stream."""
        return self._events

    def __getattr__(self, name: str) -> Any:
        """Pass the rest of botocore's stream through."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._course.stream, name)

    @property
    def receipt(self) -> Receipt | None:
        """Return the receipt, once the stream has ended, however it did."""
        return self._course.receipt

    def close(self) -> None:
        """Close the connection; a stream that has not ended is recorded as incomplete."""
        self._events.close()
        self._course.leave()

    def interrupt(self) -> None:
        """Make a read that blocks in another thread return; that thread then closes the connection.

        `close` would wait for that very read, so only the reading side of the socket is shut down. botocore
        offers nothing for this, hence the look inside; where there is no socket any more, it does nothing.
        """
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            self._course.stream._raw_stream.shutdown()


@dataclass(kw_only=True, eq=False)
class _Course:
    """Be how far a stream has come. Its iterator holds it and it never holds that.

    Else they would hold each other, and a stream that is dropped would stay open until Python looks for such
    cycles: in whatever context, and with whatever locks held.
    """

    stream: Any
    turn: Turn
    finish: Callable[..., Receipt]
    reopen: Callable[[Exception], tuple[Any, Turn] | None]
    explain: Callable[[Exception], Exception]
    opened: Callable[[], None]
    receipt: Receipt | None = None
    _reply: dict[str, Any] = field(default_factory=dict[str, Any])
    _context: Context = field(default_factory=copy_context)
    """That of the call."""

    def events(self) -> Generator[Event]:
        """Yield the events, and account for them."""
        try:
            for event in self._all_events():
                yield self._noted(event)
        except _CUT as error:
            raise self._incomplete("its connection was cut") from error
        except Exception as error:
            _close(self.stream)
            self._record(complete=False)
            explained = self.explain(error)
            if explained is error:
                raise
            raise explained from error
        except BaseException:  # its reader leaves: the generator is closed, or the task is cancelled
            self.leave()
            raise
        if "stopReason" not in self._reply:
            raise self._incomplete("it has no messageStop event")
        if self.receipt is None:
            raise self._incomplete("it has no metadata event")

    def leave(self) -> None:
        """Close the connection; what has not ended is recorded as incomplete, for whoever made the call."""
        _close(self.stream)
        if self.receipt is None:
            self._context.copy().run(self._record, complete=False)

    def __del__(self) -> None:
        """Leave a stream of which nothing was read: its iterator has nothing to clean up."""
        if self.receipt is None:
            self.leave()

    def _incomplete(self, why: str) -> IncompleteStreamError:
        _close(self.stream)
        receipt = self._record(complete=False)
        message = f"The stream ended too early, {why}: the answer is cut off. Ask again."
        return IncompleteStreamError(message, receipt=receipt.to_dict())

    def _all_events(self) -> Iterator[Event]:
        """Yield the events; where the first is an error that another call is spared, open the stream anew."""
        first = True
        try:
            for event in self.stream:
                if first:
                    first = False
                    self.opened()
                yield event
        except EventStreamError as error:
            again = self.reopen(error) if first else None
            if again is None:
                raise
            _close(self.stream)
            self.stream, self.turn = again
            yield from self.stream

    def _noted(self, event: Event) -> Event:
        if "messageStop" in event:
            self._reply["stopReason"] = event["messageStop"].get("stopReason")
        elif call := member(member(event.get("contentBlockStart"), "start"), "toolUse"):
            message = self._reply.setdefault("output", {"message": {"content": []}})["message"]
            message["content"].append({"toolUse": call})
        if "metadata" not in event:
            return event
        self._reply.update(event["metadata"])
        receipt = self._record(complete="stopReason" in self._reply)
        return {**event, "metadata": {**event["metadata"], KEY: receipt.to_dict()}}

    def _record(self, *, complete: bool) -> Receipt:
        if self.receipt is None:
            self.receipt = self.finish(self.turn, self._reply, complete=complete)
        return self.receipt


def _close(stream: Any) -> None:
    """Close a stream; a plain iterable, as stand-ins of clients give, has nothing to close.

    One that cannot be closed hides neither why it is closed nor its receipt.
    """
    try:
        if hasattr(stream, "close"):
            stream.close()
    except Exception:
        logger.debug("a stream could not be closed; the call is not affected", exc_info=True)
