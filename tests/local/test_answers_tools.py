import json
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from bedrock_local.answers import Prompt, PromptDocument, PromptTurn, Reply, ToolCall, ToolResult, ToolSpec
from bedrock_local.answers.extractive import ExtractiveEngine

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def tool(name: str, description: str, **members: Any) -> ToolSpec:
    schema = {"type": "object", "properties": members, "required": list(members)}
    return ToolSpec(name=name, description=description, schema=schema)


WEATHER = tool("get_weather", "Get the weather at a location.", location=STRING)
CLOCK = tool("get_time", "Get the current time in a city.", city=STRING)
ADDER = tool("adder", "Return the sum of two integers.", a=INTEGER, b=INTEGER)
BOUNDED = tool("mystery", "Apply it.", number={"type": "integer", "exclusiveMinimum": 10, "maximum": 99})
BARE = tool("roll_dice", "Roll the dice.")
SEARCH = tool("search_guide", "Search the guide for passages.", query=STRING)


def ask(text: str, *tools: ToolSpec, choice: str = "auto", **others: Any) -> Reply:
    prompt = Prompt(
        system="", turns=(PromptTurn(role="user", text=text),), tools=tools, tool_choice=choice, **others
    )
    return ExtractiveEngine().reply(prompt)


def calls(reply: Reply) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, dict(call.input)) for call in reply.tool_calls]


def filled(schema: dict[str, Any], text: str) -> Any:
    return json.loads(ask(text, json_schema=schema).text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How is the weather in Lima?", [("get_weather", {"location": "Lima"})]),
        ("What time is it in Oslo now?", [("get_time", {"city": "Oslo"})]),
        ("Please roll the dice.", [("roll_dice", {})]),
        ("What is 17 + 4?", [("adder", {"a": 17, "b": 4})]),
        ("Use mystery on 5 and 42.", [("mystery", {"number": 42})]),
        ("Weather in Austin, TX please", [("get_weather", {"location": "Austin, TX"})]),
    ],
)
def test_calls_the_tool_that_is_asked_for(text: str, expected: list[tuple[str, dict[str, Any]]]) -> None:
    """The tool whose name or description the text speaks of is called, with values of the text."""
    assert calls(ask(text, WEATHER, CLOCK, ADDER, BOUNDED, BARE)) == expected


@pytest.mark.parametrize("text", ["Hello!", "Thank you, that is all.", "How are you?", ""])
def test_calls_nothing_for_small_talk(text: str) -> None:
    """A text that asks for nothing a tool does is answered in words."""
    reply = ask(text, WEATHER, CLOCK, ADDER, BARE, SEARCH)
    assert reply.tool_calls == ()
    assert reply.text


@pytest.mark.parametrize("text", ["Hello!", "Weather in Lima and in Oslo?", "What is 17 + 4?"])
@pytest.mark.parametrize("choice", ["any", "tool:get_time"])
def test_demanded_call_is_exactly_one(text: str, choice: str) -> None:
    """A demanded call is made whatever the text says, once, and of the named tool."""
    reply = ask(text, WEATHER, CLOCK, ADDER, choice=choice)
    assert len(reply.tool_calls) == 1
    assert choice == "any" or reply.tool_calls[0].name == "get_time"


def test_one_call_per_name() -> None:
    """Names strung together get one call each."""
    reply = ask("Weather in Lima, Oslo and New York?", WEATHER, CLOCK)
    assert [call.input["location"] for call in reply.tool_calls] == ["Lima", "Oslo", "New York"]


def test_one_call_per_clause() -> None:
    """Clauses that ask for different tools get a call each, with the values of their own clause."""
    reply = ask("How is the weather in Lima and what time is it in Oslo?", WEATHER, CLOCK)
    assert calls(reply) == [("get_weather", {"location": "Lima"}), ("get_time", {"city": "Oslo"})]


