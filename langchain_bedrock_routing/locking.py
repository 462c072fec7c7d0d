"""Tell the core which model made the tool calls of a conversation, from the receipts in its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage

from bedrock_routing import RoutedClient
from langchain_bedrock_routing.calls import RECEIPT, Call

__all__ = ["note_callers"]


def note_callers(client: RoutedClient | Call, messages: Sequence[BaseMessage]) -> None:
    """Tell the client who made the newest tool calls: another process may have asked for them.

    A history may hold anything: what is no receipt says nothing.
    """
    newest = next((each for each in reversed(messages) if isinstance(each, AIMessage)), None)
    receipt = newest.response_metadata.get(RECEIPT) if newest is not None else None
    if newest is None or not newest.tool_calls or not isinstance(receipt, Mapping):
        return
    said = cast("Mapping[str, Any]", receipt)
    invoked, router = said.get("invoked_model_id"), said.get("router_arn")
    if isinstance(invoked, str):
        ids = [each["id"] for each in newest.tool_calls if each["id"]]
        client.note_tool_calls(ids, invoked, router=router if isinstance(router, str) else None)
