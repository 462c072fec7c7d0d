"""A Converse request as the ordered blocks that a prompt cache sees: tools, then system, then messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil
from typing import Any, cast

from bedrock_local.json_parts import part
from bedrock_local.tokens import TokenCounter, family_factor
from bedrock_routing.catalog import Section, Ttl

__all__ = ["Dialect", "Point", "Prefix", "Slot", "has_points", "render", "slots", "without_points"]

_MESSAGE_TOKENS = 4
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Hold one element of one of the request's lists, cache points included."""

    section: Section
    path: str
    """The list, as the service writes it: `system`, `messages.2.content`, `toolConfig.tools`."""
    role: str
    index: int
    kind: str
    content: Any
    first: bool
    """Whether it opens its list, cache points not counted."""

    @property
    def is_point(self) -> bool:
        """Tell whether it is a cache point."""
        return self.kind == "cachePoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Hold one cache point: after how many blocks of the whole prompt it stands, and its lifetime."""

    after: int
    ttl: Ttl


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Say how one model turns a request into a prompt."""

    key: str
    """The model without version, as the catalog lists it."""
    provider: str | None
    whole: bool
    """Whether another toolChoice makes another prompt (Nova), or other messages only (Claude)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """Hold every prefix of a prompt: its digest and its tokens; entry `n` covers the first `n` blocks."""

    digests: tuple[bytes, ...]
    totals: tuple[int, ...]
    points: tuple[Point, ...]

    @property
    def tokens(self) -> int:
        """Return the tokens of the whole prompt."""
        return self.totals[-1]


def slots(body: Mapping[str, Any]) -> tuple[Slot, ...]:
    """Return all elements of a request in the order in which the model processes them."""
    found: list[Slot] = []
    for section, path, role, items in _lists(body):
        content_seen = False
        for index, item in enumerate(items):
            kind, content = _only_member(item)
            found.append(
                Slot(
                    section=section,
                    path=path,
                    role=role,
                    index=index,
                    kind=kind,
                    content=content,
                    first=not content_seen and kind != "cachePoint",
                )
            )
            content_seen = content_seen or kind != "cachePoint"
    return tuple(found)


def has_points(found: Sequence[Slot]) -> bool:
    """Tell whether there is any cache point among the elements."""
    return any(slot.is_point for slot in found)


def without_points(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request without its cache points; the original stays as it is."""
    bare = dict(body)
    if "system" in bare:
        bare["system"] = _dropped(bare["system"])
    if "messages" in bare:
        bare["messages"] = [{**each, "content": _dropped(each["content"])} for each in bare["messages"]]
    if bare.get("toolConfig"):
        bare["toolConfig"] = {**bare["toolConfig"], "tools": _dropped(bare["toolConfig"]["tools"])}
    return bare


def render(body: Mapping[str, Any], dialect: Dialect, counter: TokenCounter) -> Prefix:
    """Return the prefixes of a request, as one model counts and caches them.

    Strict: two texts cut into blocks differently, or told by another role, are different prefixes.
    """
    found = slots(body)
    tools = _ToolPrompt.of(body, dialect)
    factor = family_factor(dialect.key, dialect.provider)
    digests = [_digest(b"prompt", _mode(body, dialect).encode(), tools.seed)]
    totals = [0]
    points: list[Point] = []
    in_messages = False
    for slot in found:
        if slot.is_point:
            points.append(Point(after=len(digests) - 1, ttl=slot.content.get("ttl", "5m")))
            continue
        content = _digest(slot.kind.encode(), _payload(slot))
        cost = ceil(counter.block(slot.kind, slot.content, content) * factor)
        turn = b""
        if slot.section == "messages" and not in_messages:
            in_messages = True
            cost += tools.late_tokens
            turn = tools.late_seed
        if len(digests) == 1:
            cost += tools.early_tokens
        if slot.first and slot.section == "messages":
            cost += _MESSAGE_TOKENS
        label = f"{slot.section}/{slot.role}/{slot.first}".encode()
        digests.append(_digest(digests[-1], label, turn, content))
        totals.append(totals[-1] + cost)
    return Prefix(digests=tuple(digests), totals=tuple(totals), points=tuple(points))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ToolPrompt:
    """The instructions on tool use that a model gets besides the tools, and what depends on toolChoice.

    Recorded: Claude reads tools and system again after another toolChoice and shows about 330 tokens
    beside them as fresh (380 when a call is forced); Nova writes the whole prefix again.
    """

    seed: bytes = b""
    early_tokens: int = 0
    late_seed: bytes = b""
    late_tokens: int = 0

    @classmethod
    def of(cls, body: Mapping[str, Any], dialect: Dialect) -> _ToolPrompt:
        config = part(body, "toolConfig")
        if not config.get("tools"):
            return cls()
        choice = part(config, "toolChoice") or {"auto": {}}
        if dialect.whole:
            return cls(seed=json.dumps(choice, sort_keys=True).encode(), early_tokens=350)
        forced = "auto" not in choice
        return cls(late_seed=b"forced" if forced else b"auto", late_tokens=380 if forced else 330)


def _mode(body: Mapping[str, Any], dialect: Dialect) -> str:
    """Return the settings that make another prompt on Claude: thinking, a lower effort, a reply schema.

    Measured on Sonnet 4.6: thinking `disabled` and effort `high` hit what was written without them.
    """
    if dialect.whole:
        return ""
    extra = part(body, "additionalModelRequestFields")
    thinks = part(extra, "thinking").get("type") not in (None, "disabled")
    output = part(body, "outputConfig")
    effort = output.get("effort") or part(extra, "output_config").get("effort") or "high"
    return json.dumps([thinks, effort, output.get("textFormat")], sort_keys=True)


def _lists(body: Mapping[str, Any]) -> Iterator[tuple[Section, str, str, Sequence[Mapping[str, Any]]]]:
    yield "tools", "toolConfig.tools", "", part(body, "toolConfig").get("tools") or ()
    yield "system", "system", "", body.get("system") or ()
    for position, message in enumerate(body.get("messages") or ()):
        yield "messages", f"messages.{position}.content", message["role"], message["content"]


def _only_member(item: Mapping[str, Any]) -> tuple[str, Any]:
    return next(iter(item.items())) if item else ("", None)


def _dropped(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [item for item in items if "cachePoint" not in item]


def _payload(slot: Slot) -> bytes:
    if slot.kind == "text":
        return cast("str", slot.content).encode("utf-8", errors="surrogatepass")
    return json.dumps(slot.content, sort_keys=True, separators=(",", ":")).encode()


def _digest(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for each in parts:
        digest.update(len(each).to_bytes(8, "big"))
        digest.update(each)
    return digest.digest()
