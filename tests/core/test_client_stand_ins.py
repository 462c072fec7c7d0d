"""Clients that are not boto3's own: doubles of other people's tests, thin wrappers."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

from bedrock_routing import RoutedClient

MODEL = "us.anthropic.claude-sonnet-4-6"
ASKED: list[dict[str, Any]] = [{"role": "user", "content": [{"text": "Hello"}]}]
REPLY = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
    "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
    "stopReason": "end_turn",
}
EVENTS = [
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": REPLY["usage"]}},
]


class Plain:
    """Answer as Converse does, and have nothing else of a boto3 client."""

    def converse(self, **_: Any) -> dict[str, Any]:
        """Return a whole answer."""
        return dict(REPLY)

    def converse_stream(self, **_: Any) -> dict[str, Any]:
        """Return the events of one."""
        return {"stream": list(EVENTS)}


def test_a_client_without_meta() -> None:
    """Calls and streams work, with receipts; a stream that is a plain list needs no closing."""
    client = RoutedClient(Plain(), model=MODEL)
    assert client.converse(messages=ASKED)["bedrock_routing"]["cache"]["fresh"] == 3
    stream = client.converse_stream(messages=ASKED)["stream"]
    assert list(stream)[-1]["metadata"]["bedrock_routing"]["complete"]
    left = client.converse_stream(messages=ASKED)["stream"]
    next(iter(left))
    left.close()
    assert not left.receipt.complete


def test_clients_without_meta_share_nothing() -> None:
    """What one stand-in has in its cache is nothing to another."""
    one, other = RoutedClient(Plain(), model=MODEL), RoutedClient(Plain(), model=MODEL)
    assert one._engine().state is not other._engine().state


def test_a_client_that_can_be_called() -> None:
    """A mock of a client is asked, not taken for a function that makes one."""
    mock = MagicMock()
    mock.converse.return_value = dict(REPLY)
    assert RoutedClient(mock, model=MODEL).converse(messages=ASKED)["output"] == REPLY["output"]
    mock.converse.assert_called_once()
