"""List, find, create and delete prompt routers on the control plane; resolve what a call is sent to.

Resolution happens once per process and target, is safe for threads, and survives a missing permission: then
the models may be given by the caller, else they are learned from traces, and until known no cache points go
out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from botocore.exceptions import ClientError, HTTPClientError

from bedrock_routing.accounts import scope_of
from bedrock_routing.arns import ModelRef, parse, parse_invoked
from bedrock_routing.catalog import Catalog
from bedrock_routing.errors import RouterNotFoundError
from bedrock_routing.request import member
from bedrock_routing.router_rules import RouterSpec, check_router
from bedrock_routing.turn import Target

__all__ = ["RouterDirectory", "RouterInfo"]

RouterType = Literal["custom", "default"]

_NOT_ALLOWED = frozenset({"AccessDeniedException", "UnrecognizedClientException", "UnauthorizedException"})
_PAGE = 100
_MOST_RESOLVED = 1_000
"""Targets that a process remembers: keys that rotate make new ones all the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterInfo:
    """Be one prompt router as the service describes it.

    The service lists a router as AVAILABLE even when a model behind it is gone; see `retired`.
    """

    arn: str
    name: str
    type: str
    status: str
    models: tuple[ModelRef, ...]
    fallback: ModelRef | None
    quality_difference: float | None
    """In percent; above it the larger model is used. Higher means cheaper traffic."""
    description: str | None = None

    @classmethod
    def from_wire(cls, summary: Mapping[str, Any]) -> RouterInfo:
        """Read an element of ListPromptRouters or the reply of GetPromptRouter."""
        fallback = member(summary.get("fallbackModel"), "modelArn")
        return cls(
            arn=summary["promptRouterArn"],
            name=summary["promptRouterName"],
            type=summary.get("type", "custom"),
            status=summary.get("status", "AVAILABLE"),
            models=tuple(_read(each["modelArn"]) for each in summary.get("models", ())),
            fallback=_read(fallback) if fallback else None,
            quality_difference=member(summary.get("routingCriteria"), "responseQualityDifference"),
            description=summary.get("description"),
        )

    def retired(self, catalog: Catalog) -> tuple[str, ...]:
        """Return the models behind it that have passed their end of life by the catalog."""
        facts = (catalog.find(model) for model in self.models)
        return tuple(each.id for each in facts if each is not None and each.retired)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Say what stands behind a model string."""

    ref: ModelRef
    models: tuple[ModelRef, ...]
    why: str | None = None
    """Why the service could not say it."""
    denied: bool = False
    lasting: bool = True
    """Whether a later call need not ask again."""


_resolved: dict[tuple[str, str, tuple[str, ...]], Future[Behind]] = {}
_resolving = threading.Lock()


class RouterDirectory:
    """Find out what a model string stands for, through a boto3 `bedrock` client.

    `control` is the client or a callable that makes it on first use. `scope` tells accounts and endpoints
    apart in what the process remembers.
    """

    def __init__(
        self,
        control: Any,
        *,
        catalog: Catalog | None = None,
        scope: str | None = None,
    ) -> None:
        self._control: Callable[[], Any] = control if callable(control) else lambda: control
        self.catalog = catalog or Catalog.default()
        self._scope = scope
        self._targets: dict[tuple[str, tuple[str, ...]], Target] = {}

    def list(self, type: RouterType | None = None) -> tuple[RouterInfo, ...]:  # noqa: A002 - the service's word
        """Return all prompt routers of the account and Region, page by page."""
        return tuple(self._pages(type))

    def _pages(self, kind: RouterType | None) -> Iterator[RouterInfo]:
        arguments: dict[str, Any] = {"maxResults": _PAGE, **({"type": kind} if kind else {})}
        while True:
            page = self._control().list_prompt_routers(**arguments)
            for summary in page.get("promptRouterSummaries", ()):
                yield RouterInfo.from_wire(summary)
            if not page.get("nextToken"):
                return
            arguments["nextToken"] = page["nextToken"]

    def find(self, router: str) -> RouterInfo:
        """Return a router by ARN, by name or by a default router's short form (`amazon.nova:1`).

        Raises:
            RouterNotFoundError: there is none; the message names those that exist.
        """
        ref = parse(router)
        if ref.is_router and ref.is_arn:
            return self.get(ref.raw)
        known = self.list()
        for info in known:
            if info.name == router or (
                ref.kind == "router-short-form" and info.arn.endswith(f":default-prompt-router/{ref.name}")
            ):
                return info
        raise RouterNotFoundError(router, [_shown(info) for info in known], region=self._region())

    def get(self, arn: str) -> RouterInfo:
        """Return a router by its ARN.

        Raises:
            RouterNotFoundError: the service knows no such router.
        """
        try:
            return RouterInfo.from_wire(self._control().get_prompt_router(promptRouterArn=arn))
        except ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
            raise RouterNotFoundError(arn, self._names(), region=self._region()) from error

    def create(self, spec: RouterSpec) -> RouterInfo:
        """Create a prompt router after checking the service's own rules.

        Raises:
            ConfigurationError: a rule is broken; the message says which and what is expected.
        """
        check_router(spec, self.catalog)
        reply = self._control().create_prompt_router(**spec.to_wire(self._region()))
        return self.get(reply["promptRouterArn"])

    def delete(self, router: str) -> None:
        """Delete a custom prompt router, by ARN or name; one that is already gone is no error."""
        ref = parse(router)
        arn = ref.raw if ref.is_arn else self.find(router).arn
        self._control().delete_prompt_router(promptRouterArn=arn)
        with _resolving:
            for key in [key for key, behind in _resolved.items() if _stands_for(behind, arn)]:
                del _resolved[key]
        self._targets.clear()

    def knows(self, model: str, *, models: Sequence[str] = ()) -> bool:
        """Tell whether `resolve` need not ask the service, nor wait for a call that does."""
        return (model, tuple(models)) in self._targets

    def resolve(self, model: str, *, models: Sequence[str] = ()) -> Target:
        """Return what a model string stands for, with the models that may answer.

        `models` are the caller's word for a router that may not be looked up; what the service says wins. The
        network is asked once per process, scope and string, however many threads ask at once.
        """
        key = (model, tuple(models))
        target = self._targets.get(key)
        if target is None:
            behind = self._once(*key)
            target = self.target(behind.ref, behind.models, behind.why)
            if behind.lasting:
                self._targets[key] = target
        return target

    def target(self, ref: ModelRef, models: Sequence[ModelRef], why: str | None = None) -> Target:
        """Return a target for models that are known, or a reason why they are not."""
        common = self.catalog.common(models)
        if why and not models:
            common = type(common)(cache=None, tool_choice=(), why=why)
        return Target(ref=ref, models=tuple(models), common=common)

    def _once(self, model: str, models: tuple[str, ...]) -> Behind:
        if self._scope is None:
            self._scope = scope_of(self._control())
        key = (self._scope, model, models)
        with _resolving:
            future = _resolved.get(key)
            mine = future is None
            if future is None:
                future = _resolved[key] = Future()
                while len(_resolved) > _MOST_RESOLVED:
                    del _resolved[next(iter(_resolved))]
        if mine:
            try:
                behind = self._look_up(parse(model), models)
                if not behind.lasting:
                    self._forget(key)
                future.set_result(behind)
            except BaseException as error:
                self._forget(key)
                future.set_exception(error)
        return future.result()

    def _forget(self, key: tuple[str, str, tuple[str, ...]]) -> None:
        with _resolving:
            _resolved.pop(key, None)

    def _look_up(self, ref: ModelRef, models: Sequence[str]) -> Behind:
        given = tuple(parse(each) for each in models)
        if ref.is_router and not ref.is_arn:
            info = self.find(ref.raw)
            return Behind(ref=parse(info.arn), models=info.models or given)
        if ref.is_router:
            behind = self._ask(ref, given, lambda: self.get(ref.raw).models, "bedrock:GetPromptRouter")
            if given or not behind.denied:
                return behind
            listed = self._ask(ref, given, lambda: self._listed(ref.raw), "bedrock:ListPromptRouters")
            return listed if listed.models else behind
        if ref.kind == "application-inference-profile":
            return self._ask(ref, given, lambda: self._behind_profile(ref.raw), "bedrock:GetInferenceProfile")
        return Behind(ref=ref, models=(ref,))

    def _ask(
        self,
        ref: ModelRef,
        given: tuple[ModelRef, ...],
        ask: Callable[[], tuple[ModelRef, ...]],
        permission: str,
    ) -> Behind:
        """Ask the service, or say why it could not be asked: a call by ARN does not depend on the answer."""
        try:
            return Behind(ref=ref, models=ask() or given)
        except RouterNotFoundError:
            raise
        except ClientError as error:
            code = _code(error)
            denied, lasting = code in _NOT_ALLOWED, code in _NOT_ALLOWED
            why = f"{permission} is not allowed" if denied else f"{permission} failed with {code}"
        except Exception as error:  # a gateway for the runtime alone answers with anything, or not at all
            denied, lasting = False, True
            why = f"the control plane cannot be reached ({type(error).__name__})"
        why = f"the models behind it are not known: {why} (give their ids; else they are learned from traces)"
        return Behind(ref=ref, models=given, why=why, denied=denied, lasting=lasting)

    def _listed(self, arn: str) -> tuple[ModelRef, ...]:
        return next((info.models for info in self._pages(None) if info.arn == arn), ())

    def _behind_profile(self, arn: str) -> tuple[ModelRef, ...]:
        reply = self._control().get_inference_profile(inferenceProfileIdentifier=arn)
        unique = {
            parse(each["modelArn"]).model_id: parse(each["modelArn"]) for each in reply.get("models", ())
        }
        return tuple(unique.values())

    def _names(self) -> list[str]:
        try:
            return [_shown(info) for info in self._pages(None)]
        except (ClientError, HTTPClientError):
            return []

    def _region(self) -> str:
        return str(self._control().meta.region_name)


def _stands_for(behind: Future[Behind], arn: str) -> bool:
    return behind.done() and behind.exception() is None and behind.result().ref.raw == arn


def _read(arn: str) -> ModelRef:
    """Read a model behind a router; one of a form of the future is unknown, not an error."""
    return parse_invoked(arn) or ModelRef(raw=arn, kind="opaque-model", name=arn)


def _shown(info: RouterInfo) -> str:
    return f"{info.name!r} ({info.arn})"


def _code(error: ClientError) -> str:
    return str(member(error.response.get("Error"), "Code") or "")
