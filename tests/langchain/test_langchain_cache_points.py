"""A history with cache points, sent to the model of another provider."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_aws import ChatBedrockConverse
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_support import DOCUMENTS, LITE, blocks
from typing_extensions import override

from bedrock_local import Fault, LocalBedrock
from langchain_bedrock_routing import ChatBedrockRouter, without_cache_points

Make = Callable[..., ChatBedrockRouter]
POINT = ChatBedrockConverse.create_cache_point()
HOUR = {"cachePoint": {"type": "default", "ttl": "1h"}}
WRAPPED = {"type": "non_standard", "value": HOUR}
CALL = {"name": "look", "args": {}, "id": "1", "type": "tool_call"}


class OtherProvider(BaseChatModel):
    """Turn messages into OpenAI's form, as the models of most other providers do, and say what came."""

    @property
    def _llm_type(self) -> str:
        return "other"

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = convert_to_openai_messages(messages)
        roles = " ".join(each["role"] for each in said)  # type: ignore[call-overload]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"other: {roles}"))])


@tool
def look() -> str:
    """Look."""
    return "It is there."


def by_hand() -> list[BaseMessage]:
    """Return a history into which its owner put cache points wherever one may stand."""
    return [
        SystemMessage([{"type": "text", "text": "Answer briefly."}, HOUR]),
        HumanMessage([{"type": "text", "text": DOCUMENTS[0].page_content}, POINT]),
        HumanMessage([POINT]),
        HumanMessage("Where is it?"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage(
            [{"type": "text", "text": "There."}, {"cache_point": {"type": "default"}}], tool_call_id="1"
        ),
        AIMessage([{"type": "text", "text": "There."}, WRAPPED]),
        HumanMessage("And why?"),
    ]


def test_a_history_goes_to_another_provider() -> None:
    """The same history that another provider's model raises on is answered by it without its cache points."""
    messages = by_hand()
    with pytest.raises(KeyError):
        OtherProvider().invoke(messages)
    answer = (without_cache_points | OtherProvider()).invoke(messages)
    assert answer.text == "other: system user user assistant tool assistant user"
    assert messages == by_hand()


def test_everything_else_stays() -> None:
    """Only cache points go; a message that holds none is the same object."""
    messages = by_hand()
    kept = without_cache_points(messages)
    assert [each.content for each in kept[:2]] == [
        [{"type": "text", "text": "Answer briefly."}],
        [{"type": "text", "text": DOCUMENTS[0].page_content}],
    ]
    assert kept[3] is messages[4]
    assert kept[-1] is messages[-1]
    assert [each.content for each in kept[4:6]] == [
        [{"type": "text", "text": "There."}],
        [{"type": "text", "text": "There."}],
    ]


def test_an_answer_of_a_tool_is_never_left_out() -> None:
    """A tool's answer that held only a point, and the call for it, stay: each call must have its answer."""
    messages = [
        AIMessage([POINT], tool_calls=[CALL]),
        ToolMessage([POINT], tool_call_id="1"),
        AIMessage([POINT]),
    ]
    assert [type(each) for each in without_cache_points(messages)] == [AIMessage, ToolMessage]
    nested = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "a"}, POINT]}
    (kept,) = without_cache_points([HumanMessage([nested])])
    assert kept.content == [{**nested, "content": [{"type": "text", "text": "a"}]}]


@pytest.mark.parametrize(
    "given",
    [
        "Hello",
        [("human", "Hello")],
        ChatPromptTemplate.from_messages([("human", "{text}")]).invoke({"text": "Hello"}),
    ],
    ids=["text", "pairs", "prompt"],
)
def test_every_kind_of_input(given: Any) -> None:
    """What a chat model takes, the helper takes."""
    assert without_cache_points(given) == [HumanMessage("Hello")]


async def test_a_fallback_to_another_provider(make_llm: Make, bedrock: LocalBedrock) -> None:
    """with_fallbacks sends a history with points to another provider's model, whole and as a stream."""
    llm = make_llm(LITE, max_retries=0).with_fallbacks([without_cache_points | OtherProvider()])
    messages = [*by_hand()[:2], HumanMessage("Where is it?")]
    for operation in ("Converse", "ConverseStream"):
        bedrock.fail(Fault.throttling(), times=2, operation=operation)
    assert llm.invoke(messages).text == "other: system user user"
    assert "".join(each.text for each in llm.stream(messages)) == "other: system user user"
    assert (await llm.ainvoke(messages)).text == "other: system user user"
    assert llm.invoke(messages).text == "This is a fixed answer."


def test_nothing_that_is_only_for_the_cache_gets_into_a_history(
    make_llm: Make, bedrock: LocalBedrock
) -> None:
    """A conversation whose points this package placed holds none itself, and goes anywhere as it is."""
    llm = make_llm(LITE)
    context = "\n\n".join(each.page_content for each in DOCUMENTS)
    history: list[BaseMessage] = [SystemMessage(context)]
    for question in ("How many?", "Who wrote them?", "Where are they?"):
        history.append(HumanMessage(question))
        history.append(llm.invoke(history))
    assert any("cachePoint" in each for request in bedrock.requests for each in blocks(request.body))
    assert without_cache_points(history) == history
    assert OtherProvider().invoke(history).text.startswith("other: system user assistant")
