"""What each model lets you do, as data with source and date; and what the models of a router have in common.

The facts stand in `catalog.toml`; this module reads them, looks them up by any id form and intersects them.
Nothing here touches the network. An unknown model is `None`, never a guess.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache, reduce
from importlib.resources import files
from typing import Any, Literal, cast

from bedrock_routing.arns import ModelRef, parse
from bedrock_routing.errors import ConfigurationError

__all__ = ["CacheRules", "Catalog", "Common", "ModelFacts", "Section", "ToolChoice", "Ttl"]

Section = Literal["tools", "system", "messages"]
"""The three lists of a Converse request that make up a prompt, in the order in which they are processed."""
Ttl = Literal["5m", "1h"]
ToolChoice = Literal["auto", "any", "tool"]
Lifecycle = Literal["active", "legacy", "eol"]

_SECTIONS: tuple[Section, ...] = ("tools", "system", "messages")
_TTLS: tuple[Ttl, ...] = ("5m", "1h")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """Say where cache points may stand and what they do; of one model, or common to several."""

    min_tokens: int
    """A point on a shorter prefix succeeds and caches nothing."""
    sections: frozenset[Section]
    ttls: tuple[Ttl, ...] = ("5m",)
    max_points: int = 4
    lookback: int = 0
    """Content blocks that the service looks back from a point for an earlier entry; 0: exact prefix only."""
    after_text_only: bool = False
    """Whether a point is accepted only straight after a text block (Nova)."""
    max_cached_tokens: int | None = None
    """What one request can cache at most, where that is documented; seen exceeded live, so a soft limit."""

    def __and__(self, other: CacheRules) -> CacheRules:
        """Return the rules that satisfy both: the larger minimum, the common sections and lifetimes."""
        limits = [each for each in (self.max_cached_tokens, other.max_cached_tokens) if each is not None]
        return CacheRules(
            min_tokens=max(self.min_tokens, other.min_tokens),
            sections=self.sections & other.sections,
            ttls=tuple(ttl for ttl in self.ttls if ttl in other.ttls),
            max_points=min(self.max_points, other.max_points),
            lookback=min(self.lookback, other.lookback),
            after_text_only=self.after_text_only or other.after_text_only,
            max_cached_tokens=min(limits) if limits else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Hold what is known of one model, and from where."""

    id: str
    """The model without Region and version (`amazon.nova-lite`)."""
    cache: CacheRules | None
    """`None`: the service refuses every cache point for this model."""
    tool_choice: tuple[ToolChoice, ...] = ()
    sampling: bool = True
    """Whether a call may set `temperature` or `topP`; a model that rejects them fails the call."""
    routable: bool = False
    lifecycle: Lifecycle = "active"
    end_of_life: date | None = None
    confidence: str = "user"
    source: str = "user"
    checked: date | None = None
    notes: str = ""

    @property
    def retired(self) -> bool:
        """Tell whether the model has passed its end of life by the catalog's date."""
        return self.lifecycle == "eol"


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Hold what several models have in common; where `cache` is `None`, `why` says why."""

    cache: CacheRules | None
    tool_choice: tuple[ToolChoice, ...]
    why: str | None = None
    sampling: bool = True
    """Whether none of them is known to reject `temperature` and `topP`."""
    refuses: bool = False
    """Whether it is known, not only feared, that a cache point fails the call."""


class Catalog:
    """Look models up by any id form, and intersect the models of a router.

    Immutable: `with_models` returns a new catalog, in which the given facts take precedence.
    """

    def __init__(self, models: Iterable[ModelFacts], *, checked: date | None = None) -> None:
        self._models = {each.id: each for each in models}
        self.checked = checked
        """When the facts were last compared with their sources."""

    @classmethod
    def default(cls) -> Catalog:
        """Return the catalog that ships with the package; read once per process."""
        return _shipped()

    @property
    def models(self) -> tuple[ModelFacts, ...]:
        """Return all models, in the order of the file."""
        return tuple(self._models.values())

    def with_models(self, *models: ModelFacts) -> Catalog:
        """Return a catalog that also knows `models`, or knows them better.

        An id may be given in any form that names a model; it is kept without Region and version.
        """
        added = [replace(each, id=_key(each.id)) for each in models]
        return Catalog([*self._models.values(), *added], checked=self.checked)

    def find(self, model: str | ModelRef) -> ModelFacts | None:
        """Return what is known of a model, in whatever form it is named, or `None`."""
        ref = parse(model) if isinstance(model, str) else model
        if ref.model_id is None:
            return None
        return self._models.get(ref.model_id) or self._models.get(ref.key or "")

    def common(self, models: Iterable[str | ModelRef]) -> Common:
        """Return what every one of `models` allows.

        One model without caching, or one that is not in the catalog, means no cache points at all: a point
        that one target refuses fails the whole call. No models at all means that nothing is known.
        """
        refs = [parse(each) if isinstance(each, str) else each for each in models]
        if not refs:
            return Common(cache=None, tool_choice=(), why="the models behind it are not known")
        found = [(ref, self.find(ref)) for ref in refs]
        known = [facts for _, facts in found if facts is not None]
        choices: tuple[ToolChoice, ...] = ("auto", "any", "tool")
        for facts in known:
            choices = tuple(each for each in choices if each in facts.tool_choice)
        same = Common(cache=None, tool_choice=choices, sampling=all(facts.sampling for facts in known))
        if unknown := [ref.raw for ref, facts in found if facts is None]:
            why = f"{', '.join(unknown)} is not in the catalog (Catalog.with_models adds it)"
            return replace(same, tool_choice=(), why=why)
        if refusing := [facts.id for facts in known if facts.cache is None]:
            return replace(same, why=f"{', '.join(refusing)} takes no cache points", refuses=True)
        rules = reduce(CacheRules.__and__, [facts.cache for facts in known if facts.cache is not None])
        if not rules.sections or not rules.ttls:
            return replace(same, why="no place for a cache point in common", refuses=True)
        return replace(same, cache=rules)


def _key(model: str) -> str:
    ref = parse(model)
    if ref.key is None:
        raise ConfigurationError(f"{model!r} does not name a model, so the catalog cannot describe it")
    return ref.key


@lru_cache(maxsize=1)
def _shipped() -> Catalog:
    text = files("bedrock_routing").joinpath("catalog.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    families = cast("dict[str, dict[str, Any]]", data["families"])
    rows = cast("list[dict[str, Any]]", data["models"])
    base = {"source": data["source"], "checked": data["checked"]}
    return Catalog(
        [_facts({**base, **families[row["family"]], **row}) for row in rows], checked=data["checked"]
    )


def _facts(row: Mapping[str, Any]) -> ModelFacts:
    return ModelFacts(
        id=row["id"],
        cache=_rules(row) if row["sections"] else None,
        tool_choice=tuple(row["tool_choice"]),
        sampling=row.get("sampling", True),
        routable=row.get("routable", False),
        lifecycle=row.get("lifecycle", "active"),
        end_of_life=row.get("end_of_life"),
        confidence=row["confidence"],
        source=row["source"],
        checked=row["checked"],
        notes=row.get("notes", ""),
    )


def _rules(row: Mapping[str, Any]) -> CacheRules:
    return CacheRules(
        min_tokens=row["min_tokens"],
        sections=frozenset(section for section in _SECTIONS if section in row["sections"]),
        ttls=tuple(ttl for ttl in _TTLS if ttl in row["ttls"]),
        max_points=row["max_points"],
        lookback=row["lookback"],
        after_text_only=row["after"] == "text",
        max_cached_tokens=row.get("max_cached_tokens"),
    )
