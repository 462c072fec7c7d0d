"""The tokens of one call, read from the wire and checked.

On the wire `inputTokens` leaves cached tokens out: the whole prompt is input + read + written. Reads can
appear with no cache point sent (implicit caching), so nothing here depends on what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bedrock_routing.request import member

__all__ = ["Usage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Count the tokens of one call; the parts of the prompt are disjoint."""

    fresh: int
    """Prompt tokens neither read from the cache nor written to it."""
    read: int = 0
    write_5m: int = 0
    write_1h: int = 0
    output: int = 0

    @property
    def write(self) -> int:
        """Return all tokens written to the cache."""
        return self.write_5m + self.write_1h

    @property
    def prompt(self) -> int:
        """Return the whole prompt."""
        return self.fresh + self.read + self.write

    @property
    def hit_ratio(self) -> float | None:
        """Return the share of the prompt that was read from the cache; `None` for an empty prompt."""
        return self.read / self.prompt if self.prompt else None

    @classmethod
    def from_wire(cls, usage: Mapping[str, Any] | None) -> Usage | None:
        """Read the `usage` member of a reply; `None` where it is missing or has no input count.

        Missing cache members mean that the model has no cache. Written tokens that `cacheDetails` does not
        explain count as 5m, the service's default lifetime.
        """
        fresh = _count(usage, "inputTokens")
        if fresh is None:
            return None
        written = _count(usage, "cacheWriteInputTokens") or 0
        details = member(usage, "cacheDetails") or ()
        hour = sum(_count(each, "inputTokens") or 0 for each in details if member(each, "ttl") == "1h")
        hour = min(hour, written)
        return cls(
            fresh=fresh,
            read=_count(usage, "cacheReadInputTokens") or 0,
            write_5m=written - hour,
            write_1h=hour,
            output=_count(usage, "outputTokens") or 0,
        )


def _count(value: object, key: str) -> int | None:
    found = member(value, key)
    return found if isinstance(found, int) and found >= 0 else None
