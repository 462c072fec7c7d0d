"""One connection to a Redis or Valkey server that may be slow or gone: nobody waits for it, nothing fails."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any
from urllib.parse import urlsplit

from bedrock_routing.errors import ConfigurationError, MissingExtraError

__all__ = ["Command", "Link"]

logger = logging.getLogger("bedrock_routing")

Command = tuple[bytes | str | int, ...]

_CONNECT_SECONDS = 2.0
"""How long connecting may take where nobody waits for it."""


class Link:
    """Send commands while the server answers in time; after a failure leave it alone for a while.

    A connection is made on a thread of its own, as a name that cannot be resolved has no timeout. Threads
    take turns (`turn`); a forked process makes its own connection.
    """

    def __init__(self, url: str, *, timeout: float, pause: float) -> None:
        try:
            from redis import exceptions  # noqa: PLC0415 - an optional extra
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.connection import ConnectionPool  # noqa: PLC0415
            from redis.retry import Retry  # noqa: PLC0415
        except ImportError as error:
            raise MissingExtraError("FleetState", "redis") from error
        # One wait for the connection or for one's turn, and one for the replies, make `timeout`.
        self._wait = timeout / 2
        self._pause = pause
        self._where = _without_credentials(url)
        try:
            pool: Any = ConnectionPool
            self._pool: Any = pool.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=self._wait,
                socket_connect_timeout=_CONNECT_SECONDS,
            )
        except ValueError:
            # The reason would show the URL, and with it the password.
            raise ConfigurationError(
                f"not the URL of a server: {self._where}; say redis://, rediss:// or unix://"
            ) from None
        self._silence: tuple[type[Exception], ...] = (exceptions.TimeoutError, exceptions.ResponseError)
        self._warned = False
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._connection: Any = None
        self._connecting: threading.Thread | None = None
        self._paused_until = 0.0

    @contextlib.contextmanager
    def turn(self) -> Generator[bool]:
        """Take one's turn; yields whether it came in time and the server is not being left alone."""
        if self._process != os.getpid():
            self._start()  # the parent's socket stays the parent's, and its lock may be held for ever
        lock = self._lock
        if self._resting() or not lock.acquire(timeout=self._wait):
            yield False
            return
        try:
            yield not self._resting()
        finally:
            lock.release()

    def ask(self, commands: Sequence[Command]) -> list[Any] | None:
        """Return the replies, or `None` if they did not come in time; to be called in one's turn."""
        if self._connection is not None:
            try:
                return _replies(self._connection, commands)
            except self._silence as error:
                return self._fail(error)
            except Exception:
                self._drop()  # servers close connections that were idle: that is no failure yet
        try:
            connection = self._connected()
            return None if connection is None else _replies(connection, commands)
        except Exception as error:
            return self._fail(error)

    def _resting(self) -> bool:
        return time.monotonic() < self._paused_until

    def _connected(self) -> Any:
        """Return a new connection if it is there in time; who comes while it is being made does not wait."""
        if self._connecting is None or not self._connecting.is_alive():
            self._connecting = threading.Thread(target=self._connect, name="bedrock-routing", daemon=True)
            self._connecting.start()
            self._connecting.join(self._wait)
        return self._connection

    def _connect(self) -> None:
        made: Any = None
        try:
            made = self._pool.connection_class(**self._pool.connection_kwargs)
            made.connect()
        except Exception as error:
            if made is not None:
                made.disconnect()
            self._fail(error)
        else:
            self._connection = made

    def _fail(self, error: Exception) -> None:
        self._drop()
        self._paused_until = time.monotonic() + self._pause
        log = logger.debug if self._warned else logger.warning
        self._warned = True
        log(
            "no shared state at %s (%s): calls go on with what this process knows; tried again every %g s",
            self._where,
            type(error).__name__,
            self._pause,
        )

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.disconnect()


def _replies(connection: Any, commands: Sequence[Command]) -> list[Any]:
    connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    return [connection.read_response(disable_decoding=True) for _ in commands]


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
