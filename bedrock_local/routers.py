"""Prompt routers: the default ones, and those that are created; with the service's rules for creation.

Rules beyond the service model, from live tests of 2026-03 and from the page on prompt routing: two models
of one supported family, the fallback among them, a threshold in steps of five. A relaxed book takes any
models.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from bedrock_local.errors import ServiceError, validation
from bedrock_local.models import ModelBook, short_id
from bedrock_routing.arns import parse
from bedrock_routing.catalog import Catalog

__all__ = ["Router", "RouterBook"]

_NAME = re.compile(r"(?:[0-9a-zA-Z][ _-]?)+")
_DESCRIPTION = re.compile(r"(?:[0-9a-zA-Z:.][ _-]?)+")
_STEP = 5
_MODELS = 2
_MOST_TAGS = 50
_CREATED = "2025-04-22T00:00:00Z"
_UNSUPPORTED = "Prompt routing is not supported for the specified model identifier"
_SUPPORTED_PAIRS: dict[str, str] = {
    "amazon.nova-lite": "nova",
    "amazon.nova-pro": "nova",
    "anthropic.claude-3-haiku-20240307": "claude",
    "anthropic.claude-3-5-haiku-20241022": "claude",
    "anthropic.claude-3-5-sonnet-20240620": "claude",
    "anthropic.claude-3-5-sonnet-20241022": "claude",
    "meta.llama3-1-8b-instruct": "llama",
    "meta.llama3-1-70b-instruct": "llama",
    "meta.llama3-2-11b-instruct": "llama",
    "meta.llama3-2-90b-instruct": "llama",
    "meta.llama3-3-70b-instruct": "llama",
}
"""Models that AWS routes between, and their family."""

_DEFAULTS: tuple[tuple[str, str, str, float, tuple[str, str]], ...] = (
    (
        "anthropic.claude:1",
        "Anthropic Prompt Router",
        "Routes requests among models in the Claude family",
        0.26,
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
    ),
    (
        "meta.llama:1",
        "Meta Prompt Router",
        "Routes requests among models in the LLaMA family",
        0.0,
        ("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-70b-instruct-v1:0"),
    ),
    (
        "amazon.nova:1",
        "Nova Prompt Router",
        "Routes requests among models in the Nova family",
        0.0,
        ("amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Describe one prompt router; models and fallback are ARNs."""

    arn: str
    name: str
    description: str | None
    models: tuple[str, ...]
    fallback: str
    threshold: float
    kind: Literal["default", "custom"]
    created: str = _CREATED

    def summary(self) -> dict[str, Any]:
        """Return the router as the control plane shows it."""
        shown: dict[str, Any] = {
            "promptRouterName": self.name,
            "routingCriteria": {"responseQualityDifference": self.threshold},
            "promptRouterArn": self.arn,
            "models": [{"modelArn": each} for each in self.models],
            "fallbackModel": {"modelArn": self.fallback},
            "status": "AVAILABLE",
            "type": self.kind,
            "createdAt": self.created,
            "updatedAt": self.created,
        }
        return shown if self.description is None else {**shown, "description": self.description}


