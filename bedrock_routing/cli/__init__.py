"""The command `bedrock-routing`: ask documents through a prompt router, from a shell.

The composition root: the only place that may import the core, an adapter and the local Bedrock together.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

from bedrock_routing.cli.arguments import parser
from bedrock_routing.errors import MissingExtraError

__all__ = ["main"]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 the call failed, 2 the input cannot be used."""
    try:
        return _run(parser().parse_args(arguments))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(options: Namespace) -> int:
    try:
        from bedrock_routing.cli.commands import run  # noqa: PLC0415 - --help must not wait for LangChain
    except ImportError as error:
        print(f"error: {MissingExtraError('This command', 'cli')} ({error})", file=sys.stderr)
        return 2
    return run(options)
