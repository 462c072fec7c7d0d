"""How long a simulated model takes. Nothing here is measured: the numbers are whatever the user sets."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Say how fast the simulated model reads a prompt and writes an answer; `None` takes no time.

    Tokens that were read from the cache cost no prompt time, written and fresh ones cost the same.
    A latency that comes out of this class is simulated; call it so wherever it is shown.
    """

    prompt_tokens_per_second: float | None = None
    output_tokens_per_second: float | None = None
    first_token_seconds: float = 0.0

    def prompt_seconds(self, tokens: int) -> float:
        """Return the time before the first token, for so many tokens that were not read from the cache."""
        reading = tokens / self.prompt_tokens_per_second if self.prompt_tokens_per_second else 0.0
        return self.first_token_seconds + reading

    def output_seconds(self, tokens: int) -> float:
        """Return the time that writing so many tokens takes."""
        return tokens / self.output_tokens_per_second if self.output_tokens_per_second else 0.0
