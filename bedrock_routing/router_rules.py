"""What the service asks of a new prompt router, checked before it is asked.

botocore checks neither patterns nor maximums, and some rules stand in no shape at all: the quality difference
is a percentage in steps of 5, exactly two models of one provider, the fallback is one of them.
https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-routing.html (read 2026-11-23); live tests 2026-03
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bedrock_routing.arns import ModelRef, parse
from bedrock_routing.catalog import Catalog
from bedrock_routing.errors import ConfigurationError

__all__ = ["RouterSpec", "check_router"]

_NAME = re.compile(r"([0-9a-zA-Z][ _-]?)+")
_DESCRIPTION = re.compile(r"([0-9a-zA-Z:.][ _-]?)+")
_LONGEST_NAME = 64
_LONGEST_DESCRIPTION = 200
_HIGHEST_DIFFERENCE = 100
_STEP = 5
_MODELS = 2
_PARTITIONS = {"us-gov-": "aws-us-gov", "cn-": "aws-cn", "us-isob-": "aws-iso-b", "us-iso-": "aws-iso"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSpec:
    """Describe a prompt router to create.

    `quality_difference` is in percent: the larger model is used where its answer is predicted to be better by
    at least so much, so a higher number means cheaper traffic (one live test of 2026-03, seven prompts).
    """

    name: str
    models: Sequence[str]
    fallback: str
    quality_difference: float
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    def to_wire(self, region: str | None) -> dict[str, Any]:
        """Return the arguments of CreatePromptRouter."""
        wire: dict[str, Any] = {
            "promptRouterName": self.name,
            "models": [{"modelArn": _arn(each, region)} for each in self.models],
            "fallbackModel": {"modelArn": _arn(self.fallback, region)},
            "routingCriteria": {"responseQualityDifference": self.quality_difference},
        }
        if self.description:
            wire["description"] = self.description
        if self.tags:
            wire["tags"] = [{"key": key, "value": value} for key, value in self.tags.items()]
        return wire


def check_router(spec: RouterSpec, catalog: Catalog) -> None:
    """Raise a `ConfigurationError` for the first rule that a new router breaks."""
    refs = [parse(each) for each in spec.models]
    for broken in (
        _wrong_text(spec),
        _wrong_difference(spec.quality_difference),
        _wrong_models(spec, refs),
        _wrong_pair(refs, catalog),
    ):
        if broken:
            raise ConfigurationError(broken)


def _wrong_text(spec: RouterSpec) -> str | None:
    if len(spec.name) > _LONGEST_NAME or not _NAME.fullmatch(spec.name):
        return (
            f"router name {spec.name!r}: 1 to 64 letters and digits, with single spaces, - or _ between them"
        )
    text = spec.description
    if text is not None and (len(text) > _LONGEST_DESCRIPTION or not _DESCRIPTION.fullmatch(text)):
        return (
            "router description: 1 to 200 letters, digits, : and ., with single spaces, - or _ between them"
        )
    return None


def _wrong_difference(value: float) -> str | None:
    if 0 <= value <= _HIGHEST_DIFFERENCE and value % _STEP == 0:
        return None
    return f"quality_difference is a percentage from 0 to 100 in steps of 5, not {value}"


def _wrong_models(spec: RouterSpec, refs: Sequence[ModelRef]) -> str | None:
    if len(refs) != _MODELS or len({ref.raw for ref in refs}) != _MODELS:
        return f"a prompt router has exactly two different models, not {list(spec.models)}"
    if spec.fallback not in spec.models:
        return f"the fallback {spec.fallback!r} must be one of the two models"
    if hidden := [ref.raw for ref in refs if ref.model_id is None]:
        return f"{hidden[0]!r} does not name a model; give a foundation model or an inference profile"
    if len({ref.provider for ref in refs}) > 1:
        return f"both models must be of one provider, not {' and '.join(str(ref.provider) for ref in refs)}"
    return None


def _wrong_pair(refs: Sequence[ModelRef], catalog: Catalog) -> str | None:
    facts = [each for ref in refs if (each := catalog.find(ref))]
    if never := [each.id for each in facts if not each.routable]:
        can = ", ".join(each.id for each in catalog.models if each.routable and not each.retired)
        return f"{never[0]} cannot be routed; routable today: {can} (Catalog.with_models adds others)"
    if gone := [each.id for each in facts if each.retired]:
        return f"{gone[0]} has reached its end of life"
    return None


def _partition(region: str) -> str:
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def _arn(model: str, region: str | None) -> str:
    ref = parse(model)
    if ref.is_arn:
        return ref.raw
    if ref.kind == "model" and region:
        return f"arn:{_partition(region)}:bedrock:{region}::foundation-model/{ref.name}"
    raise ConfigurationError(
        f"give the inference profile {model!r} by its ARN: it carries the account number"
    )
