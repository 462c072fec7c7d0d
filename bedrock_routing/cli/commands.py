"""What each command does, and what a failure looks like on the terminal."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from bedrock_routing.cli.asking import ask_all, chat
from bedrock_routing.cli.connection import connect, serve
from bedrock_routing.cli.demo import QUESTIONS, guides
from bedrock_routing.cli.explaining import explain
from bedrock_routing.cli.frameworks import Assistant, assistant_of
from bedrock_routing.cli.library import gather
from bedrock_routing.cli.loading import load
from bedrock_routing.errors import BedrockRoutingError, ConfigurationError
from bedrock_routing.ledger import Ledger, collect

__all__ = ["run"]

_OUT = Console(highlight=False, soft_wrap=True)
_ERR = Console(stderr=True, highlight=False, soft_wrap=True)
_UNUSABLE = 2
_FAILED = 1


def run(options: Namespace) -> int:
    """Run the chosen command; every expected failure is one clear message on stderr."""
    commands: dict[str, Callable[[Namespace], int]] = {
        "ask": _ask,
        "demo": _demo,
        "explain": _explain,
        "serve": _serve,
    }
    try:
        return commands[options.command](options)
    except (ValueError, ImportError) as error:
        return _complain(error, _UNUSABLE)
    except (BedrockRoutingError, ClientError, BotoCoreError, OSError) as error:
        return _complain(error, _FAILED)


def _complain(error: Exception, code: int) -> int:
    notes: list[str] = getattr(error, "__notes__", [])
    _ERR.print(f"error: {error}", markup=False)
    for note in notes:
        _ERR.print(note, markup=False)
    return code


def _ask(options: Namespace) -> int:
    if not options.paths:
        raise ConfigurationError(
            "Name the files or folders to ask about: bedrock-routing ask PATH -q QUESTION"
        )
    questions = [_readable(each).strip() for each in options.question if each.strip()]
    if not questions and not options.chat:
        raise ConfigurationError("Ask a question with -q, or start a conversation with --chat.")
    with _assistant(options, options.paths) as assistant:
        if options.chat:
            chat(assistant, questions, _OUT)
        else:
            ask_all(assistant, questions, _OUT)
    return 0


def _readable(text: str) -> str:
    """Replace bytes of the command line that are no text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _demo(options: Namespace) -> int:
    options = Namespace(**{**vars(options), "whole": True, "retrieve": False, "k": 8})
    with _assistant(options, guides()) as assistant:
        for heading, questions in QUESTIONS:
            _OUT.print(f"\n{heading}", style="bold cyan", markup=False)
            ask_all(assistant, questions, _OUT)
    return 0


def _explain(options: Namespace) -> int:
    explain(options.log, _OUT, _ERR)
    return 0


def _serve(options: Namespace) -> int:
    serve(options, _OUT)
    return 0


@contextmanager
def _assistant(options: Namespace, paths: Sequence[Path]) -> Generator[Assistant]:
    """Find the framework and read the documents first: neither may fail after AWS has been reached.

    However it ends, what was asked until then is added up.
    """
    build = assistant_of(options.framework)
    documents = load(paths, _ERR)
    with connect(options, _OUT) as client, collect(_ledger(options.log)) as ledger:
        try:
            library = gather(documents, client.abilities(), options, _OUT)
            yield build(client, library, options)
        finally:
            if ledger.total.calls:
                _OUT.print(f"\n{ledger}", markup=False)


def _ledger(log: Path | None) -> Ledger:
    try:
        return Ledger(log=log)
    except OSError as error:
        raise ConfigurationError(f"The log {log} cannot be written: {error.strerror or error}.") from error
