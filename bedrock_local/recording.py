"""What the local Bedrock was asked: one record per call, for tests to look at."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Request", "RequestLog"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Record one call and what became of it."""

    operation: str
    """As botocore names it: `Converse`, `ConverseStream`, `GetPromptRouter`."""
    model_id: str | None
    """The `modelId` of the call as it was sent, percent-decoding undone."""
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    """Names in lower case."""
    invoked_model: str | None = None
    """The model that answered, without Region and geography."""
    usage: Mapping[str, Any] | None = None
    error: str | None = None
    """The exception's name, where the call failed."""


class RequestLog:
    """Keep the latest calls, in the order in which they were answered; thread-safe."""

    def __init__(self, keep: int) -> None:
        self._kept: deque[Request] = deque(maxlen=keep)
        self._lock = threading.Lock()

    def add(self, request: Request) -> None:
        """Keep one record."""
        with self._lock:
            self._kept.append(request)

    def snapshot(self) -> list[Request]:
        """Return what is kept."""
        with self._lock:
            return list(self._kept)

    def clear(self) -> None:
        """Forget all records."""
        with self._lock:
            self._kept.clear()
