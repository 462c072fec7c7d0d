"""What agents of several libraries are asked with, and that nothing of it leaves this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from bedrock_routing import parse

__all__ = ["KEY", "Target", "Tool", "point_at", "prepare", "stay_on_this_machine"]

Request = dict[str, Any]

KEY = "local"
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    "OTEL_SDK_DISABLED": "true",
    "NO_PROXY": "127.0.0.1,localhost",
}
_UNWANTED = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Be a tool with one argument, `query`."""

    name: str
    description: str
    run: Callable[[str], str]

    @property
    def schema(self) -> Request:
        """Return the JSON schema of its input."""
        return {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Say where and what to ask."""

    endpoint_url: str
    region: str
    model: str
    """A model id, or the ARN of a router."""
    behind: str
    """A model id: the model itself, or one of those behind the router."""

    @property
    def where(self) -> dict[str, Any]:
        """Return the arguments that most clients take for it."""
        return {
            "endpoint_url": self.endpoint_url,
            "region_name": self.region,
            "aws_access_key_id": KEY,
            "aws_secret_access_key": KEY,
        }

    @property
    def told(self) -> bool:
        """Whether a library must be told what is behind."""
        return self.model != self.behind

    @property
    def provider(self) -> str:
        """Return who made the models."""
        return parse(self.behind).provider or ""


def prepare() -> None:
    """Set made-up keys, and that nothing is fetched or sent at import; before any library is imported."""
    for name in _UNWANTED:
        os.environ.pop(name, None)
    os.environ.update(_ENVIRONMENT)


def point_at(endpoint_url: str) -> None:
    """Let clients that no library told otherwise use this endpoint too."""
    os.environ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] = endpoint_url
    os.environ["AWS_ENDPOINT_URL_BEDROCK"] = endpoint_url


def stay_on_this_machine() -> list[str]:
    """Refuse every connection and look-up beyond the loopback from now on; return the list of them."""
    refused: list[str] = []

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
        elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
            address = arguments
        else:
            return
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            refused.append(f"{event} {address[0]}")
            raise PermissionError(f"a library wants to leave this machine: {event} {address[0]}")

    sys.addaudithook(check)
    return refused


def _is_loopback(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ip_address(str(name)).is_loopback
    except ValueError:
        return False
