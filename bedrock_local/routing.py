"""Which of a router's two models answers.

AWS does not publish how its routers judge a prompt. Here difficulty is a stated sum over the last
question: its length, reasoning words, further questions, conditions, clauses, code and numbers; documents
around the question do not count. The sum predicts by how many percent the larger model's answer is
better, and the larger one is used only if that reaches the router's `responseQualityDifference` (the one
rule that fits both the page and the live test of 2026-03).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from bedrock_routing.arns import parse
from bedrock_routing.catalog import Catalog

__all__ = ["Chooser", "Routing", "difficulty", "question_of", "size_of"]

Size = Literal["large", "small"]
Routing = Literal["difficulty", "alternate"] | Sequence[str] | Callable[[str, str, str, float], Size]
"""How to choose: by difficulty, in turn, after a list of model ids (or `large`, `small`) that repeats, or by
a function of the question, the larger model, the smaller model and the threshold."""

_OUTPUT_PRICES: dict[str, float] = {
    "amazon.nova-micro": 0.14,
    "amazon.nova-lite": 0.24,
    "amazon.nova-2-lite": 2.5,
    "amazon.nova-pro": 3.2,
    "amazon.nova-premier": 12.5,
    "meta.llama3-1-8b-instruct": 0.22,
    "meta.llama3-1-70b-instruct": 0.72,
    "meta.llama3-2-11b-instruct": 0.16,
    "meta.llama3-2-90b-instruct": 0.72,
    "meta.llama3-3-70b-instruct": 0.73,
    "anthropic.claude-3-haiku-20240307": 1.25,
    "anthropic.claude-3-5-haiku-20241022": 4.0,
    "anthropic.claude-3-5-sonnet-20240620": 15.0,
    "anthropic.claude-3-5-sonnet-20241022": 15.0,
    "anthropic.claude-3-7-sonnet-20250219": 15.0,
    "anthropic.claude-haiku-5-5": 0.5,
    "anthropic.claude-haiku-4-5-20251001": 5.0,
    "anthropic.claude-sonnet-4-20250514": 15.0,
    "anthropic.claude-sonnet-4-5-20250929": 15.0,
    "anthropic.claude-sonnet-4-6": 15.0,
    "anthropic.claude-sonnet-5": 10.0,
    "anthropic.claude-sonnet-5-5": 10.0,
    "anthropic.claude-opus-4-5-20251101": 25.0,
    "anthropic.claude-opus-4-6": 25.0,
    "anthropic.claude-opus-4-7": 25.0,
    "anthropic.claude-opus-4-8": 25.0,
    "anthropic.claude-opus-5": 25.0,
    "anthropic.claude-opus-5-5": 20.0,
    "anthropic.claude-opus-4-1-20250805": 75.0,
    "anthropic.claude-opus-4-20250514": 75.0,
    "anthropic.claude-fable-5": 50.0,
    "anthropic.claude-fable-5-1": 50.0,
    "anthropic.claude-fable-5-2": 40.0,
}
"""Dollars per million output tokens: of two models the dearer counts as the larger (genai-prices 0.2.3)."""

_BASE = -12.0
_MARKER = re.compile(
    r"^[ \t*#]*(?:user |follow.?up )?(?:question|query|input)[ \t*]*:", re.IGNORECASE | re.MULTILINE
)
_ANSWER = re.compile(r"\n[ \t*#]*(?:helpful |standalone )?answer[ \t*]*:?\s*$", re.IGNORECASE)
_REASONING = re.compile(
    r"\b(?:why|how|explain|compar\w+|contrast\w*|analy[sz]\w+|prove|proof|derive|design|justify|evaluate|trade-?offs?|"
    r"differ\w*|implications?|reason\w*|step by step|optimi[sz]\w+|refactor|debug|summari[sz]\w+)\b",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:must|should|at least|at most|only|without|except|exactly|unless|between|each|every|before|"
    r"after)\b",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,;:]|\b(?:and|or|but|then|if|when|while|which|because|so that)\b", re.IGNORECASE)
_FORMAL = re.compile(r"```|[=<>]{1,2}|\bdef |\bSELECT\b|[\^∑∫√]|\d+\s*[-+*/%]\s*\d+|[{}();]{2}")
_LONGEST_QUESTION = 1_500


def question_of(body: Mapping[str, Any]) -> str:
    """Return the question at the end of a request, or nothing where no user text is found.

    Looks at the last user message that has text, there at what follows the last `Question:`, else at the
    last paragraph.
    """
    for message in reversed(cast("Sequence[Mapping[str, Any]]", body.get("messages") or ())):
        texts = [block["text"] for block in message["content"] if block.get("text", "").strip()]
        if message["role"] == "user" and texts:
            return _question("\n\n".join(texts))
    return ""


def difficulty(question: str) -> float:
    """Return by how many percent the larger model is predicted to do better; negative for plain questions."""
    words = len(question.split())
    parts = (
        min(max(words - 12, 0) * 0.5, 15.0),
        min(len(_REASONING.findall(question)) * 10.0, 30.0),
        min(max(question.count("?") - 1, 0) * 6.0, 12.0),
        min(len(_CONDITION.findall(question)) * 4.0, 16.0),
        min(len(_CLAUSE.findall(question)) * 2.0, 12.0),
        15.0 if _FORMAL.search(question) else 0.0,
    )
    return _BASE + sum(parts)


def size_of(model: str) -> float | None:
    """Return what orders models by size, or `None` for one that the table does not list."""
    facts = Catalog.default().find(model)
    return None if facts is None else _OUTPUT_PRICES.get(facts.id)


class Chooser:
    """Choose between two models; turns and lists are counted per router. Thread-safe."""

    def __init__(self, routing: Routing) -> None:
        self._routing = routing
        self._turns: dict[str, int] = {}
        self._lock = threading.Lock()

    def choose(
        self, router: str, models: Sequence[str], fallback: str, threshold: float, body: Mapping[str, Any]
    ) -> str:
        """Return the one of `models` that answers; `fallback` where there is no question to judge."""
        large, small = _by_size(models)
        routing = self._routing
        if isinstance(routing, str):
            if routing == "alternate":
                return models[self._turn(router) % len(models)]
            return _by_difficulty(question_of(body), large, small, fallback, threshold)
        if callable(routing):
            return large if routing(question_of(body), large, small, threshold) == "large" else small
        return _named(routing[self._turn(router) % len(routing)], large, small)

    def _turn(self, router: str) -> int:
        with self._lock:
            turn = self._turns.get(router, 0)
            self._turns[router] = turn + 1
        return turn


def _by_difficulty(question: str, large: str, small: str, fallback: str, threshold: float) -> str:
    if not question:
        return fallback
    return large if difficulty(question) >= threshold else small


def _by_size(models: Sequence[str]) -> tuple[str, str]:
    """Return the larger and the smaller; of two that the table cannot compare, the first listed is larger."""
    first, second = models[0], models[-1]
    sizes = size_of(first), size_of(second)
    if sizes[0] is not None and sizes[1] is not None and sizes[0] < sizes[1]:
        return second, first
    return first, second


def _named(wanted: str, large: str, small: str) -> str:
    if wanted in ("large", "small"):
        return large if wanted == "large" else small
    for model in (large, small):
        if parse(model).key == parse(wanted).key:
            return model
    raise ValueError(f"{wanted!r} is neither 'large' nor 'small' nor one of {large!r}, {small!r}")


def _question(text: str) -> str:
    bare = _ANSWER.sub("", text.strip())
    marks = list(_MARKER.finditer(bare))
    if marks:
        return bare[marks[-1].end() :].strip()[:_LONGEST_QUESTION]
    paragraphs = [each.strip() for each in re.split(r"\n\s*\n", bare) if each.strip()]
    return paragraphs[-1][-_LONGEST_QUESTION:] if paragraphs else ""