class RouterBook:
    """Keep the routers of one account and Region; thread-safe."""

    def __init__(self, *, region: str, account: str, models: ModelBook) -> None:
        self._region = region
        self._account = account
        self._models = models
        self._lock = threading.Lock()
        self._by_token: dict[str, tuple[Mapping[str, Any], str]] = {}
        self._routers = {router.arn: router for router in map(self._default, _DEFAULTS)}

    def arn(self, short: str) -> str:
        """Return the ARN of a default router by its short form, or of any router by its name."""
        with self._lock:
            for router in self._routers.values():
                if short in (router.name, router.arn) or router.arn.endswith(f"/{short}"):
                    return router.arn
        known = ", ".join(repr(router.name) for router in self._routers.values())
        raise LookupError(f"no router {short!r}; there are {known}")

    def all(self, kind: str | None = None) -> list[Router]:
        """Return the routers, the default ones first."""
        with self._lock:
            return [router for router in self._routers.values() if kind in (None, router.kind)]

    def find(self, arn: str) -> Router:
        """Return a router, or raise the 404."""
        with self._lock:
            router = self._routers.get(arn)
        if router is None:
            raise ServiceError("ResourceNotFoundException", f"Prompt router {arn} was not found.")
        return router

    def delete(self, arn: str) -> None:
        """Forget a custom router; deleting twice is fine, deleting a default router is refused."""
        with self._lock:
            router = self._routers.get(arn)
            if router is not None and router.kind == "default":
                raise validation("Default prompt routers cannot be deleted.")
            self._routers.pop(arn, None)

    def create(self, request: Mapping[str, Any], *, relaxed: bool = False) -> str:
        """Make a router from the members of a CreatePromptRouter request and return its ARN."""
        if not relaxed:
            self._check(request)
        with self._lock:
            token = request.get("clientRequestToken")
            if token is not None and token in self._by_token:
                return self._again(request, str(token))
            name = str(request["promptRouterName"])
            if any(router.name == name for router in self._routers.values()):
                raise ServiceError(
                    "ConflictException", f"A prompt router with the name {name} already exists."
                )
            router = self._made(request, name)
            self._routers[router.arn] = router
            if token is not None:
                self._by_token[str(token)] = (dict(request), router.arn)
            return router.arn

    def _again(self, request: Mapping[str, Any], token: str) -> str:
        before, arn = self._by_token[token]
        if dict(before) != dict(request):
            raise ServiceError(
                "ConflictException", "The clientRequestToken was used before with other parameters."
            )
        return arn

    def _made(self, request: Mapping[str, Any], name: str) -> Router:
        arn_id = short_id(f"{name}#{len(self._routers)}#{len(self._by_token)}")
        return Router(
            arn=f"arn:aws:bedrock:{self._region}:{self._account}:prompt-router/{arn_id}",
            name=name,
            description=request.get("description"),
            models=_arns(request["models"]),
            fallback=str(request["fallbackModel"]["modelArn"]),
            threshold=float(request["routingCriteria"]["responseQualityDifference"]),
            kind="custom",
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )

    def _default(self, row: tuple[str, str, str, float, tuple[str, str]]) -> Router:
        short, name, description, threshold, models = row
        arns = tuple(self._models.profile_arn(each) for each in models)
        return Router(
            arn=f"arn:aws:bedrock:{self._region}:{self._account}:default-prompt-router/{short}",
            name=name,
            description=description,
            models=arns,
            fallback=arns[-1],
            threshold=threshold,
            kind="default",
        )

    def _check(self, request: Mapping[str, Any]) -> None:
        for complaint in (_names(request), _threshold(request), _pair(request)):
            if complaint is not None:
                raise validation(complaint)
        if len(request.get("tags") or ()) > _MOST_TAGS:
            raise ServiceError("TooManyTagsException")


def _names(request: Mapping[str, Any]) -> str | None:
    failed = (
        "1 validation error detected: Value at '{}' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: {}"
    )
    if not _NAME.fullmatch(request["promptRouterName"]):
        return failed.format("promptRouterName", "([0-9a-zA-Z][ _-]?)+")
    if "description" in request and not _DESCRIPTION.fullmatch(request["description"]):
        return failed.format("description", "([0-9a-zA-Z:.][ _-]?)+")
    return None


def _threshold(request: Mapping[str, Any]) -> str | None:
    threshold = float(request["routingCriteria"]["responseQualityDifference"])
    return "Response quality difference must be a value multiple of 5" if threshold % _STEP else None


def _pair(request: Mapping[str, Any]) -> str | None:
    models = _arns(request["models"])
    families = {_family(each) for each in models}
    if None in families:
        return _UNSUPPORTED
    if len(set(models)) != _MODELS or len(models) != _MODELS:
        return "A prompt router must have exactly two different models"
    if len(families) != 1:
        return "The models of a prompt router must belong to the same model family"
    if request["fallbackModel"]["modelArn"] not in models:
        return "The fallback model must be one of the models of the prompt router"
    return None


def _family(arn: str) -> str | None:
    try:
        facts = Catalog.default().find(parse(arn))
    except ValueError:
        return None
    return None if facts is None else _SUPPORTED_PAIRS.get(facts.id)


def _arns(models: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(each["modelArn"]) for each in models)
