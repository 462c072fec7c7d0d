"""Which operation a method and a raw path name.

The path is split before it is unquoted: an ARN holds a `/`, which botocore sends as `%2F` and other
clients send bare.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote

from bedrock_local.errors import ServiceError

__all__ = ["Route", "route"]

Plane = Literal["runtime", "control"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Name an operation, with the members that stand in the path and in the query."""

    plane: Plane
    operation: str
    members: dict[str, str]


_TABLE: tuple[tuple[str, str, Plane, str], ...] = (
    ("POST", r"/model/(?P<modelId>.+)/converse", "runtime", "Converse"),
    ("POST", r"/model/(?P<modelId>.+)/converse-stream", "runtime", "ConverseStream"),
    ("POST", r"/model/(?P<modelId>.+)/count-tokens", "runtime", "CountTokens"),
    ("POST", r"/model/(?P<modelId>.+)/invoke", "runtime", "InvokeModel"),
    (
        "POST",
        r"/model/(?P<modelId>.+)/invoke-with-response-stream",
        "runtime",
        "InvokeModelWithResponseStream",
    ),
    ("POST", r"/prompt-routers", "control", "CreatePromptRouter"),
    ("GET", r"/prompt-routers", "control", "ListPromptRouters"),
    ("GET", r"/prompt-routers/(?P<promptRouterArn>.+)", "control", "GetPromptRouter"),
    ("DELETE", r"/prompt-routers/(?P<promptRouterArn>.+)", "control", "DeletePromptRouter"),
    ("GET", r"/inference-profiles/(?P<inferenceProfileIdentifier>.+)", "control", "GetInferenceProfile"),
    ("GET", r"/foundation-models", "control", "ListFoundationModels"),
)
_ROUTES: tuple[tuple[str, re.Pattern[str], Plane, str], ...] = tuple(
    (method, re.compile(pattern), plane, operation) for method, pattern, plane, operation in _TABLE
)


def route(method: str, target: str) -> Route:
    """Return the route of a request line, or raise the service's 404."""
    path, _, query = target.partition("?")
    for allowed, pattern, plane, operation in _ROUTES:
        if allowed == method and (match := pattern.fullmatch(path)):
            members = {name: unquote(value) for name, value in match.groupdict().items()}
            return Route(plane=plane, operation=operation, members=members | dict(parse_qsl(query)))
    raise ServiceError(
        "UnknownOperationException", f"The local Bedrock does not serve {method} {unquote(path)}."
    )
