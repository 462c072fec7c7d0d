"""The counters of a reply, with exactly those members that the service sends for a model family.

After recorded replies: `inputTokens` leaves out what was read and written, `totalTokens` counts it; the
preview's names stand beside today's; Claude shows the counters even when nothing was cached, except in a
stream without a cache point; Nova shows them only with a cache point; a model without caching never does.
"""

from __future__ import annotations

from typing import Any

from bedrock_local.caching import CachePlan
from bedrock_local.models import Target

__all__ = ["usage_members"]

_ALWAYS_SHOWING = frozenset({"anthropic"})
_NO_EMPTY_WRITE = frozenset({"anthropic.claude-sonnet-5"})


def usage_members(
    target: Target, plan: CachePlan, output_tokens: int, *, streaming: bool, points: bool
) -> dict[str, Any]:
    """Return the `usage` member of a Converse reply or of a stream's metadata."""
    usage: dict[str, Any] = {
        "inputTokens": plan.fresh,
        "outputTokens": output_tokens,
        "totalTokens": plan.total + output_tokens,
        "serverToolUsage": {},
    }
    shown = points or (target.provider in _ALWAYS_SHOWING and not streaming)
    if target.facts.cache is None or not shown:
        return usage
    usage |= {"cacheReadInputTokens": plan.read, "cacheReadInputTokenCount": plan.read}
    if plan.write or target.key not in _NO_EMPTY_WRITE:
        usage |= {"cacheWriteInputTokens": plan.write, "cacheWriteInputTokenCount": plan.write}
    if points:
        usage["cacheDetails"] = [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in plan.written]
    return usage
