"""The workloads of `savings.py` that need no data of others: questions over documents, a wide agent, a day.

Every call is a plain Converse request and the second at which it is made. Histories hold fixed answers, so
that a sequence is the same whoever replays it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Call", "MissingDataError", "Workload", "conversation", "synthetic", "text", "tool_turn", "user"]

Request = dict[str, Any]

_GUIDES = Path(__file__).parents[1] / "examples" / "documents" / "src"
_WORDS = sorted({word for file in _GUIDES.glob("*.md") for word in file.read_text("utf-8").split()})
_CHARACTERS_PER_TOKEN = 4
_RULES = "Answer from the documents and name the source. If they do not hold the answer, say so."
_ANSWER = "According to the guide the limit applies per account and Region, and it can be raised on request."


class MissingDataError(Exception):
    """Say which data a workload lacks."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """Be one request of a workload, to be made at a second of its clock."""

    at: float
    build: Callable[[Sequence[str]], Request]
    """Make the request of the retrieved documents in some order."""
    documents: tuple[str, ...] = ()
    """What was retrieved for it, the most relevant first."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Be a sequence of calls."""

    calls: tuple[Call, ...]
    title: str
    repeats: bool = True
    """Whether anything comes again that a cache could hold."""
    ordered: bool = False
    """Whether the documents of a call may be put in another order."""
    at_once: bool = False
    """Whether the calls do not wait for each other."""


def text(seed: random.Random, tokens: int) -> str:
    """Return a text of about so many tokens; English words in no order, unlike any other."""
    words: list[str] = []
    left = tokens * _CHARACTERS_PER_TOKEN
    while left > 0:
        words.append(seed.choice(_WORDS))
        left -= len(words[-1]) + 1
    return " ".join(words)


def user(*texts: str) -> Request:
    """Return a message of the user."""
    return {"role": "user", "content": [{"text": each} for each in texts]}


def conversation(system: str, messages: Sequence[Request], tools: Sequence[Request] = ()) -> Request:
    """Return a Converse request."""
    request: Request = {"system": [{"text": system}], "messages": list(messages)}
    return {**request, "toolConfig": {"tools": list(tools)}} if tools else request


def _prompt(documents: Sequence[str], question: str) -> str:
    """Write documents and question into one text, as the usual chains do."""
    return "\n\n".join([_RULES, *documents, f"Question: {question}"])


def _asked(
    question: str, *, system: str = "You are a helpful assistant."
) -> Callable[[Sequence[str]], Request]:
    return lambda documents: conversation(system, [user(_prompt(documents, question))])


def _questions(seed: random.Random) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"What do the documents say about item {number}, {text(seed, 15)}?"


def same_documents(seed: random.Random, scale: float) -> Workload:
    """Ask separate questions over the same three documents, one every twenty seconds."""
    documents = tuple(text(seed, 1_700) for _ in range(3))
    questions = _questions(seed)
    calls = tuple(
        Call(at=20.0 * number, documents=documents, build=_asked(next(questions)))
        for number in range(_scaled(12, scale))
    )
    return Workload(title="12 questions, same documents", calls=calls)


def overlapping(seed: random.Random, scale: float) -> Workload:
    """Ask separate questions over three of eight documents, some asked for more than others (Zipf 1.1)."""
    corpus = [text(seed, 2_000) for _ in range(8)]
    weights = [1 / (rank + 1) ** 1.1 for rank in range(len(corpus))]
    questions = _questions(seed)
    calls = tuple(
        Call(at=15.0 * number, documents=_drawn(seed, corpus, weights, 3), build=_asked(next(questions)))
        for number in range(_scaled(40, scale))
    )
    return Workload(title="40 questions, 3 of 8 documents by relevance", calls=calls, ordered=True)


def _drawn(
    seed: random.Random, corpus: Sequence[str], weights: Sequence[float], count: int
) -> tuple[str, ...]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[seed.choices(corpus, weights)[0]] = None
    return tuple(seed.sample(list(found), count))


def never_again(seed: random.Random, scale: float) -> Workload:
    """Ask every question over three documents that are never seen again."""
    questions = _questions(seed)
    calls = tuple(
        Call(
            at=15.0 * number,
            documents=tuple(text(seed, 2_000) for _ in range(3)),
            build=_asked(next(questions)),
        )
        for number in range(_scaled(40, scale))
    )
    return Workload(title="40 questions, documents never repeat", calls=calls, repeats=False)


