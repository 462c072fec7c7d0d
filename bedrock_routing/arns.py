"""Read model ids, inference-profile ids and ARNs, and prompt-router ARNs.

The only module that looks inside such a string. Rules:

1. Nothing here knows what a model can do; that is the catalog's job.
2. `ModelRef.name` is always enough to call the service with; `ModelRef.model_id` is the bare model.
3. A string that cannot be any of the forms is a `ConfigurationError` that shows the forms.

Forms after the botocore service model (`ConversationalModelId`, read 2026-11-23).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from bedrock_routing.errors import ConfigurationError

__all__ = ["FORMS", "ModelRef", "RefKind", "parse", "parse_invoked"]

RefKind = Literal[
    "model",
    "profile",
    "foundation-model",
    "inference-profile",
    "application-inference-profile",
    "default-prompt-router",
    "prompt-router",
    "router-short-form",
    "router-name",
    "opaque-model",
]
"""What a string names. `opaque-model`: custom, imported, provisioned models, prompts and endpoints."""

_ACCOUNT = "arn:aws:bedrock:us-east-1:123412341234:"

FORMS: dict[str, str] = {
    "model id": "amazon.nova-lite-v1:0",
    "cross-Region profile id": "us.amazon.nova-lite-v1:0",
    "foundation-model ARN": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    "inference-profile ARN": _ACCOUNT + "inference-profile/us.amazon.nova-lite-v1:0",
    "application profile ARN": _ACCOUNT + "application-inference-profile/abcd1234efgh",
    "default router ARN": _ACCOUNT + "default-prompt-router/amazon.nova:1",
    "custom router ARN": _ACCOUNT + "prompt-router/abcd1234efgh",
    "router's short form": "amazon.nova:1",
    "router's name": "Nova Prompt Router",
}
"""One example of each accepted form, as error messages show them."""

_GEOGRAPHIES = (
    "us-gov",
    "us",
    "eu",
    "apac",
    "amer",
    "ap",
    "jp",
    "au",
    "ca",
    "sa",
    "uk",
    "in",
    "me",
    "global",
)
_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z0-9-]+)?):(?P<service>bedrock|sagemaker):(?P<region>[a-z0-9-]{1,20}):"
    r"(?P<account>\d{12})?:(?P<resource>[a-z-]+)/(?P<name>.+)"
)
_ID = re.compile(
    rf"(?:(?P<geography>{'|'.join(_GEOGRAPHIES)})\.)?(?P<model>[a-z0-9-]+\.[A-Za-z0-9][A-Za-z0-9.:-]*)"
)
_SHORT_ROUTER = re.compile(r"[a-z]+\.[a-z]+:\d+")
_ROUTER_NAME = re.compile(r"(?:[0-9a-zA-Z][ _-]?){1,64}")
_NAME_CHARACTERS = re.compile(r"[a-zA-Z0-9\-:.]+")
_VERSION = re.compile(r"(?:-v\d+)?(?::\d+)?(?::[0-9a-z]+)?$")
_NEEDS_ACCOUNT = frozenset(
    {"inference-profile", "application-inference-profile", "default-prompt-router", "prompt-router"}
)
_ROUTERS = frozenset({"default-prompt-router", "prompt-router", "router-short-form", "router-name"})
_NAMES_A_MODEL = frozenset({"foundation-model", "inference-profile"})
_OPAQUE = frozenset(
    {"custom-model", "imported-model", "provisioned-model", "custom-model-deployment", "prompt", "endpoint"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Hold what one model string says, without asking the service."""

    raw: str
    """The string as it was given; it is what goes out as `modelId`."""
    kind: RefKind
    name: str
    """The part after the slash of an ARN, else the string itself."""
    partition: str | None = None
    region: str | None = None
    account: str | None = None
    geography: str | None = None
    """`us`, `eu`, `global` ... of a cross-Region profile, else `None`."""
    model_id: str | None = None
    """The bare model (`amazon.nova-lite-v1:0`); `None` where the id hides it."""

    @property
    def is_router(self) -> bool:
        """Tell whether the string names a prompt router, in any of its four forms."""
        return self.kind in _ROUTERS

    @property
    def is_arn(self) -> bool:
        """Tell whether the string is an ARN."""
        return self.partition is not None

    @property
    def key(self) -> str | None:
        """Return the model without its version (`amazon.nova-lite`), as the catalog lists it."""
        return None if self.model_id is None else _VERSION.sub("", self.model_id, count=1)

    @property
    def cache_key(self) -> str:
        """Return the name under which what this model has cached is kept, in whatever form it was named."""
        return self.model_id or self.name

    @property
    def provider(self) -> str | None:
        """Return who made the model (`amazon`), or the router's family; `None` where the id hides it."""
        if self.kind in ("default-prompt-router", "router-short-form"):
            return self.name.partition(".")[0]
        return None if self.model_id is None else self.model_id.partition(".")[0]


