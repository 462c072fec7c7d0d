"""Documents, chains' parts and a look at the wire, for the tests of this folder."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from bedrock_local import LocalBedrock
from bedrock_local.answers.base import Prompt, Reply, ToolCall

LITE, PRO, MICRO = "amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0", "amazon.nova-micro-v1:0"
NOVA = [LITE, PRO]
SUBJECTS = ("Tides", "Bridges", "Lanterns", "Orchards", "Glaciers", "Violins")


def make_document(subject: str, *, lines: int = 30, **metadata: Any) -> Document:
    """Return a document of several hundred tokens, about one subject."""
    text = "\n".join(
        f"{subject} chapter {number}: the keeper of {subject.lower()} wrote {number * 7} careful pages."
        for number in range(lines)
    )
    return Document(page_content=text, metadata={"source": f"{subject.lower()}.md", **metadata})


DOCUMENTS = [make_document(subject) for subject in SUBJECTS]


class ListRetriever(BaseRetriever):
    """Return a fixed list, or the next of several, whatever is asked."""

    answers: list[list[Document]]
    asked: list[str] = Field(default_factory=list)
    taken: list[int | None] = Field(default_factory=list)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(query)
        self.taken.append(k)
        return answer[:k]


def blocks(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the blocks of a request in the order in which they make up the prompt."""
    messages: Sequence[Mapping[str, Any]] = body.get("messages", ())
    return [*body.get("system", ()), *(block for message in messages for block in message["content"])]


def texts_before_points(body: Mapping[str, Any]) -> list[str]:
    """Return, for each cache point of system and messages, the text that it stands after."""
    flat = blocks(body)
    return [before.get("text", "") for before, block in itertools.pairwise(flat) if "cachePoint" in block]


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return all texts of a request, joined as the model reads them."""
    return "".join(block.get("text", "") for block in blocks(body))


class ToolRounds:
    """Answer each question with rounds of tool calls, then a text: `widths` says how many calls each makes.

    `tools` are called in turn; `say` stands before the calls.
    """

    def __init__(self, *widths: int, tools: Sequence[str] = ("look",), say: str = "") -> None:
        self.name = "tool rounds"
        self._widths, self._tools, self._say = widths, tools, say

    def reply(self, prompt: Prompt) -> Reply:
        """Call as many tools as this round has, or answer."""
        asked = max(number for number, turn in enumerate(prompt.turns) if turn.text and turn.role == "user")
        done = sum(bool(turn.tool_results) for turn in prompt.turns[asked:])
        if done >= len(self._widths):
            return Reply(text="The pages say that the tide is high. " * 5)
        calls = [
            ToolCall(
                name=self._tools[number % len(self._tools)],
                input={"query": f"page {len(prompt.turns)}.{number}"},
            )
            for number in range(self._widths[done])
        ]
        return Reply(text=self._say, tool_calls=tuple(calls))


def converses(bedrock: LocalBedrock) -> list[Mapping[str, Any]]:
    """Return the bodies of the model calls, in order."""
    return [each.body for each in bedrock.requests if each.operation.startswith("Converse")]


def kinds(body: Mapping[str, Any]) -> list[list[str]]:
    """Return, message by message, the kinds of its blocks."""
    return [[next(iter(block)) for block in message["content"]] for message in body["messages"]]
