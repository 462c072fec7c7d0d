"""How many tokens of prompt and answer a model takes at once, by the offline snapshot of `genai-prices`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from genai_prices import Usage, calc_price

from bedrock_routing.arns import ModelRef

__all__ = ["context_window"]


def context_window(models: Iterable[ModelRef]) -> int | None:
    """Return the tokens that every one of the models takes, or `None` where that is not known."""
    windows = [None if each.model_id is None else _window(each.name) for each in models]
    known = [each for each in windows if each is not None]
    return min(known) if known and len(known) == len(windows) else None


@lru_cache(maxsize=512)
def _window(name: str) -> int | None:
    try:
        return calc_price(Usage(input_tokens=1), model_ref=name, provider_id="aws").model.context_window
    except (LookupError, ValueError):
        return None
