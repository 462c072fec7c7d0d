"""Conversations on the wire and back: nothing is lost, nothing that was given is changed."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index_support import CLAUDE, text_about

from bedrock_local import LocalBedrock
from bedrock_routing import ConfigurationError
from llama_index_bedrock_routing import BedrockRouter
from llama_index_bedrock_routing.content import document_name
from llama_index_bedrock_routing.messages import to_converse
from llama_index_bedrock_routing.replies import read_content
from llama_index_bedrock_routing.streaming import responses
from llama_index_bedrock_routing.tools import selections

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ANSWER: list[dict[str, Any]] = [
    {"reasoningContent": {"reasoningText": {"text": "First I think.", "signature": "sig-1"}}},
    {"text": "Let me look."},
    {"toolUse": {"toolUseId": "a", "name": "look", "input": {"where": "here"}}},
    {"reasoningContent": {"reasoningText": {"text": "Then again.", "signature": "sig-2"}}},
    {"reasoningContent": {"redactedContent": b"\x00hidden\xff"}},
    {
        "citationsContent": {
            "content": [{"text": "It is blue."}],
            "citations": [
                {
                    "title": "Colours",
                    "source": "colours.md",
                    "sourceContent": [{"text": "blue it is"}],
                    "location": {"documentChar": {"documentIndex": 0, "start": 3, "end": 13}},
                },
                {
                    "title": "Web",
                    "source": "https://a.test/x",
                    "location": {"web": {"url": "https://a.test/x"}},
                },
            ],
        }
    },
    {"toolUse": {"toolUseId": "b", "name": "look", "input": {}}},
]


def user(*blocks: Any) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, blocks=list(blocks))


def assistant(*blocks: Any) -> ChatMessage:
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=list(blocks))


def point(ttl: str = "5m", kind: str = "default") -> CachePoint:
    return CachePoint(cache_control=CacheControl(type=kind, ttl=ttl))


def test_an_answer_comes_back_as_it_was() -> None:
    """Interleaved thinking with signatures, hidden thinking, tool calls and citations survive a replay."""
    message = assistant(*read_content(ANSWER))
    assert to_converse([message]) == ([], [{"role": "assistant", "content": ANSWER}])
    assert message.content == "Let me look.\nIt is blue."


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def deltas_of(block: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a block of `ANSWER` as a stream has it, every text in two pieces."""
    if tool := block.get("toolUse"):
        return [{"toolUse": {"input": each}} for each in halves('{"where": "here"}' if tool["input"] else "")]
    if cited := block.get("citationsContent"):
        first, second = halves(cited["content"][0]["text"])
        return [{"text": first}, *({"citation": each} for each in cited["citations"]), {"text": second}]
    if text := block.get("text"):
        return [{"text": each} for each in halves(text)]
    thought = block["reasoningContent"]
    if hidden := thought.get("redactedContent"):
        return [{"reasoningContent": {"redactedContent": each}} for each in (hidden[:3], hidden[3:])]
    said = thought["reasoningText"]
    pieces = [{"text": each} for each in halves(said["text"])]
    return [{"reasoningContent": each} for each in (*pieces, {"signature": said["signature"]})]


def streamed_answer() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for index, block in enumerate(ANSWER):
        if tool := block.get("toolUse"):
            start = {"toolUse": {"toolUseId": tool["toolUseId"], "name": tool["name"]}}
            events.append({"contentBlockStart": {"contentBlockIndex": index, "start": start}})
        events += [
            {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}} for delta in deltas_of(block)
        ]
        events.append({"contentBlockStop": {"contentBlockIndex": index}})
    events.append({"messageStop": {"stopReason": "tool_use"}})
    events.append({"metadata": {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}})
    return events


def test_a_streamed_answer_is_put_together_by_block() -> None:
    """A stream ends in the same blocks as the whole answer, with stop reason and usage on the last item."""
    items = list(responses(streamed_answer(), asked="router"))
    assert to_converse([items[-1].message])[1] == [{"role": "assistant", "content": ANSWER}]
    assert items[-1].raw is not None
    assert items[-1].raw["stopReason"] == "tool_use"
    assert items[-1].raw["usage"]["prompt_tokens"] == 3
    assert items[-1].raw["model"] == "router"
    thoughts = [each.additional_kwargs.get("thinking_delta") for each in items]
    assert "".join(filter(None, thoughts)) == "First I think.Then again."


