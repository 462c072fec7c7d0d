"""The workloads of `savings.py` made of real texts that lie beside the checkout, in `../shared/data`.

They are read from there and skipped, saying so, where that folder is missing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from savings_workloads import Call, MissingDataError, Workload, conversation, user

__all__ = ["real"]

_DATA = Path(__file__).parents[2] / "shared" / "data"
_INSTRUCTIONS = (
    "You are a helpful assistant. Answer from the passages that come with a question, in at most 150 words. "
    "If they do not hold the answer, say so."
)
_LEAST_TURNS = 3
_LEAST_CHARACTERS = 4_000
_TOOL_NAMES = ("create", "edit", "bash", "open", "goto", "scroll_down", "search_dir", "find_file", "submit")

Wire = dict[str, Any]


def conversations(seed: random.Random, scale: float) -> Workload:
    """Replay MT-RAG conversations turn by turn; one begins every two minutes, a turn follows after forty.

    The data names the passages of the last turn only. They are dealt to the turns in their order, stand
    before the question of the turn, and stay in the history.
    """
    file = _DATA / "mtrag" / "reference.jsonl"
    if not file.exists():
        raise MissingDataError(f"no {file.name} of MT-RAG in {file.parent}")
    del seed
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    wanted = (row for row in rows if _is_long(row))
    calls = [
        call
        for number, row in enumerate(islice(wanted, max(3, round(40 * scale))))
        for call in _turns_of(row, 120.0 * number)
    ]
    return Workload(title="MT-RAG conversations", calls=tuple(sorted(calls, key=lambda call: call.at)))


def _is_long(row: Wire) -> bool:
    size = sum(len(each["text"]) for each in row["contexts"])
    return len(row["input"]) >= 2 * _LEAST_TURNS - 1 and size >= _LEAST_CHARACTERS


def _turns_of(row: Wire, start: float) -> Iterator[Call]:
    texts = [each["text"] for each in row["input"]]
    passages = [each["text"].strip() for each in row["contexts"]]
    turns = (len(texts) + 1) // 2
    messages: list[Wire] = []
    for turn in range(turns):
        here = tuple(passages[turn * len(passages) // turns : (turn + 1) * len(passages) // turns])
        messages = [*messages, user("\n\n".join([*here, texts[2 * turn]]))]
        yield _fixed(start + 40.0 * turn, conversation(_INSTRUCTIONS, messages), here)
        if turn + 1 < turns:
            messages = [*messages, {"role": "assistant", "content": [{"text": texts[2 * turn + 1]}]}]


def _fixed(at: float, request: Wire, documents: tuple[str, ...] = ()) -> Call:
    return Call(at=at, documents=documents, build=lambda _: request)


def coding_agents(seed: random.Random, scale: float) -> Workload:
    """Replay the SWE-agent runs one after the other, message by message, a step every twelve seconds."""
    del seed
    files = sorted((_DATA / "swe-agent").glob("*.traj"))
    if not files:
        raise MissingDataError(f"no runs of SWE-agent in {_DATA / 'swe-agent'}")
    calls: list[Call] = []
    for file in files[: max(1, round(len(files) * scale))]:
        start = calls[-1].at + 60.0 if calls else 0.0
        history = json.loads(file.read_text("utf-8"))["history"]
        calls += [_fixed(start + 12.0 * number, step) for number, step in enumerate(_steps(history))]
    return Workload(title="SWE-agent runs", calls=tuple(calls))


def _steps(history: Sequence[Wire]) -> Iterator[Wire]:
    """Yield the request before each message of the assistant."""
    system = next(each["content"] for each in history if each["role"] == "system")
    tools = [_tool(name) for name in _TOOL_NAMES] if any(each.get("tool_calls") for each in history) else []
    messages: list[Wire] = []
    for each in history:
        if each["role"] == "system":
            continue
        role = "assistant" if each["role"] == "assistant" else "user"
        if role == "assistant":
            yield conversation(system, messages, tools)
        content = _content(each)
        if messages and messages[-1]["role"] == role:
            messages = [*messages[:-1], {"role": role, "content": [*messages[-1]["content"], *content]}]
        else:
            messages = [*messages, {"role": role, "content": content}]


def _content(message: Wire) -> list[Wire]:
    words: list[Wire] = [{"text": message["content"]}] if message["content"].strip() else []
    if answered := message.get("tool_call_ids"):
        return [{"toolResult": {"toolUseId": each, "content": words}} for each in answered]
    calls = message.get("tool_calls") or ()
    return words + [
        {
            "toolUse": {
                "toolUseId": each["id"],
                "name": each["function"]["name"],
                "input": json.loads(each["function"]["arguments"]),
            }
        }
        for each in calls
    ]


def _tool(name: str) -> Wire:
    """Describe a command of SWE-agent; the runs name the commands only."""
    schema = {"type": "object", "properties": {"arguments": {"type": "string"}}}
    description = f"Run the command {name} of the special interface in the current working directory."
    return {"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}}


def real() -> dict[str, Callable[[random.Random, float], Workload]]:
    """Return the makers of the workloads by name."""
    return {"mtrag": conversations, "swe-agent": coding_agents}
