"""An answer engine that always says the same, for tests and for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bedrock_local.answers.base import Prompt, Reply, ToolCall
from bedrock_local.schema_example import smallest

__all__ = ["FixedAnswer"]


class FixedAnswer:
    """Answer every prompt with one text; `{question}` in it stands for the last user text.

    A forced tool choice is answered by a call with the smallest input that the tool's schema allows, a
    reply schema by the smallest value. `tool_calls` are made on every prompt that offers these tools and
    ends in no tool result.
    """

    def __init__(
        self, text: str = "This is a fixed answer.", tool_calls: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.name = "fixed"
        self._text = text
        self._tool_calls = dict(tool_calls or {})

    def reply(self, prompt: Prompt) -> Reply:
        """Return the fixed text, the fixed tool calls, or what the prompt forces."""
        offered = {tool.name: tool for tool in prompt.tools}
        if prompt.tool_choice != "auto" and offered:
            wanted = prompt.tool_choice.removeprefix("tool:")
            name = wanted if wanted in offered else next(iter(offered))
            fixed = self._tool_calls.get(name)
            given = smallest(offered[name].schema) if fixed is None else fixed
            return Reply(tool_calls=(ToolCall(name=name, input=given),))
        asked = prompt.turns[-1] if prompt.turns else None
        calls = tuple(
            ToolCall(name=name, input=given) for name, given in self._tool_calls.items() if name in offered
        )
        if calls and not (asked and asked.tool_results):
            return Reply(tool_calls=calls)
        if prompt.json_schema is not None:
            return Reply(text=json.dumps(smallest(prompt.json_schema)))
        return Reply(text=self._text.replace("{question}", asked.text if asked else ""))