def test_searches_with_the_whole_question_when_there_are_no_documents() -> None:
    """A question that the prompt holds no documents for goes to the search tool, word by word."""
    question = "What is the maximum timeout of a function?"
    assert ask(question, SEARCH).tool_calls == (ToolCall(name="search_guide", input={"query": question}),)


def test_does_not_search_for_what_the_prompt_holds() -> None:
    """A question whose documents are in the prompt is answered from them."""
    fact = "The maximum timeout of a function is 900 seconds, as every limit applies per function. "
    documents = (
        PromptDocument(title="limits", text=fact + "Memory can be set from 128 MB to 10 GB in steps. " * 2),
    )
    reply = ask("What is the maximum timeout?", SEARCH, documents=documents)
    assert reply.tool_calls == ()
    assert "900 seconds" in reply.text


@pytest.mark.parametrize("name", ["get_weather", None])
@pytest.mark.parametrize("failed", [True, False])
def test_no_call_again_after_its_result(name: str | None, failed: bool) -> None:
    """A tool that gave its result for the ask, or failed, is not called again."""
    turns = (
        PromptTurn(role="user", text="Weather in Lima?"),
        PromptTurn(role="assistant", text=""),
        PromptTurn(role="user", text="", tool_results=(ToolResult(name=name, text="Foggy", failed=failed),)),
    )
    reply = ExtractiveEngine().reply(Prompt(system="", turns=turns, tools=(WEATHER,)))
    assert reply.tool_calls == ()
    assert "Foggy" in reply.text


def test_calls_again_for_a_new_ask() -> None:
    """An earlier result does not answer a later ask."""
    turns = (
        PromptTurn(role="user", text="Weather in Lima?"),
        PromptTurn(
            role="user", text="", tool_results=(ToolResult(name="get_weather", text="Foggy", failed=False),)
        ),
        PromptTurn(role="assistant", text="Foggy."),
        PromptTurn(role="user", text="And the weather in Oslo?"),
    )
    reply = ExtractiveEngine().reply(Prompt(system="", turns=turns, tools=(WEATHER,)))
    assert calls(reply) == [("get_weather", {"location": "Oslo"})]


@pytest.mark.parametrize("name", ["北京科技公司", "Zażółć Gęślą", "Ελληνικά Νέα", "株式会社サンプル"])
def test_names_of_every_script_stay_as_they_are(name: str) -> None:
    """A name in any script arrives unchanged in the tool's input and in JSON."""
    create = tool("create_customer", "Create a customer.", customer_name=STRING)
    assert ask(f"Create a customer named '{name}' today", create).tool_calls[0].input["customer_name"] == name
    assert name in ask(f"The customer name is {name}.", json_schema=create.schema).text


class Address(BaseModel):
    city: str
    zip_code: str = Field(min_length=3, max_length=10)


class Person(BaseModel):
    name: str
    age: Annotated[int, Field(ge=0, lt=150)]
    mood: Literal["happy", "sad"]
    address: Address
    email: str = Field(json_schema_extra={"format": "email"})
    married: bool
    nickname: Optional[str] = None  # noqa: UP045 - the spelling users write
    friends: list["Person"] = Field(default_factory=list)


TEXT = (
    "Ada Byron is 36 years old, was sad, not married, and lives in London. The zip code is SW1A 1AA. "
    "Mail: ada@example.org"
)


def test_values_come_from_the_text() -> None:
    """Names, numbers, enum members, formats and negations are read from the text, nested ones too."""
    assert filled(Person.model_json_schema(), TEXT) == {
        "name": "Ada Byron",
        "age": 36,
        "mood": "sad",
        "address": {"city": "London", "zip_code": "SW1A 1AA"},
        "email": "ada@example.org",
        "married": False,
    }


