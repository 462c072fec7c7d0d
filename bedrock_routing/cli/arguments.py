"""The command's arguments."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from importlib.metadata import version
from pathlib import Path

from bedrock_routing.cli.frameworks import FRAMEWORKS

__all__ = ["parser"]

_DESCRIPTION = """Ask documents through an Amazon Bedrock prompt router; each document is paid for once.

Without AWS credentials (or with --local) a local Bedrock answers: its answers are simulated, and say so.
"""
_LARGEST_PORT = 65_535


def parser() -> ArgumentParser:
    """Return the parser of the whole command."""
    top = ArgumentParser(
        prog="bedrock-routing", description=_DESCRIPTION, formatter_class=RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=version("bedrock-routing"))
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_ask(commands.add_parser("ask", help="ask questions about files and folders"))
    _add_demo(commands.add_parser("demo", help="ask the three guides that come with this package"))
    _add_explain(commands.add_parser("explain", help="say where the money went and why caches were missed"))
    _add_serve(commands.add_parser("serve", help="run the local Bedrock until interrupted"))
    return top


def _add_ask(command: ArgumentParser) -> None:
    command.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="PDF, Markdown, HTML or text files, or folders"
    )
    command.add_argument("-q", "--question", action="append", default=[], help="a question; may be repeated")
    command.add_argument("--chat", action="store_true", help="go on asking in a conversation")
    size = command.add_mutually_exclusive_group()
    size.add_argument("--whole", action="store_true", help="put all documents into the prompt")
    size.add_argument("--retrieve", action="store_true", help="put only the passages found for each question")
    command.add_argument(
        "-k", type=_count, default=10, metavar="N", help="passages per question (default: %(default)s)"
    )
    _add_target(command)


def _add_demo(command: ArgumentParser) -> None:
    _add_target(command)


def _add_explain(command: ArgumentParser) -> None:
    command.add_argument(
        "log", metavar="LOG", help="what `--log` or Ledger(log=...) wrote; - reads from standard input"
    )


def _add_serve(command: ArgumentParser) -> None:
    command.add_argument("--port", type=_port, default=4567, help="(default: %(default)s; 0: any free port)")
    _add_answers(command)


def _add_target(command: ArgumentParser) -> None:
    command.add_argument(
        "--router",
        default="amazon.nova:1",
        metavar="MODEL",
        help="a router's ARN, name or short form, or a plain model id (default: %(default)s)",
    )
    command.add_argument(
        "--framework",
        choices=tuple(FRAMEWORKS),
        default=next(iter(FRAMEWORKS)),
        help="what the question is asked with; the answer is the same (default: %(default)s)",
    )
    command.add_argument("--region", help="AWS Region (default: as configured, else us-east-1)")
    command.add_argument("--profile", help="AWS profile")
    command.add_argument("--local", action="store_true", help="use the local Bedrock even with credentials")
    command.add_argument("--no-cache", action="store_true", help="place no cache points, for comparison")
    command.add_argument(
        "--log", type=Path, metavar="FILE", help="append what each call did to FILE, for `explain`"
    )
    command.add_argument(
        "--max-tokens", type=_count, default=400, metavar="N", help="longest answer (default: %(default)s)"
    )
    _add_answers(command)


def _add_answers(command: ArgumentParser) -> None:
    command.add_argument(
        "--answers",
        default="extractive",
        metavar="ENGINE",
        help="where the local Bedrock's answers come from: extractive (quotes the documents), smollm2 (a "
        "small model), or the URL of an OpenAI-compatible service (default: %(default)s)",
    )
    command.add_argument(
        "--pace", action="store_true", help="let local replies take the time their tokens would (simulated)"
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _LARGEST_PORT:
        raise ArgumentTypeError(f"{text!r} is not a port from 0 to {_LARGEST_PORT}")
    return int(text)
