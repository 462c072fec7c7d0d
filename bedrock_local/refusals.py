"""What the service refuses about cache points and conversations, in its own words.

Texts E1 to E9 are verbatim from public reports (2026); which rule speaks first is not documented, the
order here is outermost layer first: capability, the service's own checks, the model's checks. Texts
marked as our wording were not captured anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

from bedrock_local.errors import ServiceError, validation
from bedrock_local.json_parts import part
from bedrock_local.prompt import Slot
from bedrock_routing.catalog import CacheRules, ModelFacts

__all__ = ["refuse_blank_text", "refuse_conversation", "refuse_points", "unsupported"]

_CLAUDE = "anthropic"
_FROM_MODEL = "The model returned the following errors: "
_NOTHING = "There is nothing available to cache. Please remove the invalid cache point and try again."
_REASONING = (
    "Cache point cannot be inserted after reasoning block. "
    "Please remove the invalid cache point and try again."
)
_MALFORMED = (
    "Malformed input request: #/{place}: extraneous key [cachePoint] is not permitted, "
    "please reformat your input and try again."
)
_ORDER = (
    "{place}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
    "block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
)
_TOO_MANY = "A maximum of {most} blocks with cache_control may be provided. Found {found}."
_EMPTY = "{place}: cache_control cannot be set for empty text blocks"
_BLANK = "text content blocks must contain non-whitespace text"
_BLANK_HERE = (
    "The text field in the ContentBlock object at {place} is blank. "
    "Add text to the text field, and try again."
)
_LIFETIME = "{place}.cache_control.ttl: ttl='1h' is not supported by this model"

_Marked = tuple[Slot, Slot | None, int]
"""A cache point, the block it stands after in its own list, and that block's index without cache points."""


def unsupported() -> ServiceError:
    """Return E1: the model takes no cache points. It arrives as a 403, like a missing permission."""
    return ServiceError(
        "AccessDeniedException",
        "You invoked an unsupported model or your request did not allow prompt caching. "
        "See the documentation for more information.",
    )


def refuse_points(slots: Sequence[Slot], model: ModelFacts) -> None:
    """Raise the error that the service gives for the cache points of a request, if any."""
    marked = list(_marked(slots))
    if not marked:
        return
    if model.cache is None:
        raise unsupported()
    for rule in _RULES:
        if message := rule(marked, model.cache):
            raise validation(message)


def refuse_blank_text(slots: Sequence[Slot], provider: str | None) -> None:
    """Raise the error for an empty text, or for a list of nothing but white space.

    White space beside other blocks passes, also with a cache point after it (recorded). Only Claude's wording
    comes from public logs.
    """
    for slot in slots:
        beside = [each for each in slots if each.path == slot.path and not each.is_point]
        if slot.kind == "text" and (not slot.content or all(map(_is_blank, beside))):
            if provider == _CLAUDE:
                raise validation(f"{_FROM_MODEL}{slot.section}: {_BLANK}")
            raise validation(_BLANK_HERE.format(place=f"{slot.path}.{slot.index}"))


def _is_blank(slot: Slot) -> bool:
    return slot.kind == "text" and not slot.content.strip()


def refuse_conversation(body: Mapping[str, Any], model: ModelFacts, provider: str | None) -> None:
    """Raise the error that the service gives for the turns and tools of a request, if any.

    Claude takes conversations that begin with the assistant (recorded on Sonnet 4.5); other models are held
    to the old rule.
    """
    messages = cast("Sequence[Mapping[str, Any]]", body.get("messages") or ())
    if not messages:
        raise validation(f"{_FROM_MODEL}messages: at least one message is required")
    checks = (_tool_turns,) if provider == _CLAUDE else (_turns, _tool_turns)
    for check in checks:
        if message := check(messages, body):
            raise validation(message)
    if message := _tool_choice(body, model):
        raise validation(message)


def _marked(slots: Sequence[Slot]) -> Iterator[_Marked]:
    path, before, blocks = "", None, -1
    for slot in slots:
        if slot.path != path:
            path, before, blocks = slot.path, None, -1
        if slot.is_point:
            yield slot, before, blocks
        else:
            before, blocks = slot, blocks + 1


def _orphan(marked: list[_Marked], _: CacheRules) -> str | None:
    return _NOTHING if any(before is None for _point, before, _blocks in marked) else None


def _after_reasoning(marked: list[_Marked], _: CacheRules) -> str | None:
    found = any(
        before is not None and before.kind == "reasoningContent" for _point, before, _blocks in marked
    )
    return _REASONING if found else None


