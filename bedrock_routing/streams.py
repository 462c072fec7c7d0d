"""Follow a ConverseStream: account for it when its last event has passed, and say when it was cut."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from botocore.exceptions import EventStreamError, IncompleteReadError, ResponseStreamingError
from urllib3.exceptions import ProtocolError

from bedrock_routing.errors import IncompleteStreamError
from bedrock_routing.receipt import KEY, Receipt
from bedrock_routing.request import member
from bedrock_routing.turn import Turn

__all__ = ["RoutedStream"]

Event = Mapping[str, Any]
_CUT = (ProtocolError, ResponseStreamingError, IncompleteReadError, ConnectionError)
"""What comes up when a stream is cut inside a frame; between two frames botocore says nothing at all."""


class RoutedStream:
    """Iterate the events of a stream as botocore gives them; the `metadata` event also holds the receipt.

    botocore ends a truncated stream without an error; here it raises `IncompleteStreamError`. `receipt` is
    there as soon as the stream has ended, however it did. `opened` is called at the first event.
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
        self._stream: Any = stream
        self._turn = turn
        self._finish = finish
        self._reopen = reopen
        self._explain = explain
        self._opened = opened
        self._reply: dict[str, Any] = {}
        self._events: Generator[Event] = self._follow()
        self.receipt: Receipt | None = None

    def __iter__(self) -> Iterator[Event]:
        """Return the one iterator of this stream."""
        return self._events

    def __getattr__(self, name: str) -> Any:
        """Pass the rest of botocore's stream through."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._stream, name)

    def close(self) -> None:
        """Close the connection; a stream that has not ended is recorded as incomplete."""
        self._events.close()
        _close(self._stream)
        self._record(complete=False)

    def interrupt(self) -> None:
        """Make a read that blocks in another thread return; that thread then closes the connection.

        `close` would wait for that very read, so only the reading side of the socket is shut down. botocore
        offers nothing for this, hence the look inside; where there is no socket any more, it does nothing.
        """
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            self._stream._raw_stream.shutdown()

    def _follow(self) -> Generator[Event]:
        try:
            for event in self._all_events():
                yield self._noted(event)
        except _CUT as error:
            raise self._incomplete("its connection was cut") from error
        except Exception as error:
            self._record(complete=False)
            explained = self._explain(error)
            if explained is error:
                raise
            raise explained from error
        except BaseException:  # its reader leaves: the generator is closed, or the task is cancelled
            _close(self._stream)
            self._record(complete=False)
            raise
        if "stopReason" not in self._reply:
            raise self._incomplete("it has no messageStop event")
        if self.receipt is None:
            raise self._incomplete("it has no metadata event")

    def _incomplete(self, why: str) -> IncompleteStreamError:
        receipt = self._record(complete=False)
        message = f"The stream ended too early, {why}: the answer is cut off. Ask again."
        return IncompleteStreamError(message, receipt=receipt.to_dict())

    def _all_events(self) -> Iterator[Event]:
        """Yield the events; where the first one refuses the cache points, open the stream again without."""
        first = True
        try:
            for event in self._stream:
                if first:
                    first = False
                    self._opened()
                yield event
        except EventStreamError as error:
            again = self._reopen(error) if first else None
            if again is None:
                raise
            _close(self._stream)
            self._stream, self._turn = again
            yield from self._stream

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
            self.receipt = self._finish(self._turn, self._reply, complete=complete)
        return self.receipt


def _close(stream: Any) -> None:
    """Close a stream; a plain iterable, as stand-ins of clients give, has nothing to close."""
    if hasattr(stream, "close"):
        stream.close()
