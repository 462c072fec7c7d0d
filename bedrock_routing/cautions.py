"""Warn once of what callers may not expect of a target: nothing is cached, or it is tuned for English."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Mapping
from typing import Any

from bedrock_routing.errors import ConfigurationError
from bedrock_routing.language import other_script
from bedrock_routing.policy import CachePolicy
from bedrock_routing.request import member, sequence
from bedrock_routing.turn import Target

__all__ = ["warn_of"]

_warned: set[str] = set()
_lock = threading.Lock()


def warn_of(target: Target, request: Mapping[str, Any], policy: CachePolicy | None) -> None:
    """Warn of what the policy and the service's documentation say; raise where the policy says so."""
    if policy is not None and target.common.cache is None:
        _warn_unsupported(policy, target)
    if target.is_router and (script := other_script(_last_text(request))):
        _warn_once(
            "script",
            f"The prompt is mostly in {script} script. AWS tunes its prompt routers for English; other "
            "languages may be routed badly (https://docs.aws.amazon.com/bedrock/latest/userguide/"
            "prompt-routing.html).",
        )


def _warn_unsupported(policy: CachePolicy, target: Target) -> None:
    message = f"No cache points for {target.arn}: {target.common.why}."
    if policy.on_unsupported == "raise":
        raise ConfigurationError(f"{message} Set on_unsupported='ignore' to call it without.")
    if policy.on_unsupported == "warn":
        _warn_once(f"unsupported {target.arn}", message)


def _warn_once(key: str, message: str) -> None:
    with _lock:
        first = key not in _warned
        _warned.add(key)
    if first:
        warnings.warn(message, UserWarning, stacklevel=_level_of_caller())


def _level_of_caller() -> int:
    """Return the stack level of the first frame outside this package, as `warnings.warn` counts."""
    level, frame = 1, inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("bedrock_routing"):
        level, frame = level + 1, frame.f_back
    return level - 1


def _last_text(request: Mapping[str, Any]) -> str:
    """Return the text of the last message, which is what a router judges."""
    last = sequence(request.get("messages"))[-1:]
    blocks = [block for message in last for block in sequence(member(message, "content"))]
    return " ".join(text for block in blocks if isinstance(text := member(block, "text"), str))
