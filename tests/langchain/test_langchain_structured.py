"""Every tool choice and every method of structured output, over every way to name a model."""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pytest
from langchain_core.exceptions import ModelInvalidRequestError, ModelRefusalError, OutputParserException
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_support import NOVA, blocks
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import ConfigurationError
from langchain_bedrock_routing import ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]

LLAMA = ["meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-70b-instruct-v1:0"]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
UNFORCED_CLAUDE = "anthropic.claude-opus-5-5"
UNKNOWN = "deepseek.r1-v1:0"
"""A model of which the catalog does not know the tool choices."""
ANY_ONLY = "deepseek.v3-v1:0"


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return word


@tool
def add(one: int, other: int) -> int:
    """Add two numbers."""
    return one + other


class Verdict(BaseModel):
    """Say whether a text is kind."""

    kind: bool
    reason: str = Field(description="Why.")


class TypedVerdict(TypedDict):
    """Say whether a text is kind."""

    kind: bool
    reason: Annotated[str, ..., "Why."]


SCHEMA: dict[str, Any] = {
    "title": "Verdict",
    "description": "Say whether a text is kind.",
    "type": "object",
    "properties": {"kind": {"type": "boolean"}, "reason": {"type": "string"}},
    "required": ["kind", "reason"],
}
SCHEMAS: tuple[Any, ...] = (Verdict, TypedVerdict, SCHEMA)
JSON = '{"kind": true, "reason": "It thanks."}'
FENCED = f"```json\n{JSON}\n```"

FORCIBLE: dict[str, Callable[[LocalBedrock], str]] = {
    "custom router": lambda bedrock: bedrock.create_router("team-router", NOVA),
    "default router": lambda _: "amazon.nova:1",
    "router's name": lambda _: "Nova Prompt Router",
    "Claude": lambda _: CLAUDE,
    "unknown": lambda _: UNKNOWN,
}
UNFORCED: dict[str, Callable[[LocalBedrock], str]] = {
    "Llama router": lambda bedrock: bedrock.create_router("llamas", LLAMA),
    "mixed router": lambda bedrock: bedrock.create_router("mixed", [NOVA[0], LLAMA[0]]),
    "Claude": lambda _: UNFORCED_CLAUDE,
}


@pytest.fixture(params=[*FORCIBLE])
def forcible(request: pytest.FixtureRequest, bedrock: LocalBedrock, make_llm: Make) -> ChatBedrockRouter:
    return make_llm(FORCIBLE[request.param](bedrock))


@pytest.fixture(params=[*UNFORCED])
def unforced(request: pytest.FixtureRequest, bedrock: LocalBedrock, make_llm: Make) -> ChatBedrockRouter:
    return make_llm(UNFORCED[request.param](bedrock))


def sent(bedrock: LocalBedrock) -> Mapping[str, Any]:
    return bedrock.requests[-1].body


# Tool choice

LOOK_UP = {"tool": {"name": "look_up"}}
CHOICES: list[tuple[Any, Any]] = [
    (None, None),
    (False, None),
    ({}, None),
    ("auto", {"auto": {}}),
    ({"auto": {}}, {"auto": {}}),
    ({"type": "auto"}, {"auto": {}}),
    ("any", {"any": {}}),
    ("required", {"any": {}}),
    (True, {"any": {}}),
    ({"any": {}}, {"any": {}}),
    ({"type": "any"}, {"any": {}}),
    ({"type": "required"}, {"any": {}}),
    ("look_up", LOOK_UP),
    (LOOK_UP, LOOK_UP),
    ({"type": "tool", "name": "look_up"}, LOOK_UP),
    ({"type": "function", "function": {"name": "look_up"}}, LOOK_UP),
    ({"type": "function", "name": "look_up"}, LOOK_UP),
]


