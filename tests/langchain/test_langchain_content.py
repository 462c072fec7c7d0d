"""All that ChatBedrockConverse takes goes out as it was, with cache points only where they may stand."""

import base64
import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from langchain_aws import ChatBedrockConverse
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_support import make_document
from pydantic import SecretStr

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_local.recording import Request
from langchain_bedrock_routing import ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LONG = make_document("Clocks", lines=80).page_content
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n" + bytes(6_000)).decode()
POINT = {"cachePoint": {"type": "default"}}
ASKED = {"type": "text", "text": "What does it say?"}
NOTES = {"format": "txt", "name": "notes", "source": {"bytes": LONG.encode()}}
PDF_BLOCK = {"type": "file", "base64": PDF, "mime_type": "application/pdf", "name": "report"}
TXT_BLOCK: dict[str, Any] = {"type": "document", "document": NOTES}
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}
FOUND = {
    "type": "search_result",
    "source": "clocks.md",
    "title": "Clocks",
    "content": [{"type": "text", "text": LONG}],
    "citations": {"enabled": True},
}
CITATION = {
    "title": "Clocks",
    "source_content": [{"text": "Clocks chapter 0"}],
    "location": {"document_char": {"document_index": 0, "start": 0, "end": 16}},
}
REASONED = {"type": "reasoning_content", "reasoning_content": {"text": "It ticks.", "signature": "c2lnbmVk"}}
CALL = {"name": "look", "args": {"where": "there"}, "id": "call-1", "type": "tool_call"}


@tool
def look(where: str) -> str:
    """Look there."""
    return where


def human(*blocks: Any) -> list[BaseMessage]:
    return [HumanMessage(list(blocks))]


def looked(*content: Any, thought: Any = None) -> list[BaseMessage]:
    said = [] if thought is None else [thought]
    asked = [
        HumanMessage(f"{LONG}\nLook."),
        AIMessage([*said, {"type": "text", "text": "I look."}], tool_calls=[CALL]),
    ]
    return [*asked, ToolMessage(list(content), tool_call_id="call-1")]


def answered(*blocks: Any, **metadata: Any) -> list[BaseMessage]:
    said = AIMessage(list(blocks), response_metadata={"model_provider": "bedrock_converse", **metadata})
    return [HumanMessage(f"{LONG}\nWhat is it?"), said, HumanMessage("And then?")]


CONTENTS: dict[str, list[BaseMessage]] = {
    "text": human({"type": "text", "text": LONG}, ASKED),
    "image": human({"type": "text", "text": LONG}, IMAGE, ASKED),
    "image last": human({"type": "text", "text": LONG}, ASKED, IMAGE),
    "image of Anthropic's form": human(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}, ASKED
    ),
    "image of OpenAI's form": human(
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}, ASKED
    ),
    "video": human(
        {"type": "text", "text": LONG}, ASKED, {"type": "video", "base64": PNG, "mime_type": "video/mp4"}
    ),
    "PDF": human(PDF_BLOCK, ASKED),
    "PDF last": human({"type": "text", "text": LONG}, ASKED, PDF_BLOCK),
    "text file": human(TXT_BLOCK, ASKED),
    "text file last": human({"type": "text", "text": LONG}, ASKED, TXT_BLOCK),
    "text file alone": human(TXT_BLOCK),
    "text file of the v1 form": human(
        ASKED,
        {
            "type": "file",
            "base64": base64.b64encode(LONG.encode()).decode(),
            "mime_type": "text/plain",
            "name": "notes",
        },
    ),
    "text file with citations": human({"document": {**NOTES, "citations": {"enabled": True}}}, ASKED),
    "PDF and text file": human(PDF_BLOCK, TXT_BLOCK, ASKED),
    "text file and PDF": human(TXT_BLOCK, PDF_BLOCK, ASKED),
    "search result": human(FOUND, {**FOUND, "source": "other.md"}, ASKED),
    "search result last": human(ASKED, FOUND),
    "guarded text": human({"type": "guard_content", "text": LONG}, ASKED),
    "guarded text last": human({"type": "text", "text": LONG}, {"type": "guard_content", "text": "Why?"}),
    "reasoning": answered(REASONED, {"type": "text", "text": "A clock."}),
    "reasoning alone": answered(REASONED),
    "redacted reasoning": answered(
        {"type": "reasoning_content", "reasoning_content": {"redacted_content": b"hidden"}},
        {"type": "text", "text": "A clock."},
    ),
    "reasoning before a call": looked({"type": "text", "text": LONG}, thought=REASONED),
    "citations": answered({"type": "text", "text": "A clock.", "citations": [CITATION]}),
    "v1 content": answered({"type": "text", "text": "A clock."}, output_version="v1"),
    "v1 reasoning": answered(
        {"type": "reasoning", "reasoning": "It ticks.", "extras": {"signature": "c2lnbmVk"}},
        {"type": "text", "text": "A clock."},
        output_version="v1",
    ),
    "tool result": looked({"type": "text", "text": LONG}),
    "tool result with JSON": looked({"type": "json", "json": {"clocks": [LONG]}}),
    "tool result with an image": looked({"type": "text", "text": LONG}, IMAGE),
    "tool result with a PDF": looked(PDF_BLOCK),
    "tool result with a text file": looked(TXT_BLOCK),
    "tool result with a search result": looked(FOUND),
    "white space": [HumanMessage(f"{LONG}\n"), AIMessage("A clock. "), HumanMessage(" ")],
    "point by hand": human({"type": "text", "text": LONG}, POINT, ASKED),
    "point by hand behind a text file": human(TXT_BLOCK, POINT, ASKED),
    "point by hand before everything": human(POINT, {"type": "text", "text": LONG}, ASKED),
}
GUARDED: dict[str, Any] = {
    "guardrails": {"guardrailIdentifier": "a1b2c3d4e5f6", "guardrailVersion": "1"},
    "guard_last_turn_only": True,
}
each_content = pytest.mark.parametrize("messages", CONTENTS.values(), ids=CONTENTS)
each_model = pytest.mark.parametrize("model", [CLAUDE, NOVA], ids=["claude", "nova"])