def test_arguments_can_be_read_while_they_come() -> None:
    """A tool call that is still being written shows the arguments that are there."""
    start = {"start": {"toolUse": {"toolUseId": "a", "name": "look"}}, "contentBlockIndex": 0}
    pieces = ['{"where": "he', 're", "deep": [1', ", 2]}"]
    deltas = [
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"toolUse": {"input": each}}}}
        for each in pieces
    ]
    items = list(responses([{"contentBlockStart": start}, *deltas], asked="router"))
    inputs = [each.message.additional_kwargs["tool_calls"][0]["input"] for each in items]
    assert inputs[0] == {"where": "he"}
    assert inputs[-1] == {"where": "here", "deep": [1, 2]}


def test_arguments_that_were_cut_off() -> None:
    """A tool call whose arguments never ended has none, rather than the half that came."""
    start = {"start": {"toolUse": {"toolUseId": "a", "name": "look"}}, "contentBlockIndex": 0}
    delta = {"contentBlockIndex": 0, "delta": {"toolUse": {"input": '{"where": "he'}}}
    events = [{"contentBlockStart": start}, {"contentBlockDelta": delta}]
    last = list(responses(events, asked="router"))[-1]
    (found,) = selections(last, error_on_no_tool_call=True)
    assert found.tool_kwargs == {}
    (turn,) = to_converse([last.message])[1]
    assert turn["content"][0]["toolUse"]["input"] == {}


def test_all_kinds_of_blocks_are_accepted(bedrock: LocalBedrock) -> None:
    """The service accepts every kind of block, with names that it would refuse made legal."""
    llm = BedrockRouter(model=CLAUDE, region_name="us-east-1", endpoint_url=bedrock.endpoint_url)
    document = DocumentBlock(data=b"Plain text.", title="my_doc.v1?", document_mimetype="text/plain")
    messages = [
        ChatMessage(role="system", content="Be brief."),
        user(TextBlock(text="Look."), ImageBlock(image=PNG), document, document),
        assistant(*read_content(ANSWER)),
        ChatMessage(role="tool", content="seen", additional_kwargs={"tool_call_id": "a"}),
        ChatMessage(role="tool", content="seen", additional_kwargs={"tool_call_id": "b", "status": "error"}),
        user(CitableBlock(title="Notes", source="notes.md", content="It rains."), TextBlock(text="And now?")),
    ]
    before = [each.model_copy(deep=True) for each in messages]
    spec = {"name": "look", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    llm.chat(messages, tools={"tools": [{"toolSpec": spec}]})
    assert messages == before
    _, turns = to_converse(messages)
    assert [each["role"] for each in turns] == ["user", "assistant", "user"]
    first, last = turns[0]["content"], turns[-1]["content"]
    assert first[1]["image"] == {"format": "png", "source": {"bytes": PNG}}
    assert [each["document"]["name"] for each in first[2:]] == ["my-doc-v1", "my-doc-v1 2"]
    assert first[2]["document"] == {"name": "my-doc-v1", "format": "txt", "source": {"bytes": b"Plain text."}}
    assert last[1]["toolResult"] == {"toolUseId": "b", "content": [{"text": "seen"}], "status": "error"}
    assert last[2]["searchResult"]["content"] == [{"text": "It rains."}]
    assert last[2]["searchResult"]["citations"] == {"enabled": True}


def test_points_by_hand_are_kept(bedrock: LocalBedrock, make_llm: Callable[..., BedrockRouter]) -> None:
    """A CachePoint is sent where it stands, with its lifetime, also from a system message."""
    long = text_about("Tides", lines=60)
    messages = [
        ChatMessage(role="system", blocks=[TextBlock(text=long), point("1h", "ephemeral")]),
        user(TextBlock(text=long), point(), TextBlock(text="How many?")),
    ]
    before = [each.model_copy(deep=True) for each in messages]
    make_llm(CLAUDE).chat(messages)
    body = bedrock.requests[-1].body
    assert body["system"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert body["messages"][0]["content"][1] == {"cachePoint": {"type": "default"}}
    assert messages == before


def test_a_point_of_a_tool_message_stands_beside_its_result() -> None:
    """Inside a tool result no cache point is legal."""
    message = ChatMessage(
        role="tool", blocks=[TextBlock(text="found"), point()], additional_kwargs={"tool_call_id": "1"}
    )
    _, (turn,) = to_converse([message])
    assert turn["content"] == [
        {"toolResult": {"toolUseId": "1", "content": [{"text": "found"}]}},
        {"cachePoint": {"type": "default"}},
    ]


def test_empty_texts_are_left_out() -> None:
    """The service refuses a blank text, so none is sent, nor a message that has nothing else."""
    messages = [user(TextBlock(text=" \n")), assistant(TextBlock(text="")), user(TextBlock(text="Hi"))]
    assert to_converse(messages)[1] == [{"role": "user", "content": [{"text": "Hi"}]}]


def test_older_histories() -> None:
    """Tool calls that stand beside the blocks only are sent; those that stand in both are sent once."""
    call = {"toolUseId": "1", "name": "look", "input": '{"a": 1}'}
    expected = {"toolUse": {"toolUseId": "1", "name": "look", "input": {"a": 1}}}
    beside = ChatMessage(role="assistant", additional_kwargs={"tool_calls": [call]})
    block = ToolCallBlock(tool_call_id="1", tool_name="look", tool_kwargs={"a": 1})
    both = ChatMessage(role="assistant", blocks=[block], additional_kwargs={"tool_calls": [call]})
    for message in (beside, both):
        assert to_converse([message])[1] == [{"role": "assistant", "content": [expected]}]


def test_thinking_of_others_stays_out() -> None:
    """Only an assistant's turn may hold reasoning."""
    _, (turn,) = to_converse([user(ThinkingBlock(content="hm"), TextBlock(text="Hi"))])
    assert turn["content"] == [{"text": "Hi"}]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("my_doc.v1?", "my-doc-v1"),
        ("Report (2024) [final]", "Report (2024) [final]"),
        ("  two   spaces ", "two spaces"),
        ("???", "document"),
        (None, "document"),
        ("x" * 300, "x" * 200),
    ],
)
def test_document_names(title: str | None, name: str) -> None:
    """A title becomes a name that the service accepts, the same each time."""
    assert document_name(title) == name


