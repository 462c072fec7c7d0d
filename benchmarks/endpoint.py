"""A local Bedrock in a process of its own: it must not share the interpreter with what is measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from bedrock_local import FixedAnswer, LocalBedrock

__all__ = ["endpoint"]


@contextmanager
def endpoint(latency: float, *, words: int = 1) -> Generator[str]:
    """Yield the URL of a service that answers so many words after so many seconds."""
    command = [sys.executable, __file__, str(latency), str(words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _serve(latency: float, words: int) -> None:
    """Serve until the parent closes our standard input."""
    with LocalBedrock(answers=FixedAnswer("word " * words), latency=latency, tokens="fast") as bedrock:
        print(bedrock.endpoint_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(float(sys.argv[1]), int(sys.argv[2]))
