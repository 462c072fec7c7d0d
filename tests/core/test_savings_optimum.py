"""The least that a sequence of calls can cost, found by the benchmark's pure arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from savings_optimum import Prefix, Prices, Visit, cheapest, least_cost  # pyright: ignore[reportMissingImports]

CLAUDE = {"fresh": 1.0, "read": 0.1, "5m": 1.25, "1h": 2.0}
NOVA = {"fresh": 1.0, "read": 0.25, "5m": 1.0}


LIFETIMES = {"5m": 300.0, "1h": 3_600.0}


def price_of(chosen: Sequence[str], times: Sequence[float], prices: Prices) -> float:
    """Return what these treatments cost; infinitely much if one is impossible."""
    cost, kept, last = 0.0, "", 0.0
    for at, treatment in zip(times, chosen, strict=True):
        if treatment == "read":
            if kept == "" or at - last >= LIFETIMES[kept]:
                return float("inf")
            last = at
        elif treatment != "fresh":
            kept, last = treatment, at
        cost += prices.get(treatment, float("inf"))
    return cost


def cost_of(times: Sequence[float], prices: Prices) -> float:
    return price_of(cheapest(times, prices), times, prices)


@pytest.mark.parametrize(
    ("times", "least"),
    [
        ([0.0], 1.0),
        ([0.0, 299.0], 1.35),
        ([0.0, 300.0], 2.0),
        ([0.0, 299.0, 598.0], 1.45),
        ([0.0, 600.0, 1_200.0], 2.2),
        ([0.0, 600.0, 610.0], 2.2),
        ([0.0, 4_000.0], 2.0),
        ([0.0, 0.0, 0.0], 1.45),
    ],
)
def test_a_token_costs_the_cheapest_mix_of_fresh_written_and_read(times: list[float], least: float) -> None:
    """One token is fresh, written or read at each call, whichever mix of these is cheapest in the end."""
    assert cost_of(times, CLAUDE) == pytest.approx(least)


def test_a_model_without_an_hour_writes_again_after_five_minutes() -> None:
    """Where nothing is kept for an hour, a pause of ten minutes costs a second write or fresh tokens."""
    assert cost_of([0.0, 10.0, 610.0, 620.0], NOVA) == pytest.approx(2.5)


@given(
    st.lists(st.sampled_from([0.0, 10.0, 250.0, 300.0, 900.0, 3_599.0, 3_600.0]), max_size=4),
    st.sampled_from([CLAUDE, NOVA, {"fresh": 1.0, "read": 0.25, "5m": 0.0}]),
)
def test_no_sequence_of_treatments_is_cheaper(gaps: list[float], prices: Prices) -> None:
    """Dynamic programming finds what trying all sequences finds."""
    times = [sum(gaps[:count]) for count in range(len(gaps) + 1)]
    assert cost_of(times, prices) == pytest.approx(
        min(
            price_of(each, times, prices)
            for each in product(("fresh", "read", "5m", "1h"), repeat=len(times))
        )
    )


def call(model: str, at: float, *names: str, tokens: int) -> Visit:
    prefixes = tuple(Prefix(name=each.encode(), tokens=1_000 * len(each)) for each in names)
    return Visit(model=model, at=at, prefixes=prefixes, tokens=tokens)


def test_a_shared_prefix_is_paid_once_and_each_tail_fresh() -> None:
    """What two prompts share is written and read; what only one of them has is fresh."""
    visits = [
        call("a", 0.0, "s", "sx", tokens=2_100),
        call("a", 60.0, "s", "sy", tokens=2_200),
    ]
    assert least_cost(visits, {"a": CLAUDE}).cost == pytest.approx(1_000 * 1.35 + 1_100 + 1_200)


def test_models_share_nothing() -> None:
    """Each model has its own cache and its own prices."""
    dear = {"fresh": 5.0, "read": 0.5, "5m": 6.25, "1h": 10.0}
    visits = [call("a", 0.0, "s", tokens=1_000), call("b", 1.0, "s", tokens=1_000)]
    assert least_cost(visits, {"a": CLAUDE, "b": dear}).cost == pytest.approx(1_000 + 5_000)
    again = [*visits, call("b", 2.0, "s", tokens=1_000)]
    assert least_cost(again, {"a": CLAUDE, "b": dear}).cost == pytest.approx(1_000 + 6_250 + 500)


def test_a_prompt_without_any_place_for_a_point_is_fresh() -> None:
    """Prompts below the minimum are asked again and again at the full price."""
    visits = [call("a", float(second), tokens=900) for second in range(3)]
    assert least_cost(visits, {"a": CLAUDE}).cost == pytest.approx(2_700)


def test_it_tells_how_the_tokens_are_treated() -> None:
    """Beside the cost stands how many tokens are read, written and fresh, all together the prompts."""
    visits = [call("a", at, "s", tokens=1_100) for at in (0.0, 60.0, 2_000.0)]
    least = least_cost(visits, {"a": CLAUDE})
    assert least.tokens == {"1h": 1_000, "read": 2_000, "fresh": 300}
    assert least.cost == pytest.approx(2_000 + 200 + 300)
