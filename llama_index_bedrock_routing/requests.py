"""Make a Converse request out of what LlamaIndex says: settings, messages, and the arguments of a call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage

from llama_index_bedrock_routing.content import Wire
from llama_index_bedrock_routing.messages import to_converse
from llama_index_bedrock_routing.tools import tool_config

__all__ = ["converse_request"]

_INFERENCE = {
    "max_tokens": "maxTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "stop": "stopSequences",
    "stop_sequences": "stopSequences",
}
"""LlamaIndex's names, and those of `inferenceConfig`."""
_NOT_SENT = frozenset(
    {"formatted", "tools", "tool_choice", "tool_required", "tool_caching", "thinking", "model"}
)
"""Arguments of LlamaIndex's that are no members of Converse; whether tools are cached, the policy says."""
_SAMPLING = ("temperature", "top_p")
_OFF = frozenset({"disabled", None})


def converse_request(
    messages: Sequence[ChatMessage], given: Mapping[str, Any], *, sampling: bool = True
) -> Wire:
    """Return the request; names that are not LlamaIndex's go out as they are, as members of Converse.

    A model that thinks takes no temperature, so none is sent then. Where `sampling` is false a model that may
    answer rejects temperature and `top_p`: they are left out, with a warning.
    """
    system, turns = to_converse(messages)
    request: Wire = {"messages": turns}
    if system:
        request["system"] = system
    request = _merged(request, "inferenceConfig", _inference(given, sampling=sampling))
    thinking = given.get("thinking")
    if thinking:
        request = _merged(request, "additionalModelRequestFields", {"thinking": dict(thinking)})
    if tools := _tools(given):
        request["toolConfig"] = tools
    for name, value in given.items():
        if name not in _INFERENCE and name not in _NOT_SENT and value is not None:
            request = _merged(request, name, value)
    return request


def _inference(given: Mapping[str, Any], *, sampling: bool) -> Wire:
    rejected = () if sampling else tuple(name for name in _SAMPLING if given.get(name) is not None)
    if rejected:
        message = f"Not sent, because a model that may answer rejects it: {', '.join(rejected)}."
        warnings.warn(message, UserWarning, stacklevel=2)
    thinks = (given.get("thinking") or {}).get("type") not in _OFF
    left_out = {*rejected, *(("temperature",) if thinks else ())}
    return {
        wire: [value] if wire == "stopSequences" and isinstance(value, str) else value
        for name, wire in _INFERENCE.items()
        if (value := given.get(name)) is not None and name not in left_out
    }


def _tools(given: Mapping[str, Any]) -> Wire | None:
    tools = given.get("tools")
    if isinstance(tools, Mapping):  # a toolConfig, as `chat_with_tools` makes it
        return dict(tools)
    return tool_config(
        tools or (), choice=given.get("tool_choice"), required=bool(given.get("tool_required"))
    )


def _merged(request: Wire, name: str, value: Any) -> Wire:
    """Return the request with one more member; what two sides say about one object goes together."""
    if isinstance(value, Mapping):
        value = {**request.get(name, {}), **value}
        if not value:
            return request
    return {**request, name: value}