def test_every_form_of_a_choice(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Each form that LangChain's users write goes out as Converse writes it, and a forced tool is called."""
    llm = make_llm()
    for choice, wire in CHOICES:
        answer = llm.bind_tools([look_up, add], tool_choice=choice).invoke("What is a tide?")
        assert sent(bedrock)["toolConfig"].get("toolChoice") == wire, choice
        assert bool(answer.tool_calls) == (wire is not None and "auto" not in wire), choice


IMPOSSIBLE = [
    *(
        "none",
        {"type": "none"},
        "nobody",
        {"tool": {"name": "nobody"}},
        {"tool": {}},
        {"odd": {}},
        ["any"],
        7,
    ),
    *({"any": {}, "auto": {}}, {"type": "function"}, {"type": "function", "function": "look_up"}),
]


@pytest.mark.parametrize("choice", IMPOSSIBLE, ids=repr)
def test_a_choice_that_cannot_be(make_llm: Make, bedrock: LocalBedrock, choice: Any) -> None:
    """A choice that Converse cannot make is an error when it is bound, before anything is sent."""
    with pytest.raises(ConfigurationError, match="tool_choice"):
        make_llm().bind_tools([look_up], tool_choice=choice)
    assert bedrock.requests == []


def test_a_tool_named_like_a_word(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A tool that is called "required" is meant by its name."""
    named = {**SCHEMA, "title": "required"}
    make_llm().bind_tools([named, look_up], tool_choice="required").invoke("Hi")
    assert sent(bedrock)["toolConfig"]["toolChoice"] == {"tool": {"name": "required"}}


@pytest.mark.parametrize(
    "offered",
    [
        Verdict,
        SCHEMA,
        {"type": "function", "function": {"name": "Verdict", "description": "d", "parameters": SCHEMA}},
        {"name": "Verdict", "description": "d", "input_schema": SCHEMA},
        {"toolSpec": {"name": "Verdict", "description": "d", "inputSchema": {"json": SCHEMA}}},
    ],
    ids=["pydantic", "schema", "openai", "anthropic", "converse"],
)
def test_every_form_of_a_tool_has_its_name(make_llm: Make, bedrock: LocalBedrock, offered: Any) -> None:
    """A tool is forced by its name in whatever form it is given, beside a cache point of the user's."""
    point = {"cachePoint": {"type": "default"}}
    make_llm(CLAUDE).bind_tools([look_up, offered, point], tool_choice="Verdict").invoke("Hi")
    assert sent(bedrock)["toolConfig"]["toolChoice"] == {"tool": {"name": "Verdict"}}


def test_a_model_that_cannot_be_forced(unforced: ChatBedrockRouter, bedrock: LocalBedrock) -> None:
    """Where one model behind cannot be forced, binding is an error that says which choices are left."""
    for choice in ("any", "required", True, "look_up", LOOK_UP, {"type": "any"}):
        with pytest.raises(ConfigurationError, match="accepted: 'auto'"):
            unforced.bind_tools([look_up], tool_choice=choice)
    assert all(each.operation not in {"Converse", "ConverseStream"} for each in bedrock.requests)
    for free in ("auto", None, False):
        assert unforced.bind_tools([look_up], tool_choice=free)


def test_any_stands_in_for_the_only_tool(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A model that takes no names is forced to call its only tool; which of two it calls cannot be said."""
    llm = make_llm(ANY_ONLY)
    assert llm.bind_tools([look_up], tool_choice="look_up").invoke("Hi").tool_calls
    assert sent(bedrock)["toolConfig"]["toolChoice"] == {"any": {}}
    with pytest.raises(ConfigurationError, match="'auto', 'any'"):
        llm.bind_tools([look_up, add], tool_choice="look_up")


# Structured output


def value_of(answer: Any, include_raw: bool) -> Any:
    """Return what was parsed; a raw message beside it carries the receipt, and there is no error."""
    if not include_raw:
        return answer
    assert answer["parsing_error"] is None
    assert answer["raw"].response_metadata["bedrock_routing"]["complete"] is True
    return answer["parsed"]


@pytest.mark.parametrize("include_raw", [False, True])
def test_structured_answers(forcible: ChatBedrockRouter, bedrock: LocalBedrock, include_raw: bool) -> None:
    """Each method, with each form of a schema, gives what the schema says over any way to name a model."""
    smallest = {"kind": False, "reason": ""}
    for method, schema in itertools.product(("function_calling", "json_schema"), SCHEMAS):
        structured = forcible.with_structured_output(schema, method=method, include_raw=include_raw)
        answer = value_of(structured.invoke("Well done, thank you!"), include_raw)
        assert answer == (Verdict(**smallest) if schema is Verdict else smallest)
        if method == "json_schema":
            written = sent(bedrock)["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
            assert json.loads(written["schema"])["required"] == ["kind", "reason"]
        else:
            assert "tool" in sent(bedrock)["toolConfig"]["toolChoice"]


@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize(
    ("method", "text"), [("json_mode", JSON), ("json_mode", FENCED), ("prompt_prefill", JSON)]
)
def test_json_without_tools(text: str, include_raw: bool, method: str) -> None:
    """Asking for JSON in the prompt needs no tool, so it works over a router that cannot be forced."""
    expected = json.loads(JSON)
    with LocalBedrock(answers=FixedAnswer(text), revive=LLAMA) as bedrock:
        llm = ChatBedrockRouter(
            model=bedrock.create_router("llamas", LLAMA),
            region_name="us-east-1",
            endpoint_url=bedrock.endpoint_url,
        )
        for schema in SCHEMAS:
            structured = llm.with_structured_output(schema, method=method, include_raw=include_raw)
            answer = value_of(structured.invoke("Well done, thank you!"), include_raw)
            assert answer == (Verdict(**expected) if schema is Verdict else expected)
            assert "toolConfig" not in sent(bedrock)
            assert '"reason"' in sent(bedrock)["system"][-1]["text"]


def test_the_wish_for_json_stands_after_the_system_prompt() -> None:
    """The wish comes last in the system prompt, the same each time, and the caller's messages stay."""
    messages = [SystemMessage("Judge texts."), HumanMessage("Well done!")]
    with LocalBedrock(answers=FixedAnswer(JSON)) as bedrock:
        llm = ChatBedrockRouter(
            model="amazon.nova:1", region_name="us-east-1", endpoint_url=bedrock.endpoint_url
        )
        structured = llm.with_structured_output(Verdict, method="json_mode")
        for _ in range(2):
            structured.invoke(messages)
        first, second = (each.body for each in bedrock.requests[-2:])
        llm.with_structured_output(None, method="json_mode").invoke("Any JSON, please.")
        bare = sent(bedrock)
    texts = [each["text"] for each in blocks(first) if "text" in each]
    assert texts[0] == "Judge texts."
    assert "JSON schema" in texts[1]
    assert first["system"] == second["system"]
    assert messages == [SystemMessage("Judge texts."), HumanMessage("Well done!")]
    assert "schema" not in bare["system"][0]["text"]


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
async def test_structured_answers_are_streamed(make_llm: Make, bedrock: LocalBedrock, method: Any) -> None:
    """A structured answer comes as a stream too, sync and async, and ends in the whole object."""
    structured = make_llm().with_structured_output(SCHEMA, method=method)
    whole = {"kind": False, "reason": ""}
    assert list(structured.stream("Well done!"))[-1] == whole
    assert bedrock.requests[-1].operation == "ConverseStream"
    assert [each async for each in structured.astream("Well done!")][-1] == whole
    assert await structured.ainvoke("Well done!") == whole


@pytest.mark.parametrize("strict", [None, True, False])
def test_strict_is_passed_on(make_llm: Make, bedrock: LocalBedrock, strict: bool | None) -> None:
    """`strict` stands in the tool's specification; where it is not given it is not sent."""
    make_llm(CLAUDE).with_structured_output(Verdict, strict=strict).invoke("Well done!")
    assert sent(bedrock)["toolConfig"]["tools"][0]["toolSpec"].get("strict") == strict


def test_a_model_that_cannot_be_forced_to_an_answer(unforced: ChatBedrockRouter) -> None:
    """Where no call can be forced, function_calling is an error at once that names methods which can."""
    for schema in SCHEMAS:
        with pytest.raises(ConfigurationError, match=r"json_schema.*json_mode"):
            unforced.with_structured_output(schema)
        assert unforced.with_structured_output(schema, method="json_schema")


def test_an_unknown_method(make_llm: Make) -> None:
    """A method that does not exist is an error that names those that do, not another method in silence."""
    with pytest.raises(ConfigurationError, match=r"'odd'.*'json_mode'"):
        make_llm().with_structured_output(Verdict, method="odd")


class Careless:
    """Stand between a model and its client: what would force an answer is lost, or the answer withheld."""

    def __init__(self, client: Any, **reply: Any) -> None:
        self._client = client
        self._reply = reply

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def converse(self, **request: Any) -> Any:
        """Answer in prose, with another `stopReason` if one was given."""
        return {**self._client.converse(**without_force(request)), **self._reply}

    def converse_stream(self, **request: Any) -> Any:
        """Answer in prose."""
        return self._client.converse_stream(**without_force(request))


def without_force(request: Mapping[str, Any]) -> dict[str, Any]:
    free = {name: value for name, value in request.items() if name != "outputConfig"}
    if "toolConfig" in free:
        free["toolConfig"] = {"tools": free["toolConfig"]["tools"]}
    return free


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
async def test_prose_is_never_none(make_llm: Make, bedrock: LocalBedrock, method: str) -> None:
    """A model that answers in prose raises, in a stream too; with include_raw the error stands beside it."""
    llm = make_llm(client=Careless(bedrock.client()))
    structured = llm.with_structured_output(Verdict, method=method)
    with pytest.raises(OutputParserException):
        structured.invoke("Well done!")
    with pytest.raises(OutputParserException):
        list(structured.stream("Well done!"))
    with pytest.raises(OutputParserException):
        await structured.ainvoke("Well done!")
    raw: Any = llm.with_structured_output(Verdict, method=method, include_raw=True).invoke("Well done!")
    assert raw["parsed"] is None
    assert isinstance(raw["parsing_error"], OutputParserException)
    assert raw["raw"].text == "This is a fixed answer."


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
def test_a_withheld_answer_is_a_refusal(make_llm: Make, bedrock: LocalBedrock, method: str) -> None:
    """An answer that a guardrail held back is LangChain's refusal, with the message that came instead."""
    client = Careless(bedrock.client(), stopReason="guardrail_intervened")
    structured = make_llm(client=client).with_structured_output(Verdict, method=method)
    with pytest.raises(ModelRefusalError, match="guardrail_intervened") as caught:
        structured.invoke("Well done!")
    assert caught.value.raw_message is not None
    assert caught.value.raw_message.text == "This is a fixed answer."


def test_an_unknown_model_is_told_apart_at_the_call(make_llm: Make) -> None:
    """Where a router may not be looked into, the forced call is sent, and the refusal is the service's."""
    with LocalBedrock(answers=FixedAnswer(), revive=LLAMA) as bedrock:
        arn = bedrock.create_router("llamas", LLAMA)
        for operation in ("GetPromptRouter", "ListPromptRouters"):
            bedrock.fail(Fault.denied(operation, arn), times=9, operation=operation)
        structured = make_llm(arn, endpoint_url=bedrock.endpoint_url).with_structured_output(Verdict)
        with pytest.raises(ModelInvalidRequestError, match="toolChoice"):
            structured.invoke("Well done!")