def test_a_format_that_bedrock_does_not_take() -> None:
    """What cannot be sent is an error that names what can, before any request."""
    image = ImageBlock(image=PNG, image_mimetype="image/tiff")
    sent = to_converse([user(image)])[1][0]["content"][0]["image"]["format"]
    assert sent == "png"
    with pytest.raises(ConfigurationError, match="png, gif, webp"):
        to_converse([user(ImageBlock(image=b"II*\x00" + bytes(40), image_mimetype="image/tiff"))])


def test_a_place_in_s3() -> None:
    """A file in S3 is named, not loaded."""
    block = DocumentBlock(url="s3://bucket/guide.pdf", title="guide")
    _, (turn,) = to_converse([user(block)])
    source = {"s3Location": {"uri": "s3://bucket/guide.pdf"}}
    assert turn["content"] == [{"document": {"name": "guide", "format": "pdf", "source": source}}]


def test_what_the_assistant_may_not_send(caplog: pytest.LogCaptureFixture) -> None:
    """Converse takes images and documents from users only, so others are left out, and the log says it."""
    blocks = [TextBlock(text="Look:"), ImageBlock(image=PNG, image_mimetype="image/png")]
    said = ChatMessage(role="assistant", blocks=blocks)
    _, turns = to_converse([ChatMessage(role="user", blocks=blocks), said])
    assert [list(each) for each in turns[0]["content"]] == [["text"], ["image"]]
    assert turns[1]["content"] == [{"text": "Look:"}]
    assert "ImageBlock left out" in caplog.text


@pytest.mark.parametrize("identity", [None, "", "not an id!"])
def test_a_tool_call_without_a_legal_id(identity: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """A call and its result whose id Converse refuses are left out together; the rest is still sent."""
    call = ToolCallBlock(tool_call_id=identity, tool_name="look", tool_kwargs={})
    messages = [
        ChatMessage(role="user", content="Look."),
        ChatMessage(role="assistant", blocks=[TextBlock(text="I look."), call]),
        ChatMessage(role="tool", content="seen", additional_kwargs={"tool_call_id": identity}),
        ChatMessage(role="user", content="And?"),
    ]
    _, turns = to_converse(messages)
    assert [each["content"] for each in turns] == [
        [{"text": "Look."}],
        [{"text": "I look."}],
        [{"text": "And?"}],
    ]
    assert caplog.text.count("left out") == 2


def test_a_signature_that_comes_without_a_thought() -> None:
    """A delta of reasoning that only signs says so by an empty thinking delta."""
    signed = {"reasoningContent": {"signature": "s"}}
    events = [{"contentBlockDelta": {"delta": signed, "contentBlockIndex": 0}}]
    first, last = responses(events, asked="m")
    assert first.additional_kwargs["thinking_delta"] == ""
    assert last.message.blocks[0].additional_information == {"signature": "s"}
