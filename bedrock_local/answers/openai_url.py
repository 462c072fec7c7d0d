"""Pass prompts on to a model behind an OpenAI-compatible URL."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bedrock_local.answers.base import Prompt, PromptTurn, Reply, ToolCall, ToolResult, ToolSpec

_KEY = "OPENAI_API_KEY"
_UNNAMED = "tool"
_SHORTEST_LIMIT = 256
_SHOWN_OF_ERROR = 300
_CHOICES = {"auto": "auto", "any": "required"}

Message = dict[str, Any]


class OpenAIURLError(RuntimeError):
    """Say that the server behind the URL could not be reached, refused, or answered with something else."""


def _tool(tool: ToolSpec) -> Message:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)}
    return {"type": "function", "function": function}


def _choice(choice: str) -> str | Message:
    if choice in _CHOICES:
        return _CHOICES[choice]
    return {"type": "function", "function": {"name": choice.removeprefix("tool:")}}


def _result_messages(position: int, results: Sequence[ToolResult]) -> list[Message]:
    """Write the results after calls made up for them, for the prompt does not keep the calls' inputs."""
    ids = [f"call_{position}_{number}" for number in range(len(results))]
    calls = [
        {"id": one, "type": "function", "function": {"name": result.name or _UNNAMED, "arguments": "{}"}}
        for one, result in zip(ids, results, strict=True)
    ]
    answers: list[Message] = [
        {
            "role": "tool",
            "tool_call_id": one,
            "content": f"Error: {result.text}" if result.failed else result.text,
        }
        for one, result in zip(ids, results, strict=True)
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *answers]


def _turn_messages(position: int, turn: PromptTurn) -> list[Message]:
    written: list[Message] = _result_messages(position, turn.tool_results) if turn.tool_results else []
    return [*written, {"role": turn.role, "content": turn.text}] if turn.text or not written else written


def _with_joined_calls(written: Sequence[Message]) -> list[Message]:
    """Join an assistant's text with the calls that follow it, as one assistant message carries both."""
    joined: list[Message] = []
    for message in written:
        before = joined[-1] if joined else {}
        if "tool_calls" in message and before.get("role") == "assistant" and "tool_calls" not in before:
            joined[-1] = {**message, "content": before["content"] or None}
        else:
            joined.append(message)
    return joined


def messages(prompt: Prompt) -> list[Message]:
    """Write a prompt as chat messages; its documents follow the system text."""
    documents = (f'<document title="{one.title}">\n{one.text}\n</document>' for one in prompt.documents)
    system = "\n\n".join(part for part in (prompt.system, *documents) if part)
    turns = [message for i, turn in enumerate(prompt.turns) for message in _turn_messages(i, turn)]
    return [*([{"role": "system", "content": system}] if system else []), *_with_joined_calls(turns)]


def body(prompt: Prompt, model: str) -> Message:
    """Write a prompt as the body of a chat completion request."""
    written: Message = {
        "model": model,
        "messages": messages(prompt),
        "max_tokens": max(_SHORTEST_LIMIT, prompt.max_words * 2),
        "temperature": 0,
    }
    if prompt.tools:
        written |= {
            "tools": [_tool(tool) for tool in prompt.tools],
            "tool_choice": _choice(prompt.tool_choice),
        }
    if prompt.json_schema is not None:
        schema = {"name": "answer", "schema": dict(prompt.json_schema)}
        written["response_format"] = {"type": "json_schema", "json_schema": schema}
    return written


def _call(call: Mapping[str, Any]) -> ToolCall:
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    given = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(given, dict):
        raise TypeError("the arguments of a tool call are not an object")
    return ToolCall(name=str(function["name"]), input=cast("dict[str, Any]", given))


def read(answer: Mapping[str, Any]) -> Reply:
    """Read a chat completion."""
    message = answer["choices"][0]["message"]
    calls = cast("Sequence[Mapping[str, Any]]", message.get("tool_calls") or ())
    return Reply(text=message.get("content") or "", tool_calls=tuple(_call(call) for call in calls))


def _base(url: str) -> str:
    trimmed = url.rstrip("/").removesuffix("/chat/completions")
    return trimmed if urlsplit(trimmed).path.strip("/") else f"{trimmed}/v1"


class OpenAIEngine:
    """Ask the model behind a URL such as http://localhost:8080/v1; a URL without a path gets "/v1".

    Without `model`, the first model the server lists is asked. The key is read from OPENAI_API_KEY, and only
    ever sent in the Authorization header.
    """

    def __init__(self, url: str, *, model: str | None = None, timeout: float = 120.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"not an http(s) URL: {url!r}")
        self.name = url
        self._base = _base(url)
        self._model = model
        self._timeout = timeout
        self._key = os.environ.get(_KEY)

    def reply(self, prompt: Prompt) -> Reply:
        """Answer with what the model behind the URL answers."""
        answer = self._fetch("/chat/completions", body(prompt, self._chosen_model()))
        try:
            return read(answer)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise OpenAIURLError(
                f"{self._base} answered with something else than a chat completion"
            ) from error

    def _chosen_model(self) -> str:
        if self._model is None:
            try:
                self._model = str(self._fetch("/models")["data"][0]["id"])
            except (KeyError, IndexError, TypeError) as error:
                raise OpenAIURLError(f"{self._base} lists no models; name one") from error
        return self._model

    def _fetch(self, path: str, sent: Message | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = json.dumps(sent).encode() if sent is not None else None
        request = Request(self._base + path, data=data, headers=headers)  # noqa: S310 - scheme was checked
        try:
            with urlopen(request, timeout=self._timeout) as response:  # noqa: S310
                return cast("dict[str, Any]", json.loads(response.read()))
        except HTTPError as error:
            shown = self._hide(error.read().decode(errors="replace"))[:_SHOWN_OF_ERROR]
            raise OpenAIURLError(f"{self._base}{path} answered {error.code}: {shown}") from None
        except (URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise OpenAIURLError(f"{self._base}{path} could not be reached: {reason}") from None
        except ValueError:
            raise OpenAIURLError(f"{self._base}{path} did not answer with JSON") from None

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text
