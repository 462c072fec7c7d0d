"""What the command needs of a framework, and the frameworks there are.

A framework is imported when it is chosen and not before: each import takes seconds. All that both have to say
alike, to the model and to the reader, is said here and in `asking`.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from bedrock_routing.client import RoutedClient
from bedrock_routing.errors import MissingExtraError
from bedrock_routing.receipt import KEY, Receipt

if TYPE_CHECKING:  # `--help` reads the table below and must not wait for what a library is made of
    from bedrock_routing.cli.library import Library

__all__ = ["FRAMEWORKS", "INSTRUCTIONS", "Assistant", "Exchange", "Passage", "Piece", "assistant_of"]

INSTRUCTIONS = """Answer the question from the documents below and from nothing else. Quote numbers and names
exactly. After each statement name its source in square brackets, as in [guide.pdf, page 2]. If the documents
do not answer the question, say so.

Documents:

{context}"""
"""The system prompt, as a template of both frameworks; history and question follow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Hold one text for the prompt, and what its source is called."""

    source: str
    text: str

    @classmethod
    def of(cls, text: str, metadata: Mapping[str, Any]) -> Passage:
        """Return a passage named after its file, and the page where there are pages."""
        name = PurePath(str(metadata.get("source", "document"))).name
        return cls(source=f"{name}, page {metadata['page']}" if "page" in metadata else name, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Hold a question of a conversation and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Hold the next words of an answer; the receipt comes with the last of them."""

    text: str
    receipt: Receipt | None = None

    @classmethod
    def of(cls, text: str, metadata: Mapping[str, Any]) -> Piece:
        """Return a piece with the receipt that the framework's metadata hold, if they hold one."""
        receipt = metadata.get(KEY)
        return cls(text=text, receipt=Receipt.from_dict(receipt) if receipt else None)


class Assistant(Protocol):
    """Be a model and a retriever of one framework, put together as its users do."""

    def retrieve(self, question: str) -> list[Passage]:
        """Return what goes into the prompt."""
        ...

    def stream(self, question: str, context: str, history: Sequence[Exchange]) -> Iterator[Piece]:
        """Ask, and yield the answer as it comes."""
        ...


_Builder = Callable[[RoutedClient, "Library", Namespace], Assistant]


def _langchain() -> _Builder:
    from bedrock_routing.cli.with_langchain import LangChainAssistant  # noqa: PLC0415 - see above

    return LangChainAssistant


def _llama_index() -> _Builder:
    from bedrock_routing.cli.with_llama_index import LlamaIndexAssistant  # noqa: PLC0415 - see above

    return LlamaIndexAssistant


FRAMEWORKS: Mapping[str, Callable[[], _Builder]] = {"langchain": _langchain, "llama-index": _llama_index}
"""Each framework under the name of the extra that installs it; the first is the default."""


def assistant_of(framework: str) -> _Builder:
    """Import a framework and return what makes its assistant; `MissingExtraError` where it is not there."""
    try:
        return FRAMEWORKS[framework]()
    except ImportError as error:
        missing = MissingExtraError(f"--framework {framework}", framework)
        missing.add_note(f"({error})")
        raise missing from error
