"""Check requests and replies against botocore's own service models, which are the wire's contract.

botocore's client checks required members, types, union arity and minimums only; the service also enforces
enums, maximums and unknown members, so those are checked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from bedrock_local.errors import validation
from bedrock_local.json_parts import part
from bedrock_local.untyped import botocore_loaders, botocore_model, botocore_validate

__all__ = ["check_request", "problems", "service_model", "unknown_members"]

_NEWER_ON_THE_WIRE = frozenset(
    {"usage.serverToolUsage", "usage.cacheReadInputTokenCount", "usage.cacheWriteInputTokenCount"}
)


@lru_cache(maxsize=4)
def service_model(service: str) -> Any:
    """Return botocore's model of `bedrock` or `bedrock-runtime`."""
    document = botocore_loaders.create_loader().load_service_model(service, "service-2")
    return botocore_model.ServiceModel(document, service)


def check_request(service: str, operation: str, members: Mapping[str, Any]) -> None:
    """Raise the service's `ValidationException` for a request that its model does not allow.

    A cache point inside a tool result passes: the service accepts it and caches nothing.
    """
    shape = service_model(service).operation_model(operation).input_shape
    if found := next(iter(problems(_without_inner_points(members), shape)), None):
        raise validation(found)


def _without_inner_points(members: Mapping[str, Any]) -> Mapping[str, Any]:
    messages = members.get("messages")
    if not isinstance(messages, list):
        return members
    return {**members, "messages": [_message(each) for each in cast("list[Any]", messages)]}


def _message(message: Any) -> Any:
    content = part({"message": message}, "message").get("content")
    if not isinstance(content, list):
        return message
    blocks = cast("list[Any]", content)
    if not any(isinstance(block, Mapping) and "toolResult" in block for block in blocks):
        return message
    return {**message, "content": [_tool_result(block) for block in blocks]}


def _tool_result(block: Any) -> Any:
    inner = part({"block": block}, "block", "toolResult")
    content = inner.get("content")
    if not isinstance(content, list):
        return block
    kept = [each for each in cast("list[Any]", content) if not part({"each": each}, "each").get("cachePoint")]
    return {"toolResult": {**inner, "content": kept}}


def problems(value: Mapping[str, Any], shape: Any) -> Iterator[str]:
    """Yield what is wrong with a value, one sentence each."""
    report = botocore_validate.ParamValidator().validate(value, shape)
    if report.has_errors():
        yield "1 validation error detected: " + str(report.generate_report()).replace("\n", "; ")
        return
    yield from _walk(value, shape, "")


def unknown_members(value: Any, shape: Any) -> list[str]:
    """Return the paths of members that the model does not know, the known surplus counters left out."""
    return [path for path in _unknown(value, shape, "") if path not in _NEWER_ON_THE_WIRE]


def _unknown(value: Any, shape: Any, path: str) -> Iterator[str]:
    for name, child, inner in _children(value, shape, path):
        if inner is None:
            yield name
        else:
            yield from _unknown(child, inner, name)


def _walk(value: Any, shape: Any, path: str) -> Iterator[str]:
    if complaint := _constraint(value, shape, path):
        yield complaint
    for name, child, inner in _children(value, shape, path):
        if inner is not None:
            yield from _walk(child, inner, name)
        else:
            where, _, key = name.rpartition(".")
            yield (
                f"Malformed input request: #/{where.replace('.', '/')}: extraneous key [{key}] "
                "is not permitted, please reformat your input and try again."
            )


def _children(value: Any, shape: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    prefix = f"{path}." if path else ""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        if getattr(shape, "is_document_type", False):
            return
        for name, child in cast("Mapping[str, Any]", value).items():
            yield prefix + name, child, shape.members.get(name)
    elif shape.type_name == "list" and isinstance(value, list | tuple):
        for index, child in enumerate(cast("list[Any]", value)):
            yield f"{prefix}{index}", child, shape.member
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for name, child in cast("Mapping[str, Any]", value).items():
            yield prefix + name, child, shape.value


def _constraint(value: Any, shape: Any, path: str) -> str | None:
    limits = shape.metadata
    failed = f"1 validation error detected: Value at '{path}' failed to satisfy constraint: Member must "
    if (allowed := limits.get("enum")) and value not in allowed:
        return f"{failed}satisfy enum value set: [{', '.join(allowed)}]"
    largest = limits.get("max")
    if largest is None:
        return None
    if isinstance(value, str | list) and len(cast("str", value)) > largest and shape.type_name != "blob":
        return f"{failed}have length less than or equal to {largest}"
    if isinstance(value, int | float) and value > largest:
        return f"{failed}have value less than or equal to {largest}"
    return None
