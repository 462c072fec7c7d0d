"""What is known of the models behind a model string: a router's models, or the one model itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from langchain_core.language_models import ModelProfile

from bedrock_routing import ModelRef, RoutedClient, parse

__all__ = ["ALL_TOOL_CHOICES", "Behind", "common_profile", "look_behind", "read_model", "tool_choices"]

ALL_TOOL_CHOICES = ("auto", "any", "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Hold the models that may answer; none where the caller may not look behind a router."""

    asked: str
    models: tuple[ModelRef, ...] = ()
    provider: str = ""
    """Who made all of them; empty where that is unknown or differs."""
    region: str | None = None
    """The Region that an ARN names."""

    @property
    def model_ids(self) -> tuple[str, ...]:
        """Return the ids of the models, without Region and account."""
        return tuple(ref.model_id for ref in self.models if ref.model_id is not None)

    @property
    def described(self) -> str:
        """Name the models for an error message."""
        names = ", ".join(self.model_ids)
        if not names or names == self.asked:
            return self.asked
        return f"{names} (behind {self.asked})"


def read_model(model: str) -> Behind:
    """Return what the string alone says, without asking the service."""
    ref = parse(model)
    models = () if ref.is_router or ref.model_id is None else (ref,)
    return Behind(asked=model, models=models, provider=ref.provider or "", region=ref.region)


def look_behind(client: RoutedClient, model: str) -> Behind:
    """Return the models that may answer; the client asks the service once per router.

    A service that cannot be asked leaves them unknown: the call itself will say what is wrong.
    """
    offline = read_model(model)
    if offline.models:
        return offline
    try:
        models = tuple(client.target(model).models)
    except (BotoCoreError, ClientError):
        return offline
    providers = {ref.provider for ref in models}
    provider = providers.pop() if len(providers) == 1 else None
    return replace(offline, models=models, provider=provider or offline.provider)


def tool_choices(client: RoutedClient, model: str) -> tuple[str, ...]:
    """Return the values of `tool_choice` to offer.

    Where nothing is known the service decides: leaving a forced choice out would silently change the answer.
    """
    try:
        known = tuple(client.abilities(model).tool_choice)
    except (BotoCoreError, ClientError):
        known = ()
    return known or ALL_TOOL_CHOICES


def common_profile(profiles: Sequence[ModelProfile]) -> ModelProfile:
    """Return what every one of the profiles promises: the smaller limit, and only common abilities."""
    if not profiles or not all(profiles):
        return {}
    common: dict[str, Any] = dict(profiles[0])
    for profile in profiles[1:]:
        other: dict[str, Any] = dict(profile)
        common = {key: _weaker(value, other[key]) for key, value in common.items() if key in other}
    return ModelProfile(**{key: value for key, value in common.items() if value is not None})


def _weaker(one: Any, other: Any) -> Any:
    if isinstance(one, bool) and isinstance(other, bool):
        return one and other
    if isinstance(one, int) and isinstance(other, int):
        return min(one, other)
    return one if one == other else None