@pytest.fixture(scope="module")
def plain() -> Iterator[Callable[..., Mapping[str, Any]]]:
    """Return what goes out of langchain-aws's own model."""
    with LocalBedrock(answers=FixedAnswer()) as bedrock:

        @functools.cache
        def connect(model: str, guarded: bool) -> ChatBedrockConverse:
            return ChatBedrockConverse(
                model=model,
                region_name="us-east-1",
                base_url=bedrock.endpoint_url,
                aws_access_key_id=SecretStr("test"),
                aws_secret_access_key=SecretStr("test"),
                **(GUARDED if guarded else {}),
            )

        def send(model: str, messages: list[BaseMessage], *, guarded: bool = False) -> Mapping[str, Any]:
            llm = connect(model, guarded)
            # A point by hand that may not stand there is refused; what was sent is there to compare with.
            with contextlib.suppress(llm.client.exceptions.ValidationException):
                llm.bind_tools([look]).invoke(copy.deepcopy(messages))
            return bedrock.requests[-1].body

        yield send


@pytest.fixture(scope="module")
def routed() -> Iterator[Callable[..., Mapping[str, Any]]]:
    """Return what goes out of ours, of one model for all contents: making one takes its time."""
    with LocalBedrock(answers=FixedAnswer()) as bedrock:

        @functools.cache
        def connect(model: str) -> ChatBedrockRouter:
            return ChatBedrockRouter(
                model=model,
                region_name="us-east-1",
                endpoint_url=bedrock.endpoint_url,
                aws_access_key_id=SecretStr("test"),
                aws_secret_access_key=SecretStr("test"),
            )

        def send(model: str, messages: list[BaseMessage]) -> Mapping[str, Any]:
            connect(model).bind_tools([look]).invoke(messages)
            return bedrock.requests[-1].body

        yield send


def without_points(value: Any) -> Any:
    if isinstance(value, list):
        return [without_points(each) for each in value if each != POINT]
    return {key: without_points(each) for key, each in value.items()} if isinstance(value, dict) else value


def calls(bedrock: LocalBedrock) -> list[Request]:
    return [each for each in bedrock.requests if each.operation.startswith("Converse")]


@each_model
@each_content
def test_the_same_goes_out(
    routed: Callable[..., Mapping[str, Any]],
    plain: Callable[..., Mapping[str, Any]],
    messages: list[BaseMessage],
    model: str,
) -> None:
    """Every kind of content goes out as langchain-aws sends it, and what the caller wrote stays as it was."""
    before = copy.deepcopy(messages)
    assert without_points(routed(model, messages)) == without_points(plain(model, messages))
    assert messages == before


@each_model
@each_content
def test_points_are_legal(
    make_llm: Make, bedrock: LocalBedrock, messages: list[BaseMessage], model: str
) -> None:
    """Asked again and gone on with, no content brings a point that is refused, and prompts are read."""
    llm = make_llm(model).bind_tools([look])
    lead = [SystemMessage(f"Answer briefly. {LONG}")]
    history = [*lead, *messages]
    for question in ("Is it so?", "And then?"):
        for _ in range(2):
            answer = llm.invoke(history)
        history = [*history, answer, HumanMessage(question)]
    assert [each.error for each in calls(bedrock) if each.error] == []
    assert all((each.usage or {})["cacheReadInputTokens"] > 1_000 for each in calls(bedrock)[1:])


