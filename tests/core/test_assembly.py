from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator

from bedrock_routing.assembly import UnknownEventError, whole_reply


def events(*blocks: tuple[dict[str, Any] | None, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    yield {"messageStart": {"role": "assistant"}}
    for index, (start, deltas) in enumerate(blocks):
        if start is not None:
            yield {"contentBlockStart": {"contentBlockIndex": index, "start": start}}
        for delta in deltas:
            yield {"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}}
        yield {"contentBlockStop": {"contentBlockIndex": index}}
    yield {"messageStop": {"stopReason": "end_turn", "additionalModelResponseFields": {"a": 1}}}
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    trace = {"promptRouter": {"invokedModelId": "m"}, "guardrail": {"modelOutput": ["x"]}}
    yield {"metadata": {"usage": usage, "metrics": {"latencyMs": 5}, "trace": trace}}


def test_every_kind_of_block_is_put_together() -> None:
    """Reasoning, citations, tool results, images: the shape is that of Converse in botocore's model."""
    cited = {"title": "T", "sourceContent": [{"text": "s"}], "location": {"web": {"url": "u", "domain": "d"}}}
    reply = whole_reply(
        events(
            (
                None,
                [{"reasoningContent": {"text": "a"}}, {"reasoningContent": {"text": "b", "signature": "s"}}],
            ),
            (None, [{"reasoningContent": {"redactedContent": b"12"}}]),
            (None, [{"text": "It "}, {"text": "is."}, {"citation": cited}]),
            ({"toolUse": {"toolUseId": "1", "name": "now", "type": "server_tool_use"}}, []),
            (
                {"toolResult": {"toolUseId": "1"}},
                [{"toolResult": [{"text": "r"}]}, {"toolResult": [{"json": {}}]}],
            ),
            ({"image": {"format": "png"}}, [{"image": {"source": {"bytes": b"p"}}}]),
        )
    )
    model = get_session().get_service_model("bedrock-runtime").operation_model("Converse")
    assert model.output_shape is not None
    assert ParamValidator().validate(reply, model.output_shape).generate_report() == ""
    assert reply["output"]["message"]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "ab", "signature": "s"}}},
        {"reasoningContent": {"redactedContent": b"12"}},
        {"citationsContent": {"content": [{"text": "It is."}], "citations": [cited]}},
        {"toolUse": {"toolUseId": "1", "name": "now", "type": "server_tool_use", "input": {}}},
        {"toolResult": {"toolUseId": "1", "content": [{"text": "r"}, {"json": {}}]}},
        {"image": {"format": "png", "source": {"bytes": b"p"}}},
    ]
    assert (reply["stopReason"], reply["additionalModelResponseFields"]) == ("end_turn", {"a": 1})
    assert set(reply) == {
        "output",
        "stopReason",
        "additionalModelResponseFields",
        "usage",
        "metrics",
        "trace",
    }


@pytest.mark.parametrize(
    "blocks",
    [
        [(None, [{"hologram": "x"}])],
        [(None, [{"reasoningContent": {"summary": "x"}}])],
        [({"toolUse": {"toolUseId": "1", "name": "n"}}, [{"toolUse": {"input": '{"a": '}}])],
        [({"image": {"format": "png"}}, [{"image": {"source": {}}}, {"image": {"source": {}}}])],
    ],
)
def test_what_is_not_known_is_not_left_out(blocks: Sequence[Any]) -> None:
    """A block of a new kind, or the half input of a tool call, is no reply: the call is asked whole."""
    with pytest.raises(UnknownEventError):
        whole_reply(events(*blocks))
