"""One request of the chat model: what goes in unharmed, what comes out named, and how to end it early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from bedrock_routing import RoutedClient
from langchain_bedrock_routing.behind import Behind

__all__ = ["RECEIPT", "Call", "as_chunk", "copied", "has_tools", "name_model"]

RECEIPT = "bedrock_routing"
"""The key of the receipt, in the response and in `response_metadata`."""


class Call:
    """Stand for the client during one call, and keep hold of its stream: another thread may end it."""

    def __init__(self, client: RoutedClient) -> None:
        self._client = client
        self._stream: Any = None
        self._interrupted = False
        self.skipped: list[dict[str, str]] = []
        """What of the call's settings was not followed, as the receipt lists it."""
        self.begun = False
        """Whether a part of the answer was handed out."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property
    def receipt(self) -> Mapping[str, Any] | None:
        """Return the receipt of a stream that has ended, however it did."""
        receipt = getattr(self._stream, "receipt", None)
        return receipt and receipt.to_dict()

    def hands_out(self, chunk: ChatGenerationChunk) -> None:
        """Note that a chunk goes out; one without content gives nothing away."""
        message = cast("AIMessageChunk", chunk.message)
        self.begun = self.begun or bool(message.content or message.tool_call_chunks)

    def converse_stream(self, **request: Any) -> Any:
        """Open the stream, unless its reader has already left: then end it at once."""
        response = self._client.converse_stream(**request)
        self._stream = response["stream"]
        if self._interrupted:
            self._stream.close()
        return response

    def interrupt(self) -> None:
        """Make the stream end: now, even while a thread waits for its next event, or once it is open."""
        self._interrupted = True
        if self._stream is not None:
            self._stream.interrupt()


def copied(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Return messages that may be changed: langchain-aws trims a last assistant message in place."""
    own = list(messages)
    if own and isinstance(own[-1], AIMessage):
        own[-1] = own[-1].model_copy(deep=True)
    return own


def name_model(message: BaseMessage, behind: Behind, call: Any = None) -> None:
    """Set `model_name` to the model that answered; where that is not known, to what was asked.

    What a `call` did not follow joins the receipt's list of what was skipped.
    """
    metadata = message.response_metadata
    receipt = cast("dict[str, Any]", metadata.get(RECEIPT) or {})
    if receipt and isinstance(call, Call) and call.skipped:
        cache = receipt["cache"]
        metadata[RECEIPT] = {**receipt, "cache": {**cache, "skipped": [*cache["skipped"], *call.skipped]}}
    only = behind.model_ids[0] if len(behind.model_ids) == 1 else None
    metadata["model_name"] = only or receipt.get("model") or receipt.get("router_arn") or behind.asked


def has_tools(kwargs: dict[str, Any]) -> bool:
    """Tell whether a call offers tools."""
    return bool(kwargs.get("tools") or kwargs.get("toolConfig") or kwargs.get("tool_config"))


def as_chunk(result: ChatResult) -> ChatGenerationChunk:
    """Return a whole answer as the only chunk of a stream."""
    generation = cast("ChatGeneration", result.generations[0])
    fields = generation.message.model_dump(exclude={"type"})
    return ChatGenerationChunk(message=AIMessageChunk(**fields), generation_info=generation.generation_info)
