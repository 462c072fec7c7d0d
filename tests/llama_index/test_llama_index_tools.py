"""Tools and structured output: offered, forced where the models allow it, read back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index_support import CLAUDE
from pydantic import BaseModel

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import Catalog
from llama_index_bedrock_routing import BedrockRouter
from llama_index_bedrock_routing.tools import tool_config, with_possible_choice

Make = Callable[..., BedrockRouter]
CALLS = {"weather": {"city": "Oslo"}, "clock": {"zone": "CET"}}


class Album(BaseModel):
    """An album of songs."""

    title: str
    songs: list[str]


def weather(city: str) -> str:
    """Say the weather of a city."""
    return f"It rains in {city}."


def clock(zone: str) -> str:
    """Say the time of a zone."""
    return f"Noon in {zone}."


TOOLS = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(clock)]
PROMPT = PromptTemplate("Make an album about {what}.")


@pytest.fixture
def calling(make_llm: Make) -> Any:
    """Return LLMs whose service calls both tools, and knows an album."""
    album = {"title": "Rain", "songs": ["Drops", "Clouds and more clouds", "Puddles"]}
    with LocalBedrock(answers=FixedAnswer(tool_calls={**CALLS, "Album": album})) as bedrock:
        yield lambda *model: make_llm(*model, endpoint_url=bedrock.endpoint_url), bedrock


Calling = tuple[Make, LocalBedrock]


async def ask(llm: BedrockRouter, way: str, **kwargs: Any) -> ChatResponse:
    if way == "whole":
        return llm.chat_with_tools(TOOLS, "What weather, what time?", **kwargs)
    if way == "async":
        return await llm.achat_with_tools(TOOLS, "What weather, what time?", **kwargs)
    if way == "stream":
        return list(llm.stream_chat_with_tools(TOOLS, "What weather, what time?", **kwargs))[-1]
    chunks = await llm.astream_chat_with_tools(TOOLS, "What weather, what time?", **kwargs)
    return [each async for each in chunks][-1]


@pytest.mark.parametrize("way", ["whole", "async", "stream", "async stream"])
@pytest.mark.parametrize("parallel", [False, True])
async def test_tool_calls(calling: Calling, way: str, parallel: bool) -> None:
    """Tool calls come back with id, name, arguments and who made them: all, or one where one is wanted."""
    make, bedrock = calling
    llm = make()
    response = await ask(llm, way, allow_parallel_tool_calls=parallel)
    found = llm.get_tool_calls_from_response(response)
    expected = list(CALLS.items()) if parallel else list(CALLS.items())[:1]
    assert [(each.tool_name, each.tool_kwargs) for each in found] == expected
    assert len({each.tool_id for each in found}) == len(expected)
    assert len(response.message.additional_kwargs["tool_calls"]) == len(expected)
    held = (response.message.additional_kwargs, response.additional_kwargs)
    told, receipt = (each["bedrock_routing"] for each in held)
    assert told == {name: receipt[name] for name in ("router_arn", "invoked_model_id")}
    offered = bedrock.requests[-1].body["toolConfig"]
    assert [each["toolSpec"]["name"] for each in offered["tools"]] == ["weather", "clock"]
    assert "toolChoice" not in offered


def test_the_history_given_stays_as_it_is(calling: Calling) -> None:
    """A question is asked after the history, and not appended to the caller's list."""
    make, bedrock = calling
    history = [ChatMessage(role="user", content="Hello"), ChatMessage(role="assistant", content="Yes?")]
    make().chat_with_tools(TOOLS, "What weather?", chat_history=history)
    assert len(history) == 2
    assert len(bedrock.requests[-1].body["messages"]) == 3


def test_no_tool_call_is_an_error_where_one_is_needed(make_llm: Make) -> None:
    """An answer in plain text where a tool call must be is a ValueError, unless the caller says otherwise."""
    llm = make_llm()
    response = llm.chat([ChatMessage(content="Hello")])
    assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="tool call"):
        llm.get_tool_calls_from_response(response)


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        ({"tool_required": True}, {"any": {}}),
        ({"tool_choice": "required"}, {"any": {}}),
        ({"tool_choice": "auto"}, {"auto": {}}),
        ({"tool_choice": "clock"}, {"tool": {"name": "clock"}}),
        ({"tool_choice": {"tool": {"name": "clock"}}}, {"tool": {"name": "clock"}}),
    ],
)
def test_a_choice_on_the_wire(calling: Calling, given: dict[str, Any], wire: dict[str, Any]) -> None:
    """A choice is written as Converse has it."""
    make, bedrock = calling
    make().chat_with_tools(TOOLS, "What time?", **given)
    assert bedrock.requests[-1].body["toolConfig"]["toolChoice"] == wire


def test_a_caching_flag_of_the_other_class(calling: Calling) -> None:
    """The flag that BedrockConverse takes per call says nothing here: the policy decides."""
    make, bedrock = calling
    make(CLAUDE).chat_with_tools(TOOLS, "Look.", tool_caching=True)
    assert "tool_caching" not in bedrock.requests[-1].body


