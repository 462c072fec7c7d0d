"""Answers in a given form: the JSON of a schema, or the input of a tool; and never `None` instead of one."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import Any, cast

from langchain_core.exceptions import ModelRefusalError, OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.runnables import (
    Runnable,
    RunnableGenerator,
    RunnableMap,
    RunnablePassthrough,
    RunnableSequence,
)
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass

__all__ = ["answered", "asking_for_json", "is_pydantic", "json_parser", "json_schema_of", "parsed"]

_WITHHELD = frozenset({"guardrail_intervened", "content_filtered"})
"""What a reply's `stopReason` says when the answer was withheld."""


def is_pydantic(schema: Any) -> bool:
    """Tell whether a schema is a pydantic class."""
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def json_schema_of(schema: Any) -> dict[str, Any]:
    """Return the JSON schema of a pydantic class, a TypedDict or a JSON schema; what was given stays."""
    if is_pydantic(schema):
        return schema.model_json_schema()
    return copy.deepcopy(schema) if isinstance(schema, dict) else convert_to_json_schema(schema)


def json_parser(schema: Any) -> Any:
    """Return what reads JSON out of a text: as the pydantic class that was given, else as a dict."""
    return PydanticOutputParser(pydantic_object=schema) if is_pydantic(schema) else JsonOutputParser()


def asking_for_json(messages: list[BaseMessage], schema: dict[str, Any] | None) -> list[BaseMessage]:
    """Return messages whose system prompt ends in the wish for nothing but JSON.

    It is the same text for the same schema, and stands last, so that it breaks no cached prefix before it.
    """
    wish = "Answer with one JSON value and nothing else: no explanation, no code fence."
    if schema is not None:
        wish += f" It must match this JSON schema:\n{json.dumps(schema, ensure_ascii=False)}"
    if not messages or not isinstance(messages[0], SystemMessage):
        return [SystemMessage(wish), *messages]
    first, *rest = messages
    said: list[Any] = [first.content] if isinstance(first.content, str) else [*first.content]
    blocks = [{"type": "text", "text": each} if isinstance(each, str) else each for each in said if each]
    return [first.model_copy(update={"content": [*blocks, {"type": "text", "text": wish}]}), *rest]


def parsed(
    llm: Runnable[LanguageModelInput, AIMessage], parser: Any, *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return a model whose answers are parsed; with `include_raw`, beside the message and the error."""
    if not include_raw:
        return llm | parser
    attempt = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    nothing = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap({"raw": llm}) | attempt.with_fallbacks([nothing], exception_key="parsing_error")


def answered(
    structured: Runnable[LanguageModelInput, Any], *, include_raw: bool, needs_call: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return a model whose parser only sees answers; what was withheld raises.

    So does prose: without a tool call LangChain's parsers return `None`, which is then taken for a result,
    and without JSON a stream of theirs has no items.
    """
    *before, parser = cast("RunnableSequence[Any, Any]", structured).steps
    llm = before[0] if len(before) == 1 else RunnableSequence(*before)
    find = _no_call if needs_call else partial(_no_json, parser)
    return parsed(llm, _checking(find) | parser, include_raw=include_raw)


def _withheld(answer: AIMessage) -> Exception | None:
    reason = answer.response_metadata.get("stopReason")
    if reason not in _WITHHELD:
        return None
    return ModelRefusalError(f"The answer was withheld: stopReason {reason!r}", raw_message=answer)


def _no_call(answer: AIMessage) -> Exception | None:
    if answer.tool_calls:
        return None
    reason = answer.response_metadata.get("stopReason")
    return _withheld(answer) or OutputParserException(
        f"The model called no tool, so there is no structured answer (stopReason {reason!r}). "
        "method='json_schema' and method='json_mode' need no tool.",
        llm_output=answer.text,
    )


def _no_json(parser: Any, answer: AIMessage) -> Exception | None:
    if withheld := _withheld(answer):
        return withheld
    try:
        parser.invoke(answer)
    except OutputParserException as error:
        return error
    return None


def _checking(find: Callable[[AIMessage], Exception | None]) -> Runnable[AIMessage, AIMessage]:
    """Return what passes an answer on as it comes, chunk by chunk, and raises at its end if need be."""

    def check(seen: list[AIMessage]) -> None:
        whole: Any = seen[0]
        for each in seen[1:]:
            whole += each
        if error := find(whole):
            raise error

    def passed(answer: Iterator[AIMessage]) -> Iterator[AIMessage]:
        seen: list[AIMessage] = []
        for each in answer:
            seen.append(each)
            yield each
        check(seen)

    async def apassed(answer: AsyncIterator[AIMessage]) -> AsyncIterator[AIMessage]:
        seen: list[AIMessage] = []
        async for each in answer:
            seen.append(each)
            yield each
        check(seen)

    return RunnableGenerator(passed, apassed)
