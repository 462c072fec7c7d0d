"""Prefixes that are kept warm: when a ping pays, what goes out, and what is counted."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_local import Fault, LocalBedrock, ManualClock
from bedrock_routing import (
    ConfigurationError,
    KeepWarm,
    Ledger,
    PricePolicy,
    Receipt,
    RoutedClient,
    Upkeep,
    collect,
    parse,
)
from bedrock_routing.keep_warm import hour_pays_after, next_ping, upkeep_of
from bedrock_routing.planning import Ratios
from bedrock_routing.receipt import PURPOSES
from bedrock_routing.watching import Finished

Connect = Callable[..., RoutedClient]
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
LITE = "us.amazon.nova-lite-v1:0"
PAIR = ("us.anthropic.claude-opus-4-8", "us.anthropic.claude-sonnet-4-6")
CLAUDE, NOVA = Ratios(read=0.1, write=1.25), Ratios(read=0.25, write=1.0)
HOUR = Ratios(read=0.1, write=2.0)
thorough = settings(max_examples=300, deadline=None, derandomize=True)
costs = st.floats(min_value=0, max_value=1e6)
upkeeps = st.builds(Upkeep, read=costs, write=costs, besides=costs)
chances = st.floats(min_value=0, max_value=1)


def ask(client: RoutedClient, document: str, text: str = "Who pays?", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [{"text": text}]}]
    reply = client.converse(system=[{"text": document}], messages=messages, **more)
    return reply["bedrock_routing"]


def calls(bedrock: LocalBedrock) -> list[Any]:
    return [each for each in bedrock.requests if each.operation.startswith("Converse")]


def pass_lifetimes(warm: KeepWarm, clock: ManualClock, count: int) -> None:
    """Let time pass in which no call comes, and send what becomes due."""
    for _ in range(count):
        clock.advance(271)
        warm.tend()


def by_hand(client: RoutedClient | None, **more: Any) -> KeepWarm:
    return KeepWarm(client, thread=False, **more)


@thorough
@given(upkeep=upkeeps, chance=chances, sent=st.integers(min_value=0, max_value=40))
def test_a_ping_is_advised_only_where_it_is_expected_to_save(
    upkeep: Upkeep, chance: float, sent: int
) -> None:
    """It costs less than it is expected to spare, and all pings in a row no more than they can spare."""
    if upkeep.advise(chance, sent=sent).pays:
        assert upkeep.ping <= chance * (upkeep.write - upkeep.read)
        assert (sent + 1) * upkeep.ping <= (upkeep.write - upkeep.read) * (1 + 1e-6)


@thorough
@given(upkeep=upkeeps, chance=chances, more=chances, sent=st.integers(min_value=0, max_value=40))
def test_a_likelier_call_never_speaks_against_a_ping(
    upkeep: Upkeep, chance: float, more: float, sent: int
) -> None:
    """What pays at one chance pays at every higher one, and what does not pay first does not pay later."""
    if upkeep.advise(chance, sent=sent).pays:
        assert upkeep.advise(max(chance, more), sent=sent).pays
        assert upkeep.advise(chance).pays


@pytest.mark.parametrize(
    ("ratios", "least", "most"),
    [
        (CLAUDE, 0.1 / 1.15, 11),
        (Ratios(read=0.05, write=1.25), 0.05 / 1.2, 24),
        (NOVA, 1 / 3, 3),
        (Ratios(read=0.25, write=0.0), math.inf, 0),
    ],
)
def test_prices_decide(ratios: Ratios, least: float, most: int) -> None:
    """Claude's cheap reads bear eleven pings, Nova's three, and free writes none."""
    upkeep = Upkeep.of(5_000, ratios)
    assert (upkeep.least_chance, upkeep.most_pings) == (pytest.approx(least), most)


def test_a_ping_is_due_half_a_minute_before_the_end() -> None:
    """The lifetime counts from the last use."""
    assert [next_ping(100.0, ttl) for ttl in ("5m", "1h")] == [370.0, 3670.0]


def test_an_hour_pays_where_calls_are_far_apart() -> None:
    """34 minutes at Claude's usual prices; with cheaper reads more than an hour, and pings of its own."""
    five, hour = Upkeep.of(5_000, CLAUDE), Upkeep.of(5_000, HOUR)
    assert hour_pays_after(five, hour) == pytest.approx(0.75 / 0.1 * 270)
    cheap = [Upkeep.of(5_000, Ratios(read=0.025, write=write)) for write in (1.25, 2.0)]
    assert (hour_pays_after(cheap[0], cheap[1]) or 0) > 30 * 270
    assert hour_pays_after(five, Upkeep.of(5_000, CLAUDE)) == 0.0
    assert hour_pays_after(Upkeep(read=0.0, write=1.0), Upkeep(read=0.0, write=2.0)) is None


