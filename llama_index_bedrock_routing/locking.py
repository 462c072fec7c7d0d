"""Keep with a tool call who made it, and tell the core, which may be another process's by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock

from bedrock_routing import RoutedClient
from llama_index_bedrock_routing.replies import RECEIPT

__all__ = ["note_callers"]


def note_callers(client: RoutedClient, messages: Sequence[ChatMessage]) -> None:
    """Tell the client who made the newest tool calls: another process may have asked for them.

    A history may hold anything: what is no part of a receipt says nothing.
    """
    newest = next((each for each in reversed(messages) if each.role == MessageRole.ASSISTANT), None)
    said: Any = newest.additional_kwargs.get(RECEIPT) if newest is not None else None
    if newest is None or not isinstance(said, Mapping):
        return
    invoked, router = said.get("invoked_model_id"), said.get("router_arn")
    calls = [each.tool_call_id for each in newest.blocks if isinstance(each, ToolCallBlock)]
    if isinstance(invoked, str):
        ids = [each for each in calls if each]
        client.note_tool_calls(ids, invoked, router=router if isinstance(router, str) else None)
