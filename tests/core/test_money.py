from __future__ import annotations

from decimal import Decimal

import pytest

from bedrock_routing import ConfigurationError, PricePolicy, Usage, parse
from bedrock_routing.planning import Ratios
from bedrock_routing.pricing import cost_of, ratios_of, uncached_cost_of

NOVA, SONNET = parse("us.amazon.nova-lite-v1:0"), parse("us.anthropic.claude-sonnet-4-6")
LIST = PricePolicy(nova_writes="list")


def test_the_parts_of_a_prompt_add_up_to_the_wire() -> None:
    """The service's input count leaves cached tokens out, so the prompt is all three together."""
    wire = {
        "inputTokens": 10,
        "outputTokens": 5,
        "totalTokens": 6_115,
        "cacheReadInputTokens": 3_000,
        "cacheWriteInputTokens": 3_100,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 2_000}, {"ttl": "5m", "inputTokens": 1_100}],
    }
    usage = Usage.from_wire(wire)
    assert usage == Usage(fresh=10, read=3_000, write_5m=1_100, write_1h=2_000, output=5)
    assert usage.prompt + usage.output == wire["totalTokens"]
    assert usage.hit_ratio == 3_000 / 6_110


def test_counters_that_are_missing_are_a_model_without_a_cache() -> None:
    """A reply without cache members read and wrote nothing."""
    usage = Usage.from_wire({"inputTokens": 10, "outputTokens": 5, "totalTokens": 15})
    assert usage == Usage(fresh=10, output=5)


@pytest.mark.parametrize(
    "wire", [None, {}, {"outputTokens": 5}, {"inputTokens": None}, {"inputTokens": "10"}, []]
)
def test_a_reply_without_an_input_count_has_no_usage(wire: object) -> None:
    """What was not counted is unknown, not zero."""
    assert Usage.from_wire(wire) is None


@pytest.mark.parametrize(
    ("details", "five", "hour"),
    [
        ([], 100, 0),
        (None, 100, 0),
        ([{"ttl": "1h", "inputTokens": 100}], 0, 100),
        ([{"ttl": "1h", "inputTokens": 900}], 0, 100),
        ([{"ttl": "9m", "inputTokens": 60}], 100, 0),
    ],
)
def test_written_tokens_are_split_by_lifetime(details: object, five: int, hour: int) -> None:
    """Written tokens that the details do not explain count as five minutes; never more than were written."""
    usage = Usage.from_wire({"inputTokens": 1, "cacheWriteInputTokens": 100, "cacheDetails": details})
    assert usage == Usage(fresh=1, write_5m=five, write_1h=hour)


def test_an_empty_prompt_has_no_hit_ratio() -> None:
    """A share of nothing is unknown."""
    assert Usage(fresh=0).hit_ratio is None


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(fresh=1_000_000), "3.3"),
        (Usage(fresh=0, read=1_000_000), "0.33"),
        (Usage(fresh=0, write_5m=1_000_000), "4.125"),
        (Usage(fresh=0, write_1h=1_000_000), "6.6"),
        (Usage(fresh=0, output=1_000_000), "16.5"),
        (Usage(fresh=1_000, read=2_000, write_5m=3_000, write_1h=4_000, output=5_000), "0.125235"),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, expected: str) -> None:
    """Fresh, read, written and output tokens of Claude Sonnet 4.6 cost what the price list says."""
    assert cost_of(SONNET, usage, PricePolicy()) == Decimal(expected)


def test_a_global_profile_costs_less_than_a_geographic_one() -> None:
    """The price follows the profile that was called, not only the model."""
    costs = [
        cost_of(parse(f"{where}.anthropic.claude-sonnet-4-6"), Usage(fresh=1_000_000), PricePolicy())
        for where in ("global", "us")
    ]
    assert costs == [Decimal("3.0"), Decimal("3.3")]


def test_nova_writes_cost_nothing_or_as_much_as_input() -> None:
    """The price list carries Nova's writes at zero; the default stays on the safe side."""
    usage = Usage(fresh=0, write_5m=1_000_000)
    assert cost_of(NOVA, usage, PricePolicy()) == Decimal("0.06")
    assert cost_of(NOVA, usage, LIST) == 0
    assert cost_of(SONNET, usage, LIST) == Decimal("4.125")


def test_without_caching_every_prompt_token_is_fresh() -> None:
    """What a call would have cost uncached is its whole prompt at the input price."""
    usage = Usage(fresh=1_000, read=2_000, write_5m=3_000, write_1h=4_000, output=0)
    assert uncached_cost_of(SONNET, usage, LIST) == cost_of(SONNET, Usage(fresh=10_000), PricePolicy())


@pytest.mark.parametrize(
    "model", [None, parse("acme.thinker-9-v1:0"), parse("amazon.nova:1"), parse("Some Router")], ids=str
)
def test_what_has_no_price_costs_an_unknown_amount(model: object) -> None:
    """An unknown model, and a router itself, cost `None`, never zero."""
    assert cost_of(model, Usage(fresh=10), PricePolicy()) is None
    assert uncached_cost_of(model, Usage(fresh=10), PricePolicy()) is None


def test_a_fee_is_added_to_routed_calls_only() -> None:
    """A price per request counts with and without caching, so that it changes no saving."""
    fee = PricePolicy(per_request_usd=0.001)
    usage = Usage(fresh=1_000_000)
    assert cost_of(NOVA, usage, fee, routed=True) == Decimal("0.061")
    assert uncached_cost_of(NOVA, usage, fee, routed=True) == Decimal("0.061")
    assert cost_of(NOVA, usage, fee) == Decimal("0.06")
    assert cost_of(None, usage, fee, routed=True) is None


def test_ratios_are_those_of_the_dearest_model() -> None:
    """A router's plan is made for the model on which a read saves least and a write costs most."""
    assert ratios_of([NOVA], "5m", PricePolicy()) == Ratios(read=0.25, write=1.0)
    assert ratios_of([NOVA], "5m", LIST) == Ratios(read=0.25, write=0.0)
    assert ratios_of([SONNET, NOVA], "5m", PricePolicy()) == Ratios(read=0.25, write=1.25)
    assert ratios_of([SONNET], "1h", PricePolicy()) == Ratios(read=0.1, write=2.0)


def test_ratios_of_a_model_without_a_price_are_careful() -> None:
    """Where nothing is known, writing is taken to be as dear as Claude's."""
    unknown = parse("acme.thinker-9-v1:0")
    assert ratios_of([unknown], "5m", PricePolicy()) == Ratios(read=0.1, write=1.25)
    assert ratios_of([unknown], "1h", PricePolicy()) == Ratios(read=0.1, write=2.0)
    assert ratios_of([], "5m", PricePolicy()) == Ratios()


@pytest.mark.parametrize("settings", [{"nova_writes": "free"}, {"per_request_usd": -1.0}])
def test_a_wrong_price_policy_is_refused(settings: dict[str, object]) -> None:
    """A setting that cannot be is an error at once, not a wrong bill later."""
    with pytest.raises(ConfigurationError):
        PricePolicy(**settings)
