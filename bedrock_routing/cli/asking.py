"""Ask questions over documents and print what comes back; which framework asks makes no difference here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from rich.console import Console

from bedrock_routing.cli.frameworks import Assistant, Exchange, Passage
from bedrock_routing.ledger import money
from bedrock_routing.receipt import Receipt

__all__ = ["ask_all", "chat"]

_ENDINGS = {"exit", "quit", "bye"}


def ask_all(assistant: Assistant, questions: Sequence[str], console: Console) -> None:
    """Ask separate questions, one after the other."""
    for question in questions:
        console.print(f"\n> {question}", style="bold", markup=False)
        _ask(assistant, question, (), console)


def chat(assistant: Assistant, first: Sequence[str], console: Console) -> None:
    """Ask in one conversation, the given questions first, until the end of input or a word of farewell."""
    history: list[Exchange] = []
    for question in chain(first, _typed(console)):
        if question in first or not console.is_terminal:
            console.print(f"\n> {question}", style="bold", markup=False)
        answer = _ask(assistant, question, history, console)
        if answer.strip():  # Bedrock refuses a turn without text
            history.append(Exchange(question=question, answer=answer))


def _ask(assistant: Assistant, question: str, history: Sequence[Exchange], console: Console) -> str:
    """Stream the answer to the console, then name its sources and what it cost."""
    passages = assistant.retrieve(question)
    answer = ""
    receipt = Receipt.from_dict({})
    for piece in assistant.stream(question, _context(passages), history):
        console.print(_printable(piece.text), end="", markup=False)
        answer += piece.text
        receipt = piece.receipt or receipt
    console.print()
    console.print(f"sources: {'; '.join(_sources(answer, passages))}", style="dim", markup=False)
    console.print(_line(receipt), style="dim", markup=False)
    return answer


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


def _context(passages: Sequence[Passage]) -> str:
    return "\n\n".join(f"Source: {each.source}\n{each.text}" for each in passages)


def _sources(answer: str, passages: Sequence[Passage]) -> list[str]:
    """Return the sources that the answer names."""
    names = dict.fromkeys(each.source for each in passages)
    return [name for name in names if name in answer] or ["none named"]


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
