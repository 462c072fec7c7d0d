"""Find which model a tool result belongs to, and ask that one instead of the router."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from botocore.exceptions import ClientError
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from bedrock_routing import ConfigurationError, ModelRef, parse
from langchain_bedrock_routing.behind import look_behind
from langchain_bedrock_routing.calls import RECEIPT, Call
from langchain_bedrock_routing.chat_model import ChatBedrockRouter

__all__ = ["asking", "caller_of", "cannot_be_asked", "model_to_keep"]

_NEVER_ASKED = frozenset({"AccessDeniedException", "ResourceNotFoundException"})
_WRONG_NAME = ("model identifier", "on-demand throughput")
"""In what the service says where a model is reached only through something else."""


def caller_of(messages: Sequence[BaseMessage]) -> AIMessage | None:
    """Return the answer whose tool calls the last messages bring the results of; `None` if they do not."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            return message if answered & {call["id"] for call in message.tool_calls} else None
        else:
            return None
    return None


def model_to_keep(model: ChatBedrockRouter, caller: AIMessage, messages: Sequence[BaseMessage]) -> str | None:
    """Return the model that made a tool call, if the router that is asked now may have chosen it.

    May ask the service once what stands behind the router. Where it may not be asked, a receipt among the
    messages must say that a router invoked this model.
    """
    invoked = _receipt_of(caller).get("invoked_model_id")
    if not parse(model.model_id).is_router or not isinstance(invoked, str):
        return None
    known = look_behind(model.client, model.model_id).models
    if known:
        return invoked if any(_is_same(each, invoked) for each in known) else None
    routed = (_receipt_of(each) for each in messages if isinstance(each, AIMessage))
    return invoked if any(_was_chosen(each, invoked) for each in routed) else None


def _is_same(ref: ModelRef, invoked: str) -> bool:
    try:
        key = parse(invoked).key
    except ConfigurationError:  # a history may hold anything
        return False
    return ref.raw == invoked or (key is not None and ref.key == key)


def _was_chosen(receipt: Mapping[str, Any], invoked: str) -> bool:
    return receipt.get("router_arn") is not None and receipt.get("invoked_model_id") == invoked


def _receipt_of(message: AIMessage) -> Mapping[str, Any]:
    found = message.response_metadata.get(RECEIPT)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def asking(model: ChatBedrockRouter, invoked: str) -> ChatBedrockRouter:
    """Return the model with its settings, asking one of the models behind the router directly.

    Request fields that follow from the settings stay those of the router: others would miss the cache.
    """
    routed, arguments = model._for_call({}, Call(model.client))
    own, effort = model.additional_model_request_fields, arguments.get("reasoning_effort")
    fields = {**routed._reasoning_effort_fields(effort), **(own or {})} if effort else own
    asked = {"model_id": invoked, "base_model_id": None, "provider": "", "profile": None}
    return model.model_copy(update={**asked, "additional_model_request_fields": fields})


def cannot_be_asked(error: ClientError) -> bool:
    """Tell whether an error says that this model may not be asked directly."""
    said = error.response.get("Error", {})
    message = said.get("Message", "")
    return said.get("Code") in _NEVER_ASKED or any(each in message for each in _WRONG_NAME)
