"""Ask questions over documents: an ordinary LangChain chain that ends in `ChatBedrockRouter`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.retrievers import BaseRetriever
from rich.console import Console

from bedrock_routing.catalog import Common
from bedrock_routing.cli.loading import progress
from bedrock_routing.cli.retrieval import HybridRetriever
from bedrock_routing.ledger import money
from bedrock_routing.receipt import KEY, Receipt
from langchain_bedrock_routing import CachedDocumentsRetriever, ChatBedrockRouter

__all__ = ["Asker", "ask_all", "chat", "prepare"]

_INSTRUCTIONS = """Answer the question from the documents below and from nothing else. Quote numbers and names
exactly. After each statement name its source in square brackets, as in [guide.pdf, page 2]. If the documents
do not answer the question, say so.

Documents:

{context}"""
_CHARACTERS_PER_TOKEN = 4
_WHOLE_TOKENS = 100_000
"""Put whole into the prompt up to here where the models' cache has no documented limit."""
_ENDINGS = {"exit", "quit", "bye"}


class WholeDocuments(BaseRetriever):
    """Return every document for every question."""

    documents: tuple[Document, ...]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        del query, run_manager
        return list(self.documents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Hold what a question needs: the model, the documents' retriever and how sources are named."""

    model: ChatBedrockRouter
    retriever: BaseRetriever

    def ask(self, question: str, history: Sequence[BaseMessage], console: Console) -> AIMessage:
        """Stream the answer to the console, then name its sources and what it cost."""
        documents = self.retriever.invoke(question)
        prompt = ChatPromptTemplate.from_messages(
            [("system", _INSTRUCTIONS), MessagesPlaceholder("history"), ("human", "{question}")]
        )
        inputs = {"context": _formatted(documents), "history": list(history), "question": question}
        whole: AIMessageChunk | None = None
        for chunk in (prompt | self.model).stream(inputs):
            if isinstance(chunk, AIMessageChunk):
                console.print(_printable(chunk.text), end="", markup=False)
                whole = chunk if whole is None else whole + chunk
        console.print()
        answer = AIMessage(content=whole.text if whole else "")
        receipt = Receipt.from_dict(whole.response_metadata.get(KEY, {}) if whole else {})
        console.print(f"sources: {'; '.join(_sources(answer.text, documents))}", style="dim", markup=False)
        console.print(_line(receipt), style="dim", markup=False)
        return answer


def prepare(
    documents: Sequence[Document], model: ChatBedrockRouter, options: Namespace, console: Console
) -> Asker:
    """Return what answers: over whole documents where they fit the cache, else over retrieved passages."""
    tokens = sum(len(each.page_content) for each in documents) // _CHARACTERS_PER_TOKEN
    limit = _most_tokens(model.client.abilities())
    files = len({each.metadata.get("source") for each in documents})
    size = f"{files} file{'s' if files != 1 else ''}, roughly {tokens:,} tokens"
    if options.whole or (tokens <= limit and not options.retrieve):
        console.print(f"{size}: the whole text goes into the prompt.", markup=False)
        return Asker(model=model, retriever=WholeDocuments(documents=tuple(documents)))
    console.print(f"{size}: the {options.k} best passages go into the prompt.", markup=False)
    with progress(console, shown=True) as bar:
        task = bar.add_task("indexing", total=None)
        found = HybridRetriever.from_documents(
            documents,
            k=options.k,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return Asker(model=model, retriever=CachedDocumentsRetriever(retriever=found, k=options.k))


def ask_all(asker: Asker, questions: Sequence[str], console: Console) -> None:
    """Ask separate questions, one after the other."""
    for question in questions:
        console.print(f"\n> {question}", style="bold", markup=False)
        asker.ask(question, (), console)


def chat(asker: Asker, first: Sequence[str], console: Console) -> None:
    """Ask in one conversation, the given questions first, until the end of input or a word of farewell."""
    history: list[BaseMessage] = []
    for question in chain(first, _typed(console)):
        if question in first or not console.is_terminal:
            console.print(f"\n> {question}", style="bold", markup=False)
        answer = asker.ask(question, history, console)
        history += [HumanMessage(content=question), answer]


def _typed(console: Console) -> Iterator[str]:
    console.print("\nAsk away; an empty line or 'exit' ends.", style="dim")
    while True:
        try:
            question = console.input("\n> " if console.is_terminal else "").strip()
        except EOFError:
            return
        if not question or question.lower() in _ENDINGS:
            return
        yield question


def _most_tokens(abilities: Common) -> int:
    rules = abilities.cache
    return rules.max_cached_tokens if rules and rules.max_cached_tokens else _WHOLE_TOKENS


def _formatted(documents: Sequence[Document]) -> str:
    return "\n\n".join(f"Source: {_label(each.metadata)}\n{each.page_content}" for each in documents)


def _label(metadata: dict[str, Any]) -> str:
    name = PurePath(str(metadata.get("source", "document"))).name
    return f"{name}, page {metadata['page']}" if "page" in metadata else name


def _sources(answer: str, documents: Sequence[Document]) -> list[str]:
    """Return the sources that the answer names."""
    labels = dict.fromkeys(_label(each.metadata) for each in documents)
    return [label for label in labels if label in answer] or ["none named"]


def _line(receipt: Receipt) -> str:
    usage = receipt.usage
    model = receipt.model or "unknown model"
    if usage is None:
        return f"{model} | the reply did not say its tokens"
    share = f" ({usage.hit_ratio:.0%})" if usage.hit_ratio else ""
    tokens = (
        f"read {usage.read:,}{share} | written {usage.write:,} | fresh {usage.fresh:,} | out {usage.output:,}"
    )
    money_line = f"cost {money(receipt.cost_usd)} | saved {money(receipt.saved_usd)}"
    latency = f" | {receipt.latency_ms / 1000:.1f} s" if receipt.latency_ms is not None else ""
    cut = " | cut off at --max-tokens" if receipt.stop_reason == "max_tokens" else ""
    return f"{model} | {tokens} | {money_line}{latency}{cut}"


def _printable(text: str) -> str:
    """Leave out control characters: a document must not steer the terminal."""
    return "".join(each for each in text if each in "\n\t" or each.isprintable())
