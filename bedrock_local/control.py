"""The control plane: prompt routers, inference profiles and the list of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bedrock_local.errors import validation
from bedrock_local.models import ModelBook
from bedrock_local.routers import RouterBook
from bedrock_local.validation import check_request
from bedrock_routing.catalog import Catalog

__all__ = ["ControlPlane"]

_PAGE = 100
_CREATED = "2025-04-22T00:00:00Z"


class ControlPlane:
    """Serve the operations of the service `bedrock` that routers need."""

    def __init__(self, *, region: str, routers: RouterBook, models: ModelBook) -> None:
        self._region = region
        self._routers = routers
        self._models = models
        self._operations: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "CreatePromptRouter": self._create,
            "GetPromptRouter": self._get,
            "ListPromptRouters": self._list,
            "DeletePromptRouter": self._delete,
            "GetInferenceProfile": self._profile,
            "ListFoundationModels": self._foundation_models,
        }

    def handle(self, operation: str, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the reply to one operation, or raise what the service would answer."""
        check_request("bedrock", operation, members)
        return self._operations[operation](members)

    def _create(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"promptRouterArn": self._routers.create(members)}

    def _get(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._routers.find(members["promptRouterArn"]).summary()

    def _delete(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        self._routers.delete(members["promptRouterArn"])
        return {}

    def _list(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        routers = self._routers.all(members.get("type"))
        start = _offset(members.get("nextToken"))
        end = start + int(members.get("maxResults", _PAGE))
        page = {"promptRouterSummaries": [router.summary() for router in routers[start:end]]}
        return page if end >= len(routers) else {**page, "nextToken": f"routers-{end}"}

    def _profile(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = members["inferenceProfileIdentifier"]
        ref = self._models.read(wanted)
        application = ref.kind == "application-inference-profile"
        target = self._models.target(ref)
        model = f"arn:aws:bedrock:{self._region}::foundation-model/{target.model_id}"
        arn = ref.raw if application else self._models.profile_arn(wanted)
        profile_id = arn.rpartition("/")[2]
        return {
            "inferenceProfileName": profile_id,
            "inferenceProfileArn": arn,
            "inferenceProfileId": profile_id,
            "models": [{"modelArn": model}],
            "status": "ACTIVE",
            "type": "APPLICATION" if application else "SYSTEM_DEFINED",
            "createdAt": _CREATED,
            "updatedAt": _CREATED,
        }

    def _foundation_models(self, _members: Mapping[str, Any]) -> Mapping[str, Any]:
        listed = [facts for facts in Catalog.default().models if not facts.retired]
        return {
            "modelSummaries": [
                {
                    "modelArn": f"arn:aws:bedrock:{self._region}::foundation-model/{facts.id}",
                    "modelId": facts.id,
                    "responseStreamingSupported": True,
                    "modelLifecycle": {"status": facts.lifecycle.upper()},
                }
                for facts in listed
            ]
        }


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    label, _, number = token.partition("-")
    if label != "routers" or not number.isdigit():
        raise validation("The provided nextToken is invalid.")
    return int(number)