@each_model
@pytest.mark.parametrize("name", ["text", "PDF", "citations", "tool result"])
def test_guarded_last_turn(
    make_llm: Make, bedrock: LocalBedrock, plain: Callable[..., Mapping[str, Any]], name: str, model: str
) -> None:
    """guard_last_turn_only guards the same texts as in langchain-aws, and no point is refused behind them."""
    llm = make_llm(model, **GUARDED).bind_tools([look])
    messages = [SystemMessage(f"Answer briefly. {LONG}"), *CONTENTS[name]]
    for _ in range(3):
        llm.invoke(messages)
    sent = calls(bedrock)
    assert [each.error for each in sent if each.error] == []
    assert without_points(sent[-1].body) == plain(model, messages, guarded=True)
    assert "guardContent" in str(sent[-1].body["messages"][-1])
    assert (sent[-1].usage or {})["cacheReadInputTokens"] > 1_000


def contents_sent(make_llm: Make, bedrock: LocalBedrock, messages: list[BaseMessage]) -> list[list[str]]:
    """Return the kinds of block in the first message, of four turns that go on from it."""
    llm, history = make_llm(CLAUDE), list(messages)
    for question in ("Is it so?", "And then?", "So?", "?"):
        history = [*history, llm.invoke(history), HumanMessage(question)]
    firsts = [each.body["messages"][0]["content"] for each in calls(bedrock)]
    return [[next(iter(block)) for block in first] for first in firsts]


def test_text_file_behind_the_question(make_llm: Make, bedrock: LocalBedrock) -> None:
    """No point goes between a question and a text file, which would then be read in another place."""
    sent = contents_sent(make_llm, bedrock, CONTENTS["text file last"])
    assert sent == [["text", "text", "document"]] * 4
    assert (calls(bedrock)[-1].usage or {})["cacheReadInputTokens"] > 3_000


def test_text_file_before_the_question(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Behind a text file the point waits for the end of the next text, and the conversation reads both."""
    sent = contents_sent(make_llm, bedrock, CONTENTS["text file"])
    assert all(each[:2] == ["document", "text"] for each in sent)
    assert (calls(bedrock)[-1].usage or {})["cacheReadInputTokens"] > 1_500


@pytest.mark.parametrize("name", ["text file with citations", "search result"])
def test_documents_that_are_cached_at_once(make_llm: Make, bedrock: LocalBedrock, name: str) -> None:
    """A cited text file and a search result are followed by a point when they are first sent."""
    first, *_ = contents_sent(make_llm, bedrock, CONTENTS[name])
    assert first[-2:] == ["cachePoint", "text"]
    second = calls(bedrock)[1]
    assert (second.usage or {})["cacheReadInputTokens"] > 1_500


def test_points_by_hand(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A caller's point right behind a text file, or before everything, is dropped with the reason."""
    reasons: list[str] = []
    for name in ("point by hand", "point by hand behind a text file", "point by hand before everything"):
        receipt = make_llm(CLAUDE).invoke(CONTENTS[name]).response_metadata["bedrock_routing"]
        reasons.append("; ".join(each["reason"] for each in receipt["cache"]["skipped"]))
    kept, behind, before = reasons
    assert kept == ""
    assert "neither a PDF nor cited" in behind
    assert "nothing before it" in before
    assert [each.error for each in calls(bedrock) if each.error] == []


@each_model
async def test_a_v1_conversation(make_llm: Make, bedrock: LocalBedrock, model: str) -> None:
    """Answers in the v1 form, whole, streamed and awaited, are gone on with and read from the cache."""
    llm = make_llm(model, output_version="v1")
    history: list[BaseMessage] = [SystemMessage(f"Answer briefly. {LONG}"), HumanMessage("What is it?")]
    answer = llm.invoke(history)
    assert isinstance(answer.content, list)
    history = [*history, answer, HumanMessage("Is it so?")]
    first, *rest = llm.stream(history)
    history = [*history, sum(rest, first), HumanMessage("And then?")]
    history = [*history, await llm.ainvoke(history), HumanMessage("So?")]
    await llm.ainvoke(history)
    sent = calls(bedrock)
    assert [each.operation for each in sent] == ["Converse", "ConverseStream", "Converse", "Converse"]
    said = [block for each in sent[-1].body["messages"] for block in each["content"] if block != POINT]
    assert [next(iter(block)) for block in said] == ["text"] * 7
    assert [(each.usage or {})["cacheReadInputTokens"] > 1_000 for each in sent] == [False, True, True, True]
