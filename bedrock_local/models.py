"""Which model a request names: the catalog's, those a test adds, application profiles, and who is retired."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from bedrock_local.errors import END_OF_LIFE, ServiceError, invalid_model
from bedrock_routing.arns import ModelRef, parse
from bedrock_routing.catalog import Catalog, ModelFacts

__all__ = ["ModelBook", "Target", "short_id"]

_GEOGRAPHY_OF_REGION = (("us-gov-", "us-gov"), ("us-", "us"), ("eu-", "eu"), ("ap-", "apac"))
_NOT_NAMES_A_MODEL = frozenset({"router-name", "router-short-form"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Hold the model that answers, and the ARN under which a trace names it."""

    model_id: str
    arn: str
    facts: ModelFacts
    provider: str | None

    @property
    def key(self) -> str:
        """Return the model without version, as the catalog lists it."""
        return self.facts.id


class ModelBook:
    """Resolve the forms in which a model may be named, for one account and Region."""

    def __init__(
        self, *, region: str, account: str, extra: Iterable[ModelFacts] = (), revived: Iterable[str] = ()
    ) -> None:
        self._region = region
        self._account = account
        self._catalog = Catalog.default().with_models(*extra)
        self._revived = frozenset(revived)
        self._profiles: dict[str, str] = {}
        self._lock = threading.Lock()

    def read(self, text: str) -> ModelRef:
        """Read a `modelId`; names and short forms of routers are this project's own and not the service's."""
        try:
            ref = parse(text)
        except ValueError:
            raise invalid_model() from None
        if ref.kind in _NOT_NAMES_A_MODEL:
            raise invalid_model()
        return ref

    def target(self, ref: ModelRef) -> Target:
        """Return the model that a reference names, or raise as the service does; routers are none."""
        named = self._behind_profile(ref)
        facts = self._catalog.find(named)
        if facts is None or named.model_id is None:
            raise invalid_model()
        return Target(model_id=named.model_id, arn=self._arn(named), facts=facts, provider=named.provider)

    def alive(self, target: Target) -> Target:
        """Return the target, or raise the 404 of a retired model."""
        names = {target.key, target.model_id}
        if target.facts.retired and not names & self._revived:
            raise ServiceError("ResourceNotFoundException", END_OF_LIFE)
        return target

    def profile_arn(self, model: str) -> str:
        """Return the ARN by which a router refers to a model: as given, or its cross-Region profile here."""
        ref = parse(model)
        return ref.raw if ref.is_arn else self._arn(ref)

    def add_profile(self, model: str, name: str | None = None) -> str:
        """Make an application inference profile of a model and return its ARN."""
        self.target(self.read(model))
        with self._lock:
            label = name or short_id(f"{model}#{len(self._profiles)}")
            arn = f"arn:aws:bedrock:{self._region}:{self._account}:application-inference-profile/{label}"
            self._profiles[arn] = model
        return arn

    def profile_model(self, arn: str) -> str:
        """Return the model of an application profile, or raise the 404."""
        with self._lock:
            model = self._profiles.get(arn)
        if model is None:
            raise ServiceError(
                "ResourceNotFoundException", f"The requested inference profile {arn} was not found."
            )
        return model

    def _behind_profile(self, ref: ModelRef) -> ModelRef:
        if ref.kind != "application-inference-profile":
            return ref
        return parse(self.profile_model(ref.raw))

    def _arn(self, ref: ModelRef) -> str:
        if ref.is_arn:
            return ref.raw
        geography = ref.geography or self._geography()
        return f"arn:aws:bedrock:{self._region}:{self._account}:inference-profile/{geography}.{ref.model_id}"

    def _geography(self) -> str:
        fitting = (name for start, name in _GEOGRAPHY_OF_REGION if self._region.startswith(start))
        return next(fitting, "us")


def short_id(text: str) -> str:
    """Return twelve lower-case letters or digits as they stand in an ARN; the same for the same text."""
    return blake2b(text.encode(), digest_size=6).hexdigest()
