"""Tools, forced tool choice and structured output, by what the models behind a router can do."""

import warnings
from collections.abc import Callable

import pytest
from langchain_core.tools import tool
from langchain_support import NOVA
from pydantic import BaseModel

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import ConfigurationError
from langchain_bedrock_routing import ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]
LLAMA = ["meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-70b-instruct-v1:0"]
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word}: a word"


class Verdict(BaseModel):
    """Say whether a text is kind."""

    kind: bool
    reason: str


@pytest.mark.parametrize(
    ("choice", "sent"), [("any", {"any": {}}), ("look_up", {"tool": {"name": "look_up"}})]
)
def test_forced_tool_choice(
    make_llm: Make, custom_arn: str, bedrock: LocalBedrock, choice: str, sent: dict[str, object]
) -> None:
    """A choice that the models behind a custom ARN accept is sent, and the tool is called."""
    answer = make_llm(custom_arn).bind_tools([look_up], tool_choice=choice).invoke("What is a tide?")
    assert [call["name"] for call in answer.tool_calls] == ["look_up"]
    assert bedrock.requests[-1].body["toolConfig"]["toolChoice"] == sent


def test_free_tool_choice_needs_no_look_behind(
    make_llm: Make, custom_arn: str, bedrock: LocalBedrock
) -> None:
    """Binding tools without a choice asks the service nothing."""
    make_llm(custom_arn).bind_tools([look_up])
    assert bedrock.requests == []


def test_structured_output(make_llm: Make, custom_arn: str) -> None:
    """Structured output of a custom ARN forces the tool, so it is an object and never None."""
    assert make_llm(custom_arn).with_structured_output(Verdict).invoke("Well done!") == Verdict(
        kind=False, reason=""
    )


async def test_structured_output_with_raw(make_llm: Make, custom_arn: str) -> None:
    """The raw message beside a structured answer carries the receipt."""
    structured = make_llm(custom_arn).with_structured_output(Verdict, include_raw=True)
    answer = await structured.ainvoke("Well done!")
    assert isinstance(answer, dict)
    assert isinstance(answer["parsed"], Verdict)
    assert answer["raw"].response_metadata["bedrock_routing"]["complete"] is True


def test_streamed_tool_calls(make_llm: Make, custom_arn: str, bedrock: LocalBedrock) -> None:
    """Tool calls of Nova are streamed."""
    first, *rest = make_llm(custom_arn).bind_tools([look_up], tool_choice="any").stream("What is a tide?")
    assert [call["name"] for call in sum(rest, first).tool_calls] == ["look_up"]
    assert bedrock.requests[-1].operation == "ConverseStream"


def test_tool_choice_that_a_model_behind_refuses(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A choice that a known model refuses is an error when it is bound, and names the models."""
    llm = make_llm(bedrock.create_router("llamas", LLAMA))
    with pytest.raises(ConfigurationError, match=r"meta\.llama3-1-8b.*meta\.llama3-1-70b.*'auto'"):
        llm.bind_tools([look_up], tool_choice="any")
    assert llm.bind_tools([look_up], tool_choice="auto")


def test_structured_output_that_cannot_be_forced(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Where no tool call can be forced, structured output is an error at once, not None later."""
    llm = make_llm(bedrock.create_router("llamas", LLAMA))
    with pytest.raises(ConfigurationError, match=r"meta\.llama3-1-8b.*json_schema"):
        llm.with_structured_output(Verdict)


def test_unknown_models_leave_the_choice_to_the_service(
    make_llm: Make, custom_arn: str, bedrock: LocalBedrock
) -> None:
    """A caller who may not look behind a router gets the forced choice sent: the service decides."""
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        bedrock.fail(Fault.denied(operation, custom_arn), operation=operation)
    assert make_llm(custom_arn).with_structured_output(Verdict).invoke("Well done!")
    assert bedrock.requests[-1].body["toolConfig"]["toolChoice"] == {"tool": {"name": "Verdict"}}


def test_the_callers_word_wins(make_llm: Make, custom_arn: str, bedrock: LocalBedrock) -> None:
    """supports_tool_choice_values= is believed without asking."""
    llm = make_llm(custom_arn, supports_tool_choice_values=["auto", "any"])
    assert llm.with_structured_output(Verdict)
    assert bedrock.requests == []
    with pytest.raises(ConfigurationError, match="look_up"):
        llm.bind_tools([look_up, Verdict], tool_choice="look_up")


def test_thinking_downgrades_a_forced_choice(make_llm: Make) -> None:
    """A model that thinks cannot be forced: the choice becomes auto, with a warning."""
    llm = make_llm(CLAUDE, additional_model_request_fields={"thinking": {"type": "enabled"}})
    with pytest.warns(UserWarning, match="Downgrading"):
        bound = llm.bind_tools([look_up], tool_choice="any")
    assert bound.kwargs["tool_choice"] == {"auto": {}}


def test_tools_of_llama_are_not_streamed(make_llm: Make) -> None:
    """A stream with tools of a model that cannot stream them is one chunk, and text still streams."""
    with LocalBedrock(answers=FixedAnswer(tool_calls={"look_up": {"word": "tide"}}), revive=LLAMA) as bedrock:
        llm = make_llm(bedrock.create_router("llamas", LLAMA), endpoint_url=bedrock.endpoint_url)
        first, *rest = llm.bind_tools([look_up]).stream("What is a tide?")
        whole = sum(rest, first)
        assert [call["args"] for call in whole.tool_calls] == [{"word": "tide"}]
        assert whole.response_metadata["bedrock_routing"]["model"] in LLAMA
        assert bedrock.requests[-1].operation == "Converse"
        list(llm.stream("Hello"))
        assert bedrock.requests[-1].operation == "ConverseStream"


def test_tools_are_not_changed(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Binding and calling leave the caller's tool definitions as they were."""
    definition = {"toolSpec": {"name": "t", "description": "d", "inputSchema": {"json": {"type": "object"}}}}
    before = {"toolSpec": dict(definition["toolSpec"])}
    llm = make_llm(bedrock.create_router("pair", NOVA))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.bind_tools([definition]).invoke("Hello")
    assert definition == before
