"""What an answer engine is asked and what it gives back, whatever the wire around it looks like."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """Describe one tool that may be called; `schema` is the JSON schema of its input."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """Carry what a tool gave back; `name` is None when the call it belongs to is not in the prompt."""

    name: str | None
    text: str
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTurn:
    """Carry one message of the conversation, its text blocks joined."""

    role: Literal["user", "assistant"]
    text: str
    tool_results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptDocument:
    """Carry one document or search result block."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """Carry everything an engine may read; `tool_choice` is "auto", "any" or "tool:NAME"."""

    system: str
    turns: tuple[PromptTurn, ...]
    documents: tuple[PromptDocument, ...] = ()
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "any"] | str = "auto"  # noqa: PYI051 - the literals document
    json_schema: Mapping[str, Any] | None = None
    max_words: int = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """Carry one call the engine wants made."""

    name: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Carry what the engine answers: text, tool calls, or both."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class AnswerEngine(Protocol):
    """Answer a prompt; the same prompt gets the same reply as far as the engine can promise it."""

    name: str

    def reply(self, prompt: Prompt) -> Reply:
        """Answer the last user turn of the prompt."""
        ...