def _wrong_section(marked: list[_Marked], rules: CacheRules) -> str | None:
    for point, _before, blocks in marked:
        if point.section not in rules.sections:
            return _FROM_MODEL + _MALFORMED.format(place=f"{point.path.replace('.', '/')}/{blocks}")
    return None


def _after_other_than_text(marked: list[_Marked], rules: CacheRules) -> str | None:
    if not rules.after_text_only:
        return None
    for point, before, blocks in marked:
        if before is not None and before.kind != "text":
            return _FROM_MODEL + _MALFORMED.format(place=f"{point.path.replace('.', '/')}/{blocks}")
    return None


def _too_many(marked: list[_Marked], rules: CacheRules) -> str | None:
    if len(marked) <= rules.max_points:
        return None
    return _FROM_MODEL + _TOO_MANY.format(most=rules.max_points, found=len(marked))


def _after_document(marked: list[_Marked], _: CacheRules) -> str | None:
    for point, before, _blocks in marked:
        if before is not None and _not_markable(before):
            return f"{_FROM_MODEL}{point.path}.{point.index}.type: Field required"
    return None


def _not_markable(slot: Slot) -> bool:
    if slot.kind == "video":
        return True
    if slot.kind != "document":
        return False
    cited = part(slot.content, "citations").get("enabled", False)
    return slot.content.get("format", "txt") != "pdf" and not cited


def _after_empty_text(marked: list[_Marked], _: CacheRules) -> str | None:
    for point, before, blocks in marked:
        if before is not None and before.kind == "text" and not before.content:
            return _FROM_MODEL + _EMPTY.format(place=f"{_claude_path(point)}.{blocks}.text")
    return None


def _unknown_lifetime(marked: list[_Marked], rules: CacheRules) -> str | None:
    for point, _before, blocks in marked:
        if point.content.get("ttl", "5m") not in rules.ttls:
            return _FROM_MODEL + _LIFETIME.format(place=f"{_claude_path(point)}.{blocks}")
    return None


def _longer_after_shorter(marked: list[_Marked], _: CacheRules) -> str | None:
    shorter = False
    for point, _before, blocks in marked:
        ttl = point.content.get("ttl", "5m")
        if ttl == "1h" and shorter:
            return _FROM_MODEL + _ORDER.format(place=f"{_claude_path(point)}.{blocks}")
        shorter = shorter or ttl == "5m"
    return None


def _claude_path(point: Slot) -> str:
    """Return the list as the model behind the service names it: `tools`, not `toolConfig.tools`."""
    return point.path.removeprefix("toolConfig.")


_RULES: tuple[Callable[[list[_Marked], CacheRules], str | None], ...] = (
    _orphan,
    _after_reasoning,
    _wrong_section,
    _after_other_than_text,
    _after_document,
    _too_many,
    _after_empty_text,
    _unknown_lifetime,
    _longer_after_shorter,
)


def _turns(messages: Sequence[Mapping[str, Any]], _body: Mapping[str, Any]) -> str | None:
    roles = [message["role"] for message in messages if message["role"] != "system"]
    if roles and roles[0] != "user":
        return (
            "A conversation must start with a user message. "
            "Try again with a conversation that starts with a user message."
        )
    if any(before == after for before, after in pairwise(roles)):
        return (
            "A conversation must alternate between user and assistant roles. Make sure the conversation "
            "alternates between user and assistant roles and try again."
        )
    return None


def _tool_turns(messages: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> str | None:
    asked: list[str] = []
    for position, message in enumerate(messages):
        results = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        given = results if message["role"] == "user" else []
        if missing := [each for each in asked if each not in given]:
            ids = ", ".join(missing)
            place = f"messages.{position}.content"
            return f"Expected toolResult blocks at {place} for the following Ids: {ids}"
        if len(given) > len(asked):
            return (
                f"The number of toolResult blocks at messages.{position}.content exceeds the number of "
                "toolUse blocks of previous turn."
            )
        calls = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        asked = [call for call in calls if call not in results]
        if (given or calls) and not body.get("toolConfig"):
            return "The toolConfig field must be defined when using toolUse and toolResult content blocks."
    return None


def _tool_choice(body: Mapping[str, Any], model: ModelFacts) -> str | None:
    wanted = next(iter(part(body, "toolConfig", "toolChoice")), "auto")
    if wanted == "auto" or not model.tool_choice or wanted in model.tool_choice:
        return None
    field = f"toolConfig.toolChoice.{wanted}"
    return f"This model doesn't support the {field} field. Remove {field} and try again."
