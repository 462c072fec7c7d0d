"""Tools both ways: what is offered, which choice may be forced, and which calls an answer makes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool

from bedrock_routing import ConfigurationError
from llama_index_bedrock_routing.content import Wire, parsed_input
from llama_index_bedrock_routing.replies import answer_of

__all__ = ["selections", "single_call", "tool_config", "with_possible_choice"]

Choice = str | Mapping[str, Any] | None

_CHOICES: Mapping[str, Wire] = {"auto": {"auto": {}}, "any": {"any": {}}, "required": {"any": {}}}
_FORCED = frozenset({"any", "tool"})


def tool_config(tools: Sequence[BaseTool], *, choice: Choice = None, required: bool = False) -> Wire | None:
    """Return a `toolConfig`; `choice` is "auto", "any", the name of a tool, or what Converse has there.

    "none" offers no tools at all, since Converse has no such choice.
    """
    if not tools or choice == "none":
        return None
    offered = {"tools": [{"toolSpec": _spec(each)} for each in tools]}
    wanted = _choice(choice) or (_CHOICES["any"] if required else None)
    return {**offered, "toolChoice": dict(wanted)} if wanted else offered


def _choice(choice: Choice) -> Mapping[str, Any] | None:
    if isinstance(choice, str):
        return _CHOICES.get(choice) or {"tool": {"name": choice}}
    return choice or None


def _spec(tool: BaseTool) -> Wire:
    metadata = tool.metadata
    if not metadata.name:
        raise ConfigurationError(f"a tool without a name: {tool!r}")
    described = {"description": metadata.description} if metadata.description else {}
    return {"name": metadata.name, **described, "inputSchema": {"json": metadata.get_parameters_dict()}}


def with_possible_choice(config: Wire, accepted: Collection[str]) -> Wire:
    """Return the `toolConfig` with a choice that every model which may answer accepts.

    A forced choice that one of them rejects becomes an equal one where there is a single tool, else it is
    left out: the model then chooses. Where nothing is known (`accepted` is empty) the service decides.
    """
    wanted: Mapping[str, Any] = config.get("toolChoice") or {}
    kind = next(iter(wanted), None)
    if kind not in _FORCED or not accepted or kind in accepted:
        return config
    names = [spec["name"] for each in config["tools"] if (spec := each.get("toolSpec"))]
    rest = {name: value for name, value in config.items() if name != "toolChoice"}
    if len(names) != 1 or not _FORCED & set(accepted):
        return rest
    equal: Wire = {"tool": {"name": names[0]}} if kind == "any" else {"any": {}}
    return {**rest, "toolChoice": equal}


def selections(response: ChatResponse, *, error_on_no_tool_call: bool) -> list[ToolSelection]:
    """Return the calls that an answer makes; a `ValueError` where it must make one and does not."""
    calls = [each for each in response.message.blocks if isinstance(each, ToolCallBlock)]
    if not calls and error_on_no_tool_call:
        raise ValueError(
            f"Expected at least one tool call, but got {len(calls)} tool calls: the model answered "
            f"{response.message.content!r}"
        )
    return [
        ToolSelection(
            tool_id=each.tool_call_id or "",
            tool_name=each.tool_name,
            tool_kwargs=parsed_input(each.tool_kwargs),
        )
        for each in calls
    ]


def single_call(response: ChatResponse) -> ChatResponse:
    """Return the answer with its first tool call only; the answer given stays as it is."""
    calls = [each for each in response.message.blocks if isinstance(each, ToolCallBlock)]
    surplus = {id(each) for each in calls[1:]}
    if not surplus:
        return response
    kept = [each for each in response.message.blocks if id(each) not in surplus]
    message = answer_of(kept)
    message.additional_kwargs = {**response.message.additional_kwargs, **message.additional_kwargs}
    return response.model_copy(update={"message": message})
