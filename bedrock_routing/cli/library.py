"""Decide what of the documents goes into a prompt: all of them, or the passages found for each question."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from rich.console import Console

from bedrock_routing.catalog import Common
from bedrock_routing.cli.index import HybridIndex
from bedrock_routing.cli.loading import progress

__all__ = ["Library", "gather"]

_CHARACTERS_PER_TOKEN = 4
_WHOLE_TOKENS = 100_000
"""Put whole into the prompt up to here where the models' cache has no documented limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Hold the documents; with an index, its `k` best passages stand for them in the prompt."""

    documents: tuple[Document, ...]
    index: HybridIndex | None = None
    k: int


def gather(documents: Sequence[Document], abilities: Common, options: Namespace, console: Console) -> Library:
    """Return whole documents where they fit the cache, or as the options say; else an index over them."""
    tokens = sum(len(each.page_content) for each in documents) // _CHARACTERS_PER_TOKEN
    files = len({each.metadata.get("source") for each in documents})
    size = f"{files} file{'s' if files != 1 else ''}, roughly {tokens:,} tokens"
    if options.whole or (tokens <= _most_tokens(abilities) and not options.retrieve):
        console.print(f"{size}: the whole text goes into the prompt.", markup=False)
        return Library(documents=tuple(documents), k=options.k)
    console.print(f"{size}: the {options.k} best passages go into the prompt.", markup=False)
    with progress(console, shown=True) as bar:
        task = bar.add_task("indexing", total=None)
        index = HybridIndex(
            documents, on_progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    return Library(documents=tuple(documents), index=index, k=options.k)


def _most_tokens(abilities: Common) -> int:
    rules = abilities.cache
    return rules.max_cached_tokens if rules and rules.max_cached_tokens else _WHOLE_TOKENS
