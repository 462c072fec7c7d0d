"""Decide which tools to call, and answer in the shape a schema asks for, without a language model."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from bedrock_local.answers import clues
from bedrock_local.answers.base import Prompt, Reply, ToolCall, ToolSpec
from bedrock_local.answers.filling import fill
from bedrock_local.answers.schema import properties, required, resolved
from bedrock_local.answers.strings import WHOLE_QUESTION, Ground
from bedrock_local.answers.words import terms

_NAMED = 10.0
_IN_NAME, _IN_PARAMETERS, _IN_DESCRIPTION = 2.0, 1.0, 1.0
_ENOUGH = 2.0
_SEARCHES = 2.0
_EMPTY_WORDS = frozenset(
    terms("tools use used using function call value return returned input output argument given get gets")
)
_SEARCH_WORDS = frozenset(
    terms("search retrieve retriever retrieval lookup find knowledge documents documentation passages")
)
_QUESTION = re.compile(
    r"\?\s*$|^\W*(?:what|which|who|when|where|why|how|find|search|look up)\b", re.IGNORECASE
)
_OPERATORS = (
    (re.compile(r"\d\s*\+\s*\d"), "add adds adder sum plus addition"),
    (re.compile(r"\d\s*[*×x]\s*\d"), "multiply multiplies multiplier product times multiplication"),  # noqa: RUF001
    (re.compile(r"\d\s+[-−]\s+\d"), "subtract subtracts minus difference subtraction"),  # noqa: RUF001
    (re.compile(r"\d\s*[/÷]\s*\d"), "divide divides divider quotient division"),
)
_CLAUSE_END = re.compile(
    r"\s*(?:;|[.?!]\s+|,?\s+and\s+(?:also\s+|then\s+)?|,\s+then\s+|,\s+also\s+)\s*", re.IGNORECASE
)


def _meaningful(text: str) -> set[str]:
    return set(terms(text)) - _EMPTY_WORDS


def _asked_words(text: str) -> set[str]:
    operators = " ".join(words for pattern, words in _OPERATORS if pattern.search(text))
    return _meaningful(f"{text} {operators}")


def _names(tool: ToolSpec, text: str) -> bool:
    spoken = re.escape(clues.spoken(tool.name)).replace(r"\ ", r"[\s_-]?")
    several_words = " " in clues.spoken(tool.name)
    pattern = rf"(?<!\w)(?:{re.escape(tool.name)}{'|' + spoken if several_words else ''})(?!\w)"
    return bool(re.search(pattern, text, re.IGNORECASE))


def _searches(tool: ToolSpec, text: str, ground: Ground) -> bool:
    """Tell whether the tool looks things up and the text asks what no document of the prompt answers."""
    if ground.has_documents or not _QUESTION.search(text) or not _meaningful(text):
        return False
    takes_question = any(
        name.lower() in WHOLE_QUESTION for name in properties(resolved(tool.schema, tool.schema))
    )
    return takes_question and bool(_SEARCH_WORDS & set(terms(f"{tool.name} {tool.description}")))


def _score(tool: ToolSpec, text: str, ground: Ground) -> float:
    asked = _asked_words(text)
    members = properties(resolved(tool.schema, tool.schema))
    named = _NAMED * _names(tool, text)
    overlap = (
        _IN_NAME * len(asked & _meaningful(tool.name))
        + _IN_DESCRIPTION * len(asked & _meaningful(tool.description))
        + _IN_PARAMETERS * len(asked & _meaningful(" ".join(members)))
    )
    return named + overlap + _SEARCHES * _searches(tool, text, ground)


def _best(tools: Sequence[ToolSpec], text: str, ground: Ground) -> tuple[ToolSpec, float]:
    scores = [_score(tool, text, ground) for tool in tools]
    position = scores.index(max(scores))
    return tools[position], scores[position]


def _call(tool: ToolSpec, text: str, ground: Ground) -> ToolCall:
    return ToolCall(name=tool.name, input=fill(tool.schema, replace(ground, text=text)))


def _clause_calls(tools: Sequence[ToolSpec], ground: Ground) -> tuple[ToolCall, ...]:
    """Call one tool per clause when the clauses ask for different tools."""
    calls: dict[str, ToolCall] = {}
    for clause in filter(None, _CLAUSE_END.split(ground.text)):
        tool, score = _best(tools, clause, ground)
        if score >= _ENOUGH and tool.name not in calls:
            calls[tool.name] = _call(tool, clause, replace(ground, question=clause))
    return tuple(calls.values()) if len(calls) > 1 else ()


def _takes_one_string(tool: ToolSpec) -> bool:
    schema = resolved(tool.schema, tool.schema)
    needed = required(schema)
    if len(needed) != 1 or needed[0].lower() in WHOLE_QUESTION:
        return False
    return resolved(properties(schema)[needed[0]], tool.schema).get("type") == "string"


def _free_calls(tools: Sequence[ToolSpec], ground: Ground) -> tuple[ToolCall, ...]:
    if not tools:
        return ()
    if calls := _clause_calls(tools, ground):
        return calls
    tool, score = _best(tools, ground.text, ground)
    if score < _ENOUGH:
        return ()
    texts = clues.one_name_each(ground.text) if _takes_one_string(tool) else [ground.text]
    return tuple(_call(tool, text, ground) for text in texts)


def _unanswered(prompt: Prompt) -> tuple[ToolSpec, ...]:
    """Return the tools that gave no result since the user last asked; an unnamed result stands for all."""
    asked = [i for i, turn in enumerate(prompt.turns) if turn.role == "user" and turn.text.strip()]
    since = prompt.turns[asked[-1] :] if asked else prompt.turns
    answered = {result.name for turn in since for result in turn.tool_results}
    return () if None in answered else tuple(tool for tool in prompt.tools if tool.name not in answered)


def _forced_call(prompt: Prompt, ground: Ground) -> ToolCall:
    wanted = prompt.tool_choice.removeprefix("tool:")
    named = [tool for tool in prompt.tools if tool.name == wanted and prompt.tool_choice != "any"]
    tool = named[0] if named else _best(_unanswered(prompt) or prompt.tools, ground.text, ground)[0]
    return _call(tool, ground.text, ground)


def tool_calls(prompt: Prompt, ground: Ground) -> tuple[ToolCall, ...]:
    """Choose the calls to make: exactly one when one is demanded, else those the last user text asks for."""
    if not prompt.tools:
        return ()
    if prompt.tool_choice != "auto":
        return (_forced_call(prompt, ground),)
    return _free_calls(_unanswered(prompt), ground)


def respond(prompt: Prompt, ground: Ground) -> Reply | None:
    """Answer with tool calls or with JSON when the prompt asks for them; None leaves it to the engine."""
    if calls := tool_calls(prompt, ground):
        return Reply(tool_calls=calls)
    if prompt.json_schema is not None:
        return Reply(text=json.dumps(fill(prompt.json_schema, ground), ensure_ascii=False))
    return None
