"""What the tests of the local Bedrock share: prompts of a known size, raw calls, models."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bedrock_local import LocalBedrock

ANSWER = "The answer is short. It has two sentences."
NOVA = "amazon.nova-lite-v1:0"
NOVA_PRO = "amazon.nova-pro-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-6"
CLAUDE_4096 = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
POINT_1H: dict[str, Any] = {"cachePoint": {"type": "default", "ttl": "1h"}}
WEATHER: dict[str, Any] = {
    "toolSpec": {
        "name": "weather",
        "description": "Tell the weather of a city",
        "inputSchema": {
            "json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        },
    }
}


def text(tokens: int, label: str = "cheese") -> dict[str, Any]:
    """Return a text block of about so many tokens."""
    return {"text": f"{label}: " + "word " * tokens}


def user(*content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user message of blocks."""
    return {"role": "user", "content": list(content)}


def assistant(*content: Mapping[str, Any]) -> dict[str, Any]:
    """Return an assistant message of blocks."""
    return {"role": "assistant", "content": list(content)}


def question(words: str = "What is it?") -> dict[str, Any]:
    """Return a user message with one question."""
    return user({"text": words})


def counters(reply: Mapping[str, Any]) -> tuple[int, int]:
    """Return the tokens read from and written to the cache."""
    usage = reply["usage"]
    return usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)


def raw(
    bedrock: LocalBedrock,
    method: str,
    path: str,
    body: Mapping[str, Any] | bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Send one HTTP request without boto3 and return status, headers in lower case, and body."""
    address = bedrock.endpoint_url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=10)
    sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    connection.request(method, path, body=sent, headers=dict(headers or {}))
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, {name.lower(): value for name, value in reply.getheaders()}, content


def raw_converse(
    bedrock: LocalBedrock, model: str, messages: Sequence[Mapping[str, Any]], **members: Any
) -> dict[str, Any]:
    """Converse without boto3, so that members that its model does not know are seen."""
    path = f"/model/{quote(model, safe='')}/converse"
    _, _, body = raw(bedrock, "POST", path, {"messages": list(messages), **members})
    return json.loads(body)
