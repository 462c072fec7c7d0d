from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bedrock_routing import CacheRules, Catalog, ConfigurationError, ModelFacts

FACTS = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "models.json"
needs_facts = pytest.mark.skipif(not FACTS.exists(), reason="the reference facts are not beside the checkout")


def rows() -> list[dict[str, Any]]:
    return json.loads(FACTS.read_text(encoding="utf-8"))["models"] if FACTS.exists() else []


def known(row: dict[str, Any]) -> ModelFacts | None:
    catalog = Catalog.default()
    return catalog.find(row["id"]) or catalog.find(f"{row['id']}-1:0")


@needs_facts
@pytest.mark.parametrize("row", rows(), ids=lambda row: row["id"])
def test_the_catalog_agrees_with_the_reference_facts(row: dict[str, Any]) -> None:
    """Minimum, lifetimes, sections, limits and lifecycle of every model are those of the reference table."""
    facts = known(row)
    assert facts is not None
    takes_points = str(row["caching_api"] or "").startswith("converse")
    expected = (
        (
            row["min_tokens_per_checkpoint"],
            sorted(row["checkpoint_fields"]),
            sorted(row["ttl_values"]),
            row["max_checkpoints"],
            row["max_cached_tokens"],
        )
        if takes_points
        else None
    )
    rules = facts.cache
    actual = rules and (
        rules.min_tokens,
        sorted(rules.sections),
        sorted(rules.ttls),
        rules.max_points,
        rules.max_cached_tokens,
    )
    assert expected == actual
    assert (row["routable_per_doc"] == "yes", row["lifecycle"]) == (facts.routable, facts.lifecycle)


def test_every_entry_says_where_it_comes_from() -> None:
    """No fact stands in the catalog without a source, a date and a confidence."""
    unexplained = [
        each.id
        for each in Catalog.default().models
        if not (each.source and each.checked and each.confidence in ("high", "medium", "low"))
    ]
    assert unexplained == []


def test_every_key_finds_its_own_entry() -> None:
    """An id of the catalog, with or without a Region's prefix and a version, leads to its entry."""
    catalog = Catalog.default()
    for facts in catalog.models:
        for form in (
            facts.id,
            f"us.{facts.id}",
            f"{facts.id}-v1:0",
            f"arn:aws:bedrock:us-east-1::foundation-model/{facts.id}",
        ):
            assert facts is catalog.find(form), form


def test_nova_lite_and_pro_allow_text_points_in_system_and_messages() -> None:
    """The Nova router's two models have 1,000 tokens, 5m, and no points in tools in common."""
    common = Catalog.default().common(["amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"])
    assert common.cache is not None
    assert (frozenset({"system", "messages"}), ("5m",), True) == (
        common.cache.sections,
        common.cache.ttls,
        common.cache.after_text_only,
    )
    assert common.tool_choice == ("auto", "any", "tool")


def test_the_strictest_of_two_claude_models_counts() -> None:
    """Of two minimums the larger counts, of lifetimes and sections what both have."""
    common = Catalog.default().common(
        ["anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"]
    )
    assert common.cache is not None
    assert (common.cache.min_tokens, common.cache.ttls, common.cache.lookback) == (4096, ("5m",), 20)


def test_intersection_does_not_depend_on_the_order() -> None:
    """Rules in common are the same whichever model is named first."""
    one = CacheRules(min_tokens=10, sections=frozenset({"tools", "system"}), ttls=("5m", "1h"), lookback=20)
    other = CacheRules(
        min_tokens=20,
        sections=frozenset({"system", "messages"}),
        max_points=2,
        after_text_only=True,
        max_cached_tokens=5,
    )
    expected = CacheRules(
        min_tokens=20,
        sections=frozenset({"system"}),
        max_points=2,
        after_text_only=True,
        max_cached_tokens=5,
    )
    assert (expected, expected) == (one & other, other & one)


def test_one_model_without_caching_means_no_points() -> None:
    """A point that one model of a router refuses fails the call, so there is none, and the model is named."""
    common = Catalog.default().common(["amazon.nova-lite-v1:0", "meta.llama3-1-8b-instruct-v1:0"])
    assert (
        common.cache,
        common.refuses,
        common.why,
    ) == (None, True, "meta.llama3-1-8b-instruct takes no cache points")


def test_an_unknown_model_is_not_guessed() -> None:
    """A model that the catalog does not list is unknown: no points, but no claim that they fail either."""
    catalog = Catalog.default()
    common = catalog.common(["amazon.nova-lite-v1:0", "acme.thinker-9-v1:0"])
    assert (catalog.find("acme.thinker-9-v1:0"), common.cache, common.refuses) == (None, None, False)
    assert "acme.thinker-9-v1:0 is not in the catalog" in str(common.why)


def test_no_models_means_that_nothing_is_known() -> None:
    """A router whose models are hidden has no rules."""
    common = Catalog.default().common([])
    assert (common.cache, common.refuses, common.why) == (None, False, "the models behind it are not known")


def test_a_user_can_add_and_correct_models() -> None:
    """Given facts take precedence, in any form of id, and leave the first catalog as it was."""
    rules = CacheRules(min_tokens=7, sections=frozenset({"system"}))
    shipped = Catalog.default()
    own = shipped.with_models(
        ModelFacts(id="us.acme.thinker-9-v1:0", cache=rules),
        ModelFacts(id="amazon.nova-lite-v1:0", cache=None),
    )
    assert rules == own.common(["eu.acme.thinker-9-v2:0"]).cache
    assert own.common(["amazon.nova-lite-v1:0"]).refuses
    assert shipped.find("acme.thinker-9-v1:0") is None
    assert shipped.common(["amazon.nova-lite-v1:0"]).cache is not None


def test_a_router_cannot_be_described_as_a_model() -> None:
    """Facts can only be given for something that names a model."""
    with pytest.raises(ConfigurationError, match="does not name a model"):
        Catalog.default().with_models(ModelFacts(id="amazon.nova:1", cache=None))


def test_retired_models_are_known_as_such() -> None:
    """The models behind the default Anthropic router have passed their end of life; Nova's have not."""
    catalog = Catalog.default()
    names = ("anthropic.claude-3-haiku-20240307", "anthropic.claude-3-5-sonnet-20240620", "amazon.nova-lite")
    assert [catalog.find(each).retired for each in names] == [True, True, False]