def behind_history(seed: random.Random, scale: float) -> Workload:
    """Ask follow-up questions over the same documents that stand behind the conversation so far, not in it.

    The usual template of system prompt, history and `{context}` with the question: every turn puts the
    documents behind another text, where no cache can find them again.
    """
    questions = _questions(seed)
    calls: list[Call] = []
    for number in range(_scaled(5, scale)):
        documents = tuple(text(seed, 700) for _ in range(4))
        history: list[Request] = []
        for turn in range(8):
            question = next(questions)
            at = 200.0 * number + 20.0 * turn
            calls.append(Call(at=at, documents=documents, build=_behind(tuple(history), question)))
            history += [user(question), {"role": "assistant", "content": [{"text": text(seed, 60)}]}]
    return Workload(title="5 chats, documents behind the history", calls=tuple(calls), repeats=False)


def _behind(history: Sequence[Request], question: str) -> Callable[[Sequence[str]], Request]:
    return lambda documents: conversation(
        "You are a helpful assistant.", [*history, user(_prompt(documents, question))]
    )


def batch(seed: random.Random, scale: float) -> Workload:
    """Ask two hundred questions over the same ten documents at once."""
    documents = tuple(text(seed, 1_000) for _ in range(10))
    questions = _questions(seed)
    calls = tuple(
        Call(at=0.0, documents=documents, build=_asked(next(questions))) for _ in range(_scaled(200, scale))
    )
    return Workload(title="200 questions over 10 documents at once", calls=calls, at_once=True)


def wide_agent(seed: random.Random, scale: float) -> Workload:
    """Run an agent with ten tools for thirteen calls; one turn calls thirty tools at once, one twelve."""
    del scale
    tools = [_tool(f"tool_{number}", text(seed, 150)) for number in range(10)]
    system = "You are an operations agent. " + text(seed, 800)
    messages = [user(f"Find out why the nightly job failed. {text(seed, 150)}")]
    calls: list[Call] = []
    for step in range(13):
        calls.append(_fixed(10.0 * step, conversation(system, messages, tools)))
        messages = [*messages, *tool_turn(seed, step, {5: 30, 8: 12}.get(step, 1))]
    return Workload(title="agent, 10 tools, turns of 30 and 12 calls", calls=tuple(calls))


def _fixed(at: float, request: Request, documents: tuple[str, ...] = ()) -> Call:
    return Call(at=at, documents=documents, build=lambda _: request)


def _tool(name: str, description: str) -> Request:
    schema = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    return {"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}}


def tool_turn(seed: random.Random, step: int, width: int, *, tools: int = 10) -> list[Request]:
    """Return an answer that calls so many tools at once, and their results."""
    names = [f"call-{step}-{number}" for number in range(width)]
    asked: list[Request] = [{"text": f"Step {step + 1}: I look at {text(seed, 20)}."}]
    asked += [
        {"toolUse": {"toolUseId": name, "name": f"tool_{number % tools}", "input": {"query": text(seed, 10)}}}
        for number, name in enumerate(names)
    ]
    found = [{"toolResult": {"toolUseId": name, "content": [{"text": text(seed, 200)}]}} for name in names]
    return [{"role": "assistant", "content": asked}, {"role": "user", "content": found}]


def day(seed: random.Random, scale: float) -> Workload:
    """Serve eight hours: conversations with pauses from seconds to fifty minutes, and single questions."""
    system = "You are the help desk of a company. " + text(seed, 1_500)
    corpus = [text(seed, 2_000) for _ in range(12)]
    weights = [1 / (rank + 1) ** 1.1 for rank in range(len(corpus))]
    questions = _questions(seed)
    calls: list[Call] = []
    for _ in range(_scaled(24, scale)):
        documents = _drawn(seed, corpus, weights, 1)
        at, messages = seed.uniform(0, 7 * 3_600), [user(_prompt(documents, next(questions)))]
        for _ in range(seed.randint(3, 8)):
            calls.append(_fixed(at, conversation(system, messages), documents))
            answer = {"role": "assistant", "content": [{"text": f"{_ANSWER} {text(seed, 80)}"}]}
            messages = [*messages, answer, user(next(questions))]
            at += 5.0 * 600.0 ** seed.random()
    calls += [
        Call(
            at=seed.uniform(0, 8 * 3_600),
            documents=_drawn(seed, corpus, weights, 2),
            build=_asked(next(questions), system=system),
        )
        for _ in range(_scaled(40, scale))
    ]
    return Workload(title="a day with gaps", calls=tuple(sorted(calls, key=lambda call: call.at)))


def _scaled(count: int, scale: float) -> int:
    return max(3, round(count * scale))


def synthetic() -> dict[str, Callable[[random.Random, float], Workload]]:
    """Return the makers of the workloads by name."""
    return {
        "same": same_documents,
        "overlap": overlapping,
        "never": never_again,
        "behind": behind_history,
        "agent": wide_agent,
        "batch": batch,
        "day": day,
    }