@lru_cache(maxsize=1024)
def parse(text: str) -> ModelRef:
    """Read any form that Bedrock, or this project, takes as a model.

    A percent-encoded ARN is accepted. A string without a dot and a colon is taken for a router's name.

    Raises:
        ConfigurationError: the string is none of the forms; the message shows them.
    """
    plain = text.strip()
    decoded = unquote(plain) if "%" in plain else plain
    if decoded.startswith("arn:"):
        return _parse_arn(decoded)
    if _SHORT_ROUTER.fullmatch(decoded):
        return ModelRef(raw=decoded, kind="router-short-form", name=decoded)
    if match := _ID.fullmatch(decoded):
        geography = match["geography"]
        kind: RefKind = "profile" if geography else "model"
        return ModelRef(raw=decoded, kind=kind, name=decoded, geography=geography, model_id=match["model"])
    if len(decoded) <= 64 and _ROUTER_NAME.fullmatch(decoded):  # noqa: PLR2004 - the service's limit
        return ModelRef(raw=decoded, kind="router-name", name=decoded)
    raise _not_a_model(text)


def parse_invoked(text: str) -> ModelRef | None:
    """Read the model that a trace names, or return `None`: an odd trace never fails a finished call."""
    try:
        return parse(text)
    except ConfigurationError:
        return None


def _parse_arn(text: str) -> ModelRef:
    match = _ARN.fullmatch(text)
    if match is None or not _NAME_CHARACTERS.fullmatch(match["name"].replace("/", "")):
        raise _not_a_model(text)
    resource, name = match["resource"], match["name"]
    where = {"partition": match["partition"], "region": match["region"], "account": match["account"]}
    if resource in _NEEDS_ACCOUNT and match["account"] is None:
        raise _not_a_model(text, f"a {resource} ARN carries the 12-digit account number")
    if resource in _NAMES_A_MODEL:
        inner = _ID.fullmatch(name)
        if inner is None:
            raise _not_a_model(text, f"{name!r} is not a model id")
        kind: RefKind = "foundation-model" if resource == "foundation-model" else "inference-profile"
        return ModelRef(
            raw=text, kind=kind, name=name, geography=inner["geography"], model_id=inner["model"], **where
        )
    if resource in _NEEDS_ACCOUNT:
        return ModelRef(raw=text, kind=_as_kind(resource), name=name, **where)
    if resource in _OPAQUE:
        return ModelRef(raw=text, kind="opaque-model", name=name, **where)
    raise _not_a_model(text, f"{resource!r} is not a kind of model or prompt router")


def _as_kind(resource: str) -> RefKind:
    kinds: dict[str, RefKind] = {
        "application-inference-profile": "application-inference-profile",
        "default-prompt-router": "default-prompt-router",
        "prompt-router": "prompt-router",
    }
    return kinds[resource]


def _not_a_model(text: str, why: str | None = None) -> ConfigurationError:
    shown = text if len(text) <= 200 else f"{text[:200]}..."  # noqa: PLR2004 - enough to recognise it
    because = f" ({why})" if why else ""
    forms = "\n".join(f"  {name}: {example}" for name, example in FORMS.items())
    return ConfigurationError(f"{shown!r} is not a model or prompt router{because}. Accepted forms:\n{forms}")