class Everything(BaseModel):
    text: str = Field(max_length=12)
    padded: str = Field(min_length=30)
    ratio: float = Field(gt=0, le=1)
    count: int = Field(multiple_of=5, ge=12)
    negative: int = Field(le=-3)
    flag: bool
    kind: Literal["only"]
    choice: int | None
    either: Address | list[int]
    pair: tuple[int, str]
    numbers: list[int] = Field(min_length=2, max_length=3)
    mapping: dict[str, int]
    people: list[Person] = Field(min_length=1, max_length=2)
    code: str = Field(pattern=r"^[A-Z]\d$")


@settings(deadline=None)
@given(st.one_of(st.just(TEXT), st.text(max_size=200)))
def test_filled_schema_validates_for_any_text(text: str) -> None:
    """Whatever the text, the JSON fits the schema with its bounds, references and alternatives."""
    schema = Everything.model_json_schema()
    answer = ask(text, json_schema=schema).text
    assert set(schema["required"]) <= set(json.loads(answer))
    Everything.model_validate_json(answer, strict=True)


@settings(deadline=None)
@given(st.text(max_size=120))
def test_forced_input_validates_for_any_text(text: str) -> None:
    """Whatever the text, a forced call's input fits the tool's schema."""
    spec = ToolSpec(name="store", description="Store a person.", schema=Person.model_json_schema())
    reply = ask(text, spec, choice="any")
    Person.model_validate_json(json.dumps(dict(reply.tool_calls[0].input)))


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"enum": ["dark_blue", "red"]}, "paint it dark blue", "dark_blue"),
        ({"const": 7}, "take 8", 7),
        ({"type": "array", "items": INTEGER}, "sum of 4, 8 and 15", [4, 8, 15]),
        ({"type": "array", "items": STRING}, "tags 'a' and 'b'", ["a", "b"]),
        ({"anyOf": [{"type": "null"}, INTEGER]}, "it took 3 days", 3),
        ({"type": ["integer", "null"]}, "nothing here", None),
        ({"type": "string", "format": "date"}, "due on 2024-05-17 at noon", "2024-05-17"),
        ({"type": "number"}, "about 1,250.5 euros", 1250.5),
        (
            {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "uniqueItems": True},
            "none",
            ["x", "y"],
        ),
        ({"type": "object", "properties": {"limit": {"type": "integer", "default": 9}}}, "none", {}),
        ({"type": "object", "properties": {"limit": INTEGER}}, "limit: 4", {"limit": 4}),
    ],
)
def test_schema_forms(schema: dict[str, Any], text: str, expected: Any) -> None:
    """Each form of schema takes what the text offers for it, or its nearest harmless value."""
    assert filled({"type": "object", "properties": {"it": schema}, "required": ["it"]}, text) == {
        "it": expected
    }


def test_structured_answer_quotes_the_documents() -> None:
    """An answer asked for as JSON holds the quote and its source."""
    schema = {
        "type": "object",
        "properties": {"answer": STRING, "sources": {"type": "array", "items": STRING}},
        "required": ["answer", "sources"],
    }
    fact = "A function can run for at most 15 minutes."
    documents = (
        PromptDocument(title="limits.pdf", text=fact + " Memory can be set from 128 MB to 10 GB." * 4),
    )
    reply = ask("How long can a function run?", json_schema=schema, documents=documents)
    assert json.loads(reply.text) == {"answer": fact, "sources": ["limits.pdf"]}


def test_a_demanded_call_is_one_that_was_not_answered_yet() -> None:
    """Where some call is demanded again and again, as by agents that must answer by a tool, it moves on."""
    turns = (
        PromptTurn(role="user", text="Weather in Lima?"),
        PromptTurn(role="assistant", text=""),
        PromptTurn(
            role="user", text="", tool_results=(ToolResult(name="get_weather", text="Foggy", failed=False),)
        ),
    )
    prompt = Prompt(system="", turns=turns, tools=(WEATHER, CLOCK), tool_choice="any")
    assert [call.name for call in ExtractiveEngine().reply(prompt).tool_calls] == ["get_time"]