def test_the_choice_none_offers_no_tools(calling: Calling) -> None:
    """Converse has no choice "none", so the tools stay out."""
    make, bedrock = calling
    make().chat_with_tools(TOOLS, "What time?", tool_choice="none")
    assert "toolConfig" not in bedrock.requests[-1].body


def test_a_choice_that_a_model_rejects() -> None:
    """A forced choice becomes an equal one, or is left out, where a model that may answer rejects it."""
    several = tool_config(TOOLS, required=True) or {}
    single = tool_config(TOOLS[:1], required=True) or {}
    named = tool_config(TOOLS[:1], choice="weather") or {}
    assert with_possible_choice(several, ("auto", "any"))["toolChoice"] == {"any": {}}
    assert with_possible_choice(several, ())["toolChoice"] == {"any": {}}
    assert "toolChoice" not in with_possible_choice(several, ("auto", "tool"))
    assert "toolChoice" not in with_possible_choice(single, ("auto",))
    assert with_possible_choice(single, ("auto", "tool"))["toolChoice"] == {"tool": {"name": "weather"}}
    assert with_possible_choice(named, ("auto", "any"))["toolChoice"] == {"any": {}}
    assert several["toolChoice"] == {"any": {}}


def test_thinking_models_are_not_forced(calling: Calling) -> None:
    """With thinking on, a forced choice is refused by the service, so none is sent."""
    make, bedrock = calling
    llm = make(CLAUDE)
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    llm.chat_with_tools(TOOLS, "What time?", tool_required=True, thinking=thinking)
    assert "toolChoice" not in bedrock.requests[-1].body["toolConfig"]


async def test_structured_predict(calling: Calling) -> None:
    """Each way to a structured answer forces a tool call and gives the object."""
    make, bedrock = calling
    llm = make()
    structured = llm.as_structured_llm(Album)
    answers = [
        llm.structured_predict(Album, PROMPT, what="rain"),
        await llm.astructured_predict(Album, PROMPT, what="rain"),
        structured.chat([ChatMessage(content="Rain, please.")]).raw,
        (await structured.achat([ChatMessage(content="Rain, please.")])).raw,
    ]
    assert answers == [Album(title="Rain", songs=["Drops", "Clouds and more clouds", "Puddles"])] * 4
    choices = [
        each.body["toolConfig"]["toolChoice"] for each in bedrock.requests if each.body.get("messages")
    ]
    assert choices == [{"any": {}}] * 4


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_streamed_objects_grow(calling: Calling, asynchronous: bool) -> None:
    """stream_structured_predict yields objects that grow and ends with the full one."""
    make, bedrock = calling
    llm = make()
    if asynchronous:
        stream = await llm.astream_structured_predict(Album, PROMPT, what="rain")
        objects = [each async for each in stream]
    else:
        objects = list(llm.stream_structured_predict(Album, PROMPT, what="rain"))
    assert bedrock.requests[-1].body["toolConfig"]["toolChoice"] == {"any": {}}
    sizes = [len(each.model_dump_json(exclude_none=True)) for each in objects]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert objects[-1] == Album(title="Rain", songs=["Drops", "Clouds and more clouds", "Puddles"])


async def test_an_agent(calling: Calling) -> None:
    """A FunctionAgent calls its tools and answers from their results."""
    make, bedrock = calling
    agent = FunctionAgent(tools=[weather], llm=make(), system_prompt="Help.")
    answer = await asyncio.wait_for(agent.run("What weather is it in Oslo?"), 30)
    assert "fixed answer" in str(answer)
    result = bedrock.requests[-1].body["messages"][-1]["content"][0]["toolResult"]
    assert result["content"] == [{"text": "It rains in Oslo."}]


@pytest.mark.parametrize("model", ["amazon.nova:1", CLAUDE, "acme.never-heard-of-v1:0"])
def test_metadata_never_raises(make_llm: Make, bedrock: LocalBedrock, model: str) -> None:
    """Neither metadata nor to_payload needs a known model or the service."""
    metadata = make_llm(model, max_tokens=99).metadata
    assert metadata.model_name == model
    assert metadata.is_function_calling_model
    assert metadata.num_output == 99
    assert make_llm(model).to_payload()["model"] == model
    assert bedrock.requests == []


def test_metadata_knows_models_without_tools(make_llm: Make) -> None:
    """A model that takes no tools says so, by the catalog or by the caller's word."""
    without = [each.id for each in Catalog.default().models if not each.tool_choice]
    assert all(not make_llm(f"{each}-v1:0").metadata.is_function_calling_model for each in without)
    assert not make_llm("amazon.nova:1", is_function_calling_model=False).metadata.is_function_calling_model
    assert not make_llm("amazon.nova:1", router_models=without[:1]).metadata.is_function_calling_model
