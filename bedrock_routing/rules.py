"""Where a cache point may stand, and what a refusal of one means.

Rules of placement, with the service's own errors (E1-E9 of the facts that the local Bedrock imitates):
never first in its list, never after reasoning, never inside a tool result, straight after text only (Nova),
not right after a document that is not a PDF, never twice in a row, and not clearly below the minimum: a point
on a short prefix is silently ignored, so a doubtful one may go out.
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html (read 2026-11-23)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bedrock_routing.catalog import CacheRules, Section
from bedrock_routing.request import Block, member, most_tokens

__all__ = ["ALL_SECTIONS", "Refusal", "is_moved", "read_refusal", "why_not_after"]

ALL_SECTIONS: tuple[Section, ...] = ("tools", "system", "messages")
_NOTHING_AFTER = {
    "reasoningContent": "not after reasoning",
    "video": "not right after a video",
    "cachePoint": "not right after another cache point",
}


def why_not_after(block: Block, rules: CacheRules, *, tokens: int) -> str | None:
    """Return why no point may follow `block`, or `None` where it may.

    `tokens` is the estimated size of the whole prefix up to the point: tools, system and messages together.
    """
    if block.section not in rules.sections:
        return f"these models take no cache point in {block.section}"
    if why := _NOTHING_AFTER.get(block.kind):
        return why
    if block.kind == "text" and not str(block.value).strip():
        return "not after an empty text"
    if is_moved(block):
        return "not right after a document that is neither a PDF nor cited"
    if rules.after_text_only and block.kind != "text":
        return f"these models take a cache point only after text, not after {block.kind}"
    if most_tokens(tokens) < rules.min_tokens:
        return f"about {tokens} tokens, below the minimum of {rules.min_tokens}"
    return None


def is_moved(block: Block) -> bool:
    """Tell whether Claude is shown this block at the front of its message, unless a point stands before it.

    Documents that are neither PDFs nor cited are turned into text, and moved
    (https://github.com/strands-agents/harness-sdk/issues/1966, read 2026-11-23). So a point between the
    question and such a document makes another prompt of it.
    """
    return block.kind == "document" and not _cacheable_document(block)


def _cacheable_document(block: Block) -> bool:
    citations = member(block.value, "citations")
    return member(block.value, "format") == "pdf" or bool(member(citations, "enabled"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Say that the service refused cache points, in which sections, and in its own words."""

    sections: tuple[Section, ...]
    message: str
    lasting: bool
    """Whether the model takes no points there at all; else one point stood in a wrong place."""


_UNSUPPORTED = re.compile(r"did not allow prompt caching|do not have access to explicit prompt caching")
_POINTER = re.compile(r"#/(toolConfig|system|messages)\b\S*: extraneous key \[cachePoint\]")
_MISPLACED = re.compile(
    r"nothing available to cache|cache point cannot be inserted|cache_control|cachePoint", re.IGNORECASE
)
_AFTER_DOCUMENT = re.compile(r"messages\.\d+\.content\.\d+\.type: Field required")
_SECTION_OF_POINTER: dict[str, Section] = {"toolConfig": "tools", "system": "system", "messages": "messages"}
_CODES = frozenset({"AccessDeniedException", "ValidationException"})


def read_refusal(code: str, message: str, sent: Sequence[Section]) -> Refusal | None:
    """Tell whether an error refuses the cache points that were sent, rather than the call.

    A model without caching answers with an AccessDeniedException, which must not be taken for missing
    rights. `sent` names the sections that carried points; without any, nothing can have been refused.
    """
    if code not in _CODES or not sent:
        return None
    if _UNSUPPORTED.search(message):
        return Refusal(sections=ALL_SECTIONS, message=message, lasting=True)
    if code != "ValidationException":
        return None
    if pointer := _POINTER.search(message):
        return Refusal(sections=(_SECTION_OF_POINTER[pointer[1]],), message=message, lasting=True)
    if _MISPLACED.search(message):
        named = _named_sections(message) or tuple(dict.fromkeys(sent))
        return Refusal(sections=named, message=message, lasting=False)
    if "messages" in sent and _AFTER_DOCUMENT.search(message):
        return Refusal(sections=("messages",), message=message, lasting=False)
    return None


def _named_sections(message: str) -> tuple[Section, ...]:
    """Return the section whose place the message names, as in `messages.0.content.1.text: ...`."""
    return tuple(section for section in ALL_SECTIONS if re.search(rf"\b{section}\.\d+", message))
