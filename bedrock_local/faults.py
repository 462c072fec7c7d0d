"""Faults on demand: what a test asks to go wrong, and the queue that hands it out."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from bedrock_local.errors import END_OF_LIFE, ServiceError, in_stream_name

__all__ = ["Fault", "FaultKind", "FaultQueue"]

FaultKind = Literal[
    "error",
    "timeout",
    "reset",
    "cut",
    "reset-stream",
    "exception-in-stream",
    "error-in-stream",
    "bad-crc",
    "drip",
]
"""What goes wrong.

`error`: an error reply. `timeout`: no reply for `seconds`. `reset`: the connection is reset without a
reply. `cut`: a stream ends early, in good order (botocore raises nothing). `reset-stream`: it ends by a
reset. `exception-in-stream`, `error-in-stream`: a modelled exception, an unmodelled error. `bad-crc`: a
wrong checksum. `drip`: `seconds` before each event.
"""

_IN_STREAM: frozenset[FaultKind] = frozenset(
    ("cut", "reset-stream", "exception-in-stream", "error-in-stream", "bad-crc", "drip")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Describe one fault; the class methods name the usual ones."""

    kind: FaultKind = "error"
    name: str = "ThrottlingException"
    """The exception, for the kinds that carry one."""
    message: str | None = None
    """Its text; `None`: the service's usual one."""
    after_events: int = 2
    """How many events of a stream pass first."""
    seconds: float = 0.0

    @property
    def in_stream(self) -> bool:
        """Tell whether the fault happens inside a stream, after the 200."""
        return self.kind in _IN_STREAM

    def as_error(self) -> ServiceError:
        """Return the error that the fault stands for."""
        return ServiceError(self.name, self.message)

    @classmethod
    def error(cls, name: str, message: str | None = None) -> Fault:
        """Reply with an exception of the service, by its name."""
        return cls(kind="error", name=name, message=message)

    @classmethod
    def throttling(cls, message: str | None = None) -> Fault:
        """Reply 429; boto3 retries twice."""
        return cls.error("ThrottlingException", message)

    @classmethod
    def denied(cls, action: str, resource: str) -> Fault:
        """Reply 403, as to an identity without a permission (`GetPromptRouter`)."""
        who = "arn:aws:sts::123412341234:assumed-role/app/session"
        text = (
            f"User: {who} is not authorized to perform: bedrock:{action} on resource: {resource} "
            f"because no identity-based policy allows the bedrock:{action} action"
        )
        return cls.error("AccessDeniedException", text)

    @classmethod
    def dead_model(cls) -> Fault:
        """Reply 404, as a router whose model is past its end of life."""
        return cls.error(
            "ResourceNotFoundException",
            END_OF_LIFE,
        )

    @classmethod
    def timeout(cls, seconds: float) -> Fault:
        """Say nothing for a while, then close the connection."""
        return cls(kind="timeout", seconds=seconds)

    @classmethod
    def reset(cls) -> Fault:
        """Reset the connection without a reply."""
        return cls(kind="reset")

    @classmethod
    def cut(cls, *, after_events: int = 2, reset: bool = False) -> Fault:
        """End a stream before `messageStop`; without `reset` botocore raises nothing."""
        return cls(kind="reset-stream" if reset else "cut", after_events=after_events)

    @classmethod
    def exception_in_stream(
        cls, name: str = "ThrottlingException", message: str | None = None, *, after_events: int = 2
    ) -> Fault:
        """Send a modelled exception inside a stream."""
        return cls(kind="exception-in-stream", name=name, message=message, after_events=after_events)

    @classmethod
    def error_in_stream(cls, code: str, message: str, *, after_events: int = 2) -> Fault:
        """Send an error inside a stream that the service model does not know."""
        return cls(kind="error-in-stream", name=code, message=message, after_events=after_events)

    @classmethod
    def bad_crc(cls, *, after_events: int = 2) -> Fault:
        """Send one event with a wrong checksum."""
        return cls(kind="bad-crc", after_events=after_events)

    @classmethod
    def drip(cls, seconds: float) -> Fault:
        """Wait before each event of a stream."""
        return cls(kind="drip", seconds=seconds)

    @property
    def stream_name(self) -> str:
        """Return the exception's name as a stream carries it."""
        return in_stream_name(self.name)


@dataclass(slots=True)
class _Queued:
    fault: Fault
    left: int
    operation: str | None


class FaultQueue:
    """Hand out queued faults, oldest first; thread-safe."""

    def __init__(self) -> None:
        self._queue: list[_Queued] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault, times: int, operation: str | None) -> None:
        """Queue a fault for the next `times` calls, of one operation or of any."""
        with self._lock:
            self._queue.append(_Queued(fault, times, operation))

    def take(self, operation: str) -> Fault | None:
        """Return the fault that hits this call, if any."""
        with self._lock:
            for queued in self._queue:
                fits = queued.operation in (None, operation)
                streams = operation == "ConverseStream" or not queued.fault.in_stream
                if fits and streams:
                    queued.left -= 1
                    if queued.left <= 0:
                        self._queue.remove(queued)
                    return queued.fault
        return None

    def clear(self) -> None:
        """Forget all queued faults."""
        with self._lock:
            self._queue.clear()
