from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_routing import CachePolicy, CacheState, Catalog, PricePolicy, Receipt, Target, Usage, parse
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.engine import Engine
from bedrock_routing.misses import ADVICE, Miss
from bedrock_routing.planning import Skipped

ROUTER = "arn:aws:bedrock:us-east-1:123412341234:default-prompt-router/amazon.nova:1"
LITE = "arn:aws:bedrock:us-east-1:123412341234:inference-profile/us.amazon.nova-lite-v1:0"
counts = st.integers(0, 10**7)
names = st.none() | st.text(max_size=20)
money = st.none() | st.decimals(0, 100, places=8)
usages = st.builds(Usage, fresh=counts, read=counts, write_5m=counts, write_1h=counts, output=counts)
misses = st.builds(
    Miss, reason=st.sampled_from(list(ADVICE)), tokens=counts, path=names, detail=names, lost_usd=money
)
receipts = st.builds(
    Receipt,
    router_arn=names,
    invoked_model_id=names,
    model=names,
    usage=st.none() | usages,
    points=st.lists(st.text(max_size=9), max_size=4).map(tuple),
    skipped=st.lists(st.builds(Skipped, path=st.text(), reason=st.text()), max_size=3).map(tuple),
    miss=st.none() | misses,
    cost_usd=money,
    uncached_cost_usd=money,
    strongest_cost_usd=money,
    latency_ms=st.none() | counts,
    stop_reason=names,
    complete=st.booleans(),
    purpose=st.sampled_from([None, "prime", "ping"]),
)


def turn(text: str = "Hello?"):
    lite, pro = parse("amazon.nova-lite-v1:0"), parse("amazon.nova-pro-v1:0")
    mind = Engine(cache=CachePolicy(), prices=PricePolicy(), state=CacheState(), documents=DocumentMemory())
    target = Target(ref=parse(ROUTER), models=(lite, pro), common=Catalog.default().common([lite, pro]))
    return mind.begin({"messages": [{"role": "user", "content": [{"text": text}]}]}, target, 0.0)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(receipts)
def test_a_receipt_survives_json(receipt: Receipt) -> None:
    """Written as JSON and read again, a receipt is the same."""
    assert Receipt.from_dict(json.loads(json.dumps(receipt.to_dict()))) == receipt


def test_a_receipt_has_the_documented_keys() -> None:
    """The plain form carries exactly the keys that the documentation lists, also when all is unknown."""
    shown = Receipt().to_dict()
    assert list(shown) == [
        "router_arn",
        "invoked_model_id",
        "model",
        "decided_by",
        "router_choice",
        "cache",
        "output_tokens",
        "cost_usd",
        "uncached_cost_usd",
        "saved_usd",
        "strongest_cost_usd",
        "latency_ms",
        "stop_reason",
        "complete",
        "purpose",
    ]
    assert list(shown["cache"]) == [
        "read",
        "write",
        "write_5m",
        "write_1h",
        "fresh",
        "hit_ratio",
        "points",
        "skipped",
        "miss",
    ]
    assert [value for key, value in shown["cache"].items() if key not in ("points", "skipped")] == [None] * 7


def test_a_reply_says_who_answered_and_what_it_cost() -> None:
    """Model, tokens, money, time and reason to stop are read from the reply."""
    reply = {
        "usage": {
            "inputTokens": 1_000_000,
            "outputTokens": 0,
            "totalTokens": 2_000_000,
            "cacheReadInputTokens": 1_000_000,
        },
        "trace": {"promptRouter": {"invokedModelId": LITE}},
        "metrics": {"latencyMs": 321},
        "stopReason": "end_turn",
    }
    receipt = turn().finish(reply, 1.0)
    assert (receipt.router_arn, receipt.invoked_model_id, receipt.model) == (
        ROUTER,
        LITE,
        "amazon.nova-lite-v1:0",
    )
    assert (receipt.cost_usd, receipt.saved_usd) == (Decimal("0.075"), Decimal("0.045"))
    assert (receipt.latency_ms, receipt.stop_reason, receipt.complete) == (321, "end_turn", True)


def test_an_empty_reply_leaves_everything_unknown() -> None:
    """A stream that was cut never said its tokens, its model or its price: all of them are `None`."""
    receipt = turn().finish({}, 1.0, complete=False)
    unknown = (
        receipt.invoked_model_id,
        receipt.model,
        receipt.usage,
        receipt.cost_usd,
        receipt.uncached_cost_usd,
    )
    assert (unknown, receipt.saved_usd, receipt.complete) == ((None,) * 5, None, False)


def test_a_reply_without_a_trace_has_a_usage_but_no_price() -> None:
    """Which of a router's models answered is not guessed."""
    receipt = turn().finish({"usage": {"inputTokens": 5, "outputTokens": 1}}, 1.0)
    assert (receipt.usage, receipt.model, receipt.cost_usd) == (Usage(fresh=5, output=1), None, None)


def test_odd_members_of_a_reply_fail_nothing() -> None:
    """A trace or a usage of an unexpected shape is unknown."""
    reply = {"usage": 7, "trace": [], "metrics": "fast", "stopReason": "end_turn"}
    receipt = turn().finish(reply, 1.0)
    assert (receipt.usage, receipt.model, receipt.latency_ms) == (None, None, None)


def test_a_receipt_of_another_version_is_still_read() -> None:
    """Keys that are missing are unknown, keys that are new are passed over."""
    assert Receipt.from_dict({"model": "m", "cache": {}, "new": 1}) == Receipt(model="m")


def test_no_prompt_text_stands_in_a_receipt() -> None:
    """Receipts are logged and stored, so they hold places and reasons, never what was written."""
    receipt = turn("the secret word is swordfish").finish({"usage": {"inputTokens": 5}}, 1.0)
    assert "swordfish" not in json.dumps(receipt.to_dict()) + repr(receipt)
