"""One Converse call: who answers, what is refused, what the cache gives, what the reply is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bedrock_local.answering import Answer, answer
from bedrock_local.answers.base import AnswerEngine
from bedrock_local.caching import PromptCache
from bedrock_local.clock import Clock
from bedrock_local.errors import validation
from bedrock_local.models import ModelBook, Target
from bedrock_local.pace import Pace
from bedrock_local.prompt import Dialect, has_points, render, slots, without_points
from bedrock_local.refusals import refuse_blank_text, refuse_conversation, refuse_points, unsupported
from bedrock_local.routers import RouterBook
from bedrock_local.routing import Chooser
from bedrock_local.tokens import TokenCounter, family_factor
from bedrock_local.usage import usage_members
from bedrock_local.validation import check_request
from bedrock_routing.arns import ModelRef

__all__ = ["Call", "Converser", "PointsUnderRouter"]

PointsUnderRouter = Literal["pass", "strip", "refuse"]
"""What a router does with cache points, which AWS does not document: pass them on, drop them, refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Hold one call that was answered."""

    target: Target
    answer: Answer
    usage: Mapping[str, Any]
    surroundings: Mapping[str, Any]
    """`metrics` and, where they apply, `trace`, `performanceConfig`, `serviceTier`."""
    extra_fields: Mapping[str, Any] | None

    def reply(self) -> dict[str, Any]:
        """Return the body of a Converse reply."""
        message = {"role": "assistant", "content": list(self.answer.content)}
        extra = {} if self.extra_fields is None else {"additionalModelResponseFields": self.extra_fields}
        return {
            "output": {"message": message},
            "stopReason": self.answer.stop_reason,
            "usage": self.usage,
            **self.surroundings,
            **extra,
        }

    def metadata(self) -> dict[str, Any]:
        """Return the last event of a stream."""
        return {"usage": self.usage, **self.surroundings}

    def stop_members(self) -> dict[str, Any]:
        """Return what stands beside the stop reason of a stream."""
        return {} if self.extra_fields is None else {"additionalModelResponseFields": self.extra_fields}


class Converser:
    """Answer Converse and CountTokens requests; thread-safe as far as the answer engine is."""

    def __init__(
        self,
        *,
        scope: str,
        models: ModelBook,
        routers: RouterBook,
        chooser: Chooser,
        cache: PromptCache,
        counter: TokenCounter,
        engine: AnswerEngine,
        clock: Clock,
        pace: Pace,
        latency: float,
        points_under_router: PointsUnderRouter,
    ) -> None:
        self._scope = scope
        self._models = models
        self._routers = routers
        self._chooser = chooser
        self._cache = cache
        self._counter = counter
        self._engine = engine
        self._clock = clock
        self._pace = pace
        self._latency = latency
        self._points_under_router: PointsUnderRouter = points_under_router

    def converse(self, model_id: str, body: Mapping[str, Any], *, streaming: bool) -> Call:
        """Answer one request, or raise what the service would answer."""
        began, arrived = self._clock.now(), self._cache.arrive()
        check_request("bedrock-runtime", "Converse", {**body, "modelId": model_id})
        ref = self._models.read(model_id)
        target = self._target(ref, body)
        sent = self._admitted(ref, body)
        found = slots(sent)
        refuse_conversation(sent, target.facts, target.provider)
        refuse_points(found, target.facts)
        refuse_blank_text(found, target.provider)
        dialect = Dialect(key=target.key, provider=target.provider, whole=_remembers_whole(target))
        prefix = render(sent, dialect, self._counter)
        plan = self._cache.plan(f"{self._scope}/{target.key}", prefix, target.facts.cache, arrived)
        self._clock.sleep(self._latency + self._pace.prompt_seconds(plan.fresh + plan.write))
        given = answer(self._engine, sent, self._counter, family_factor(target.key, target.provider))
        self._cache.commit(plan)
        writing = self._pace.output_seconds(given.tokens)
        if not streaming:
            self._clock.sleep(writing)
        latency = self._clock.now() - began + (writing if streaming else 0.0)
        return Call(
            target=target,
            answer=given,
            usage=usage_members(target, plan, given.tokens, streaming=streaming, points=has_points(found)),
            surroundings=_surroundings(ref, target, sent, latency),
            extra_fields={} if sent.get("additionalModelResponseFieldPaths") else None,
        )

    def count(self, model_id: str, body: Mapping[str, Any]) -> int:
        """Return the tokens of a prompt: of Claude only, by its own id or ARN, as the service does."""
        check_request("bedrock-runtime", "CountTokens", {**body, "modelId": model_id})
        ref = self._models.read(model_id)
        target = self._models.target(ref)
        if ref.kind not in ("model", "foundation-model") or target.provider != "anthropic":
            raise validation("The provided model doesn't support counting tokens.")
        wanted = body["input"]
        if "converse" not in wanted:
            raise validation("The local Bedrock counts tokens of Converse requests only.")
        dialect = Dialect(key=target.key, provider=target.provider, whole=_remembers_whole(target))
        return render(wanted["converse"], dialect, self._counter).tokens

    def _target(self, ref: ModelRef, body: Mapping[str, Any]) -> Target:
        if not ref.is_router:
            return self._models.alive(self._models.target(ref))
        router = self._routers.find(ref.raw)
        chosen = self._chooser.choose(router.arn, router.models, router.fallback, router.threshold, body)
        return self._models.alive(self._models.target(self._models.read(chosen)))

    def _admitted(self, ref: ModelRef, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not ref.is_router or self._points_under_router == "pass" or not has_points(slots(body)):
            return body
        if self._points_under_router == "refuse":
            raise unsupported()
        return without_points(body)


def _surroundings(ref: ModelRef, target: Target, body: Mapping[str, Any], latency: float) -> dict[str, Any]:
    around: dict[str, Any] = {"metrics": {"latencyMs": round(latency * 1000)}}
    if ref.is_router:
        around["trace"] = {"promptRouter": {"invokedModelId": target.arn}}
    return around | {name: body[name] for name in ("performanceConfig", "serviceTier") if name in body}


def _remembers_whole(target: Target) -> bool:
    """Tell whether any change of toolChoice makes a new prompt: so recorded on Nova."""
    return target.facts.cache is not None and target.facts.cache.after_text_only
