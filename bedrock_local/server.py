"""The socket: HTTP/1.1 with keep-alive over the standard library's threading server.

Nagle's delay is off and replies are buffered: without these two a loopback call takes 40 ms instead of 3.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from uuid import uuid4

from bedrock_local.faults import Fault
from bedrock_local.service import Reply, Service

__all__ = ["HttpServer"]

_LINGER_ZERO = struct.pack("ii", 1, 0)


class HttpServer(ThreadingHTTPServer):
    """Serve one `Service`, one thread per connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    @property
    def connections(self) -> int:
        """Return how many connections are open, also idle ones."""
        with self._open_lock:
            return len(self._open)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that closing the server closes it."""
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that ends."""
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away in the middle."""

    def stop(self) -> None:
        """Stop listening and close what is still open."""
        self.shutdown()
        self.server_close()
        with self._open_lock:
            left = list(self._open)
        for connection in left:
            _shut(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    rbufsize = 256 * 1024

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Print nothing."""

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer()

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer()

    def do_DELETE(self) -> None:
        """Answer a DELETE."""
        self._answer()

    def _answer(self) -> None:
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        outcome = cast("HttpServer", self.server).service.handle(self.command, self.path, headers, body)
        if isinstance(outcome, Fault):
            self._suffer(outcome)
        else:
            self._send(outcome)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass

    def _suffer(self, fault: Fault) -> None:
        if fault.kind == "timeout":
            time.sleep(fault.seconds)
        else:
            self._reset()
        self.close_connection = True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self.connection.close()

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        self.send_header("Date", self.date_time_string())
        self.send_header("x-amzn-RequestId", str(uuid4()))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.stream is None:
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._send_stream(reply, reply.stream)
        if not reply.cut_by_reset:
            self.wfile.flush()

    def _send_stream(self, reply: Reply, messages: Iterator[bytes]) -> None:
        self.wfile.flush()
        for message in messages:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(message), message))
            if not reply.hurried:
                self.wfile.flush()
        if reply.cut_by_reset:
            self.close_connection = True
            self._reset()
        else:
            self.wfile.write(b"0\r\n\r\n")


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
    connection.close()