@thorough
@given(read=st.floats(min_value=0.01, max_value=0.9), dearer=st.floats(min_value=0.01, max_value=3))
def test_above_that_an_hour_really_costs_less(read: float, dearer: float) -> None:
    """Twice as long without a call: the pings of five minutes cost more than the hour with its own."""
    five, hour = Upkeep(read=read, write=1.25), Upkeep(read=read, write=1.25 + dearer)
    least = hour_pays_after(five, hour)
    assert least is not None
    idle = 2 * least
    assert five.write + idle / 270 * five.ping > hour.write + (idle // 3570) * hour.ping


def test_a_price_that_is_not_known_is_not_guessed() -> None:
    """There is no upkeep of a model without a price; a free ping has no limit."""
    assert upkeep_of(parse("nobody.knows-v1:0"), 5_000, "5m", PricePolicy()) is None
    assert Upkeep(read=0.0, write=1.0).most_pings is None
    with pytest.raises(ConfigurationError, match="negative"):
        Upkeep(read=-1.0, write=1.0)


def test_nothing_is_sent_unless_asked(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """A client keeps nothing warm by itself, nor does a KeepWarm that was made and never entered."""
    client = connect(bedrock, SONNET)
    warm = by_hand(client)
    ask(client, document)
    pass_lifetimes(warm, clock, 3)
    assert len(calls(bedrock)) == 1


def test_a_ping_asks_for_the_same_prefix(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Half a minute before the end one token is asked for; the next call reads what else it would write."""
    client = connect(bedrock, SONNET)
    with by_hand(client) as warm:
        ask(client, document)
        clock.advance(269)
        assert warm.tend() == pytest.approx(1.0)
        clock.advance(1)
        assert warm.tend() == pytest.approx(270.0)
        clock.advance(200)
        receipt = ask(client, document, "When?")
    first, ping, last = calls(bedrock)
    assert ping.body["system"] == first.body["system"] == last.body["system"]
    assert ping.body["inferenceConfig"] == {"maxTokens": 1}
    assert (ping.usage["cacheWriteInputTokens"], ping.usage["outputTokens"]) == (0, 1)
    assert ping.usage["cacheReadInputTokens"] == first.usage["cacheWriteInputTokens"]
    assert receipt["cache"]["write"] == 0
    assert receipt["cache"]["read"] > 2_000


def test_a_ping_has_a_receipt_that_says_so(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """It stands in every ledger of the call before it, and without caching it would have cost nothing."""
    own = Ledger()
    client = connect(bedrock, SONNET, ledger=own)
    with by_hand(client) as warm:
        with collect() as block:
            ask(client, document)
        pass_lifetimes(warm, clock, 1)
    ping = warm.ledger.receipts[0]
    assert (ping.purpose, [each.reason for each in ping.skipped]) == ("ping", [PURPOSES["ping"]])
    assert own.receipts[-1] is block.receipts[-1] is ping
    assert ping.cost_usd is not None
    assert ping.saved_usd == -ping.cost_usd
    assert own.savings().cost_usd == sum(each.cost_usd or 0 for each in own.receipts)
    assert own.savings().uncached_usd == own.receipts[0].uncached_cost_usd
    assert Receipt.from_dict(ping.to_dict()).purpose == "ping"


@pytest.mark.parametrize(("model", "most"), [(SONNET, 11), (LITE, 2)])
def test_pings_end_where_they_cost_a_write(
    serve: Callable[..., LocalBedrock], connect: Connect, document: str, model: str, most: int
) -> None:
    """Eleven on Claude; on Nova two, since three with their own tokens cost more than the write."""
    clock = ManualClock()
    bedrock = serve(clock=clock)
    client = connect(bedrock, model, clock=clock.now)
    with by_hand(client, chance=1.0) as warm:
        ask(client, document)
        pass_lifetimes(warm, clock, 20)
    assert len(calls(bedrock)) == 1 + most
    assert [(each.pings, "cost as much as one write" in each.reason) for each in warm.stopped] == [
        (most, True)
    ]


def test_free_writes_are_not_put_off(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """With Nova's writes at their list price of 0 there is nothing to spare."""
    client = connect(bedrock, LITE, prices=PricePolicy(nova_writes="list"))
    with by_hand(client, chance=1.0) as warm:
        ask(client, document)
        pass_lifetimes(warm, clock, 2)
    assert len(calls(bedrock)) == 1
    assert "costs no less" in warm.stopped[0].reason


def test_an_unlikely_call_is_not_waited_for(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Below 0.087 on Claude no ping goes out."""
    client = connect(bedrock, SONNET)
    with by_hand(client, chance=0.05) as warm:
        ask(client, document)
        pass_lifetimes(warm, clock, 2)
    assert len(calls(bedrock)) == 1
    assert [each.pings for each in warm.stopped] == [0]


def test_the_chance_follows_what_happens(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """It falls with each ping in vain, until none is worth it, and rises with each that a call came after."""
    client = connect(bedrock, SONNET)
    with by_hand(client, chance=0.3) as warm:
        ask(client, document)
        pass_lifetimes(warm, clock, 1)
        in_vain = warm.chance
        ask(client, document, "When?")
        used = warm.chance
    assert in_vain < 0.3 < used
    with by_hand(client, chance=0.2) as warm:
        ask(client, document)
        pass_lifetimes(warm, clock, 12)
    assert [each.pings for each in warm.stopped] == [3]
    assert "it takes more than" in warm.stopped[0].reason


def test_a_call_in_time_puts_the_ping_off(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Where calls come often, no ping is ever due."""
    client = connect(bedrock, SONNET)
    with by_hand(client) as warm:
        for number in range(10):
            ask(client, document, f"Question {number}?")
            clock.advance(200)
            warm.tend()
    assert (len(calls(bedrock)), warm.ledger.total.calls) == (10, 0)


def test_what_is_gone_is_not_written_again(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """After a machine has slept through the end of an entry, a ping would only write."""
    client = connect(bedrock, SONNET)
    with by_hand(client) as warm:
        ask(client, document)
        clock.advance(301)
        assert warm.tend() is None
    assert len(calls(bedrock)) == 1
    assert [each.reason for each in warm.stopped] == ["the entry is gone"]


def test_a_ping_that_writes_is_the_last(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Where the service has dropped the entry early, keeping it warm does not work and ends."""
    client = connect(bedrock, SONNET)
    with by_hand(client) as warm:
        ask(client, document)
        bedrock.clear_caches()
        pass_lifetimes(warm, clock, 3)
    assert len(calls(bedrock)) == 2
    assert "did not read" in warm.stopped[0].reason


def test_a_ping_that_fails_is_the_last(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Its error reaches nobody; the model is not pinged again for an hour, also not after a new call."""
    client = connect(bedrock, SONNET)
    with by_hand(client) as warm:
        ask(client, document)
        bedrock.fail(Fault.throttling())
        pass_lifetimes(warm, clock, 2)
        assert ask(client, document)["complete"]
        pass_lifetimes(warm, clock, 1)
    assert warm.ledger.total.calls == 0
    assert "ThrottlingException" in warm.stopped[0].reason
    assert warm.stopped[1].reason == "a ping of this model has failed"


def test_behind_a_router_the_warm_models_are_pinged(
    serve: Callable[..., LocalBedrock], connect: Connect, clock: ManualClock, document: str
) -> None:
    """Both models that answered are asked directly, never the router, which would choose anyone."""
    bedrock = serve(routing="alternate")
    router = bedrock.create_router("pair", list(PAIR))
    client = connect(bedrock, router)
    with by_hand(client) as warm:
        ask(client, document)
        ask(client, document, "When?")
        pass_lifetimes(warm, clock, 1)
        receipts = [ask(client, document, f"Question {number}?") for number in range(2)]
    asked = [each.model_id for each in calls(bedrock)]
    assert asked[:2] == asked[4:] == [router] * 2
    assert {parse(each).model_id for each in asked[2:4]} == {parse(each).model_id for each in PAIR}
    assert [each["cache"]["write"] for each in receipts] == [0, 0]


def test_a_model_that_is_rarely_asked_is_not_kept_warm(
    serve: Callable[..., LocalBedrock], connect: Connect, clock: ManualClock, document: str
) -> None:
    """Each model counts with its share of the answers; one that is cold is not pinged at all."""
    bedrock = serve()
    client = connect(bedrock, bedrock.create_router("pair", list(PAIR)))
    with by_hand(client, chance=0.2) as warm:
        receipts = [ask(client, document, f"Question {number}?") for number in range(9)]
        pass_lifetimes(warm, clock, 1)
    assert len({each["model"] for each in receipts}) == 1
    assert [each.model for each in warm.ledger.receipts] == [receipts[0]["model"]]


def test_a_conversation_is_kept_as_it_grows(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock
) -> None:
    """The ping ends with the last question; of two turns only the longer one is asked for."""
    client = connect(bedrock, SONNET)
    messages = [{"role": "user", "content": [{"text": "A long question. " * 600}]}]
    with by_hand(client) as warm:
        for text in ("Why?", "And then?"):
            reply = client.converse(messages=messages)
            messages = [
                *messages,
                reply["output"]["message"],
                {"role": "user", "content": [{"text": text * 40}]},
            ]
        pass_lifetimes(warm, clock, 1)
        after = client.converse(messages=messages)["bedrock_routing"]
    first, second, ping, _ = calls(bedrock)
    assert ping.body["messages"] == second.body["messages"] != first.body["messages"]
    assert ping.usage["cacheWriteInputTokens"] == 0
    assert after["cache"]["read"] >= ping.usage["cacheReadInputTokens"]


def test_only_the_newest_prefixes_are_kept(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """More than `most` prefixes: the one that was used longest ago is left to its end."""
    client = connect(bedrock, SONNET)
    with by_hand(client, most=1) as warm:
        ask(client, document)
        clock.advance(1)
        ask(client, document, additionalModelRequestFields={"other": "prefix"})
        pass_lifetimes(warm, clock, 1)
    assert "additionalModelRequestFields" in calls(bedrock)[-1].body
    assert (len(calls(bedrock)), warm.stopped[0].reason) == (3, "at most 1 prefixes are kept warm")


def test_a_guardrail_is_not_paid_for_pings(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Guardrails charge for each call by its text, which would cost more than the read."""
    client = connect(bedrock, SONNET)
    guard = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    with by_hand(client) as warm:
        ask(client, document, guardrailConfig=guard)
        pass_lifetimes(warm, clock, 1)
    assert len(calls(bedrock)) == 1
    assert "guardrail" in warm.stopped[0].reason


def test_an_hour_is_advised_where_it_costs_less(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Calls known to be 40 minutes apart: no ping, and a word on ttl; at 30 minutes pings cost less."""
    client = connect(bedrock, SONNET)
    with by_hand(client, expected_idle=2_400) as far, by_hand(client, expected_idle=1_800) as near:
        ask(client, document)
        pass_lifetimes(far, clock, 0)
        clock.advance(271)
        far.tend()
        near.tend()
    assert far.ledger.total.calls == 0
    assert "ttl='1h' costs less" in far.stopped[0].reason
    assert near.ledger.total.calls == 1


def test_nothing_is_sent_after_the_block(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Leaving it forgets all prefixes; later calls are not watched."""
    client = connect(bedrock, SONNET)
    with by_hand(client) as warm:
        ask(client, document)
    ask(client, document, "When?")
    pass_lifetimes(warm, clock, 2)
    warm.close()
    assert len(calls(bedrock)) == 2


def test_without_a_client_the_calls_of_a_context_are_kept(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """Calls inside the block count, in this context and its copies, whatever client makes them."""
    inside, outside = connect(bedrock, SONNET), connect(bedrock, PAIR[0])
    elsewhere = copy_context()
    with by_hand(None) as warm:
        thread = threading.Thread(target=copy_context().run, args=(ask, inside, document))
        thread.start()
        thread.join()
        elsewhere.run(ask, outside, document)
        pass_lifetimes(warm, clock, 1)
    assert [each.model_id for each in calls(bedrock)] == [SONNET, PAIR[0], SONNET]


def test_a_thread_sends_the_pings(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, document: str
) -> None:
    """It waits for each to become due, rests when there is none, and ends with the block."""
    rested = threading.Event()

    def wait(changed: threading.Condition, seconds: float | None) -> None:
        if seconds is None:
            rested.set()
            changed.wait()
        else:
            clock.advance(seconds)

    client = connect(bedrock, SONNET)
    with client.keep_warm(chance=1.0, wait=wait) as warm:
        ask(client, document)
        assert rested.wait(20)
        thread = next(each for each in threading.enumerate() if each.name == "bedrock-routing-keep-warm")
        assert thread.daemon
    thread.join(20)
    assert not thread.is_alive()
    assert warm.ledger.total.calls == 11


def test_a_watcher_that_raises_breaks_no_call(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """Whoever is told of calls may fail; the reply comes all the same."""
    client = connect(bedrock, SONNET)

    def fail(_: Finished) -> None:
        raise RuntimeError("no")

    client.watchers.add(fail)
    assert ask(client, document)["complete"]


@pytest.mark.parametrize("wrong", [{"chance": 2.0}, {"most": 0}, {"margin": 300.0}, {"client": object()}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    """A number that means nothing, or a client that does not tell of its calls, is refused at once."""
    with pytest.raises(ConfigurationError):
        KeepWarm(**wrong)


def test_it_is_entered_once(bedrock: LocalBedrock, connect: Connect) -> None:
    """Entered a second time it would send each ping twice."""
    with by_hand(connect(bedrock, SONNET)) as warm, pytest.raises(ConfigurationError, match="open already"):
        warm.__enter__()
