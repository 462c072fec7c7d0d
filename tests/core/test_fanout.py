"""Calls at once over one prefix: one writes it, the others read it, and nothing ever hangs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_local import Fault, FixedAnswer, LocalBedrock, SystemClock
from bedrock_routing import (
    CachePolicy,
    ConfigurationError,
    Ledger,
    RoutedClient,
    fanout,
    parse,
    remember_documents,
)
from bedrock_routing.fanout import gate_of
from bedrock_routing.planning import Ratios
from bedrock_routing.primes import models_to_prime

Connect = Callable[..., RoutedClient]
Serve = Callable[..., LocalBedrock]
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PAIR = ("us.anthropic.claude-opus-4-8", "us.anthropic.claude-sonnet-4-6")
LATENCY = 0.3
TOOL = {
    "toolSpec": {
        "name": "look",
        "inputSchema": {"json": {"type": "object", "properties": {"page": {"type": "integer"}}}},
    }
}


@pytest.fixture
def at_pace(serve: Serve) -> LocalBedrock:
    """Serve a Bedrock whose first event takes real time, so that calls really meet."""
    return serve(clock=SystemClock(), latency=LATENCY, routing="alternate")


@pytest.fixture
def routed(connect: Connect) -> Callable[..., RoutedClient]:
    """Return a function that makes a client for many calls at once."""

    def make(bedrock: LocalBedrock, model: str, **policy: Any) -> RoutedClient:
        ledger = Ledger()
        runtime = bedrock.client(retries={"total_max_attempts": 1}, max_pool_connections=250)
        client = RoutedClient(runtime, model=model, ledger=ledger, cache=CachePolicy(**policy))
        client.target()
        client.__dict__["kept"] = ledger
        return client

    return make


def other_document(name: str) -> str:
    text = " ".join(f"{name} {number} says that the owner pays for the roof." for number in range(200))
    remember_documents([text])
    return text


def question(document: str, text: str) -> dict[str, Any]:
    return {
        "system": [{"text": document}],
        "messages": [{"role": "user", "content": [{"text": text}]}],
    }


def whole(client: RoutedClient, document: str, text: str) -> dict[str, Any]:
    return client.converse(**question(document, text))["bedrock_routing"]


def streamed(client: RoutedClient, document: str, text: str) -> dict[str, Any]:
    events = list(client.converse_stream(**question(document, text))["stream"])
    return events[-1]["metadata"]["bedrock_routing"]


def all_at_once(call: Callable[[int], Any], count: int) -> list[Any]:
    """Return what each call returned or raised, in order."""

    def kept(number: int) -> Any:
        try:
            return call(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(kept, range(count)))


def writes(bedrock: LocalBedrock) -> Counter[str]:
    """Count the calls that wrote something, by model."""
    return Counter(
        parse(each.invoked_model or "").name
        for each in bedrock.requests
        if each.usage and each.usage.get("cacheWriteInputTokens")
    )


def operations(bedrock: LocalBedrock) -> list[str]:
    return [each.operation for each in bedrock.requests if each.operation.startswith("Converse")]


def background(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def wait_until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(1_000):
        if true():
            return
        waiting.wait(0.01)
    raise AssertionError("it never came")


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the others time to arrive, however busy the machine is."""
    monkeypatch.setattr(fanout, "_LOOK_AROUND", 0.2)


def not_alone(client: RoutedClient) -> AbstractContextManager[None]:
    """Let calls see that another one is being planned."""
    return gate_of(client._engine().state).arriving()


def waited(receipt: dict[str, Any]) -> bool:
    return any(each["reason"].startswith("waited") for each in receipt["cache"]["skipped"])


@pytest.mark.parametrize("ask", [whole, streamed])
def test_two_hundred_calls_write_once(
    at_pace: LocalBedrock, routed: Callable[..., RoutedClient], document: str, ask: Callable[..., Any]
) -> None:
    """Of 200 calls over one cold prefix one writes; the others waited, say so, and read it."""
    client = routed(at_pace, SONNET)
    with not_alone(client):
        receipts = all_at_once(lambda number: ask(client, document, f"Question {number}?"), 200)
    assert writes(at_pace).total() == 1
    assert sum(receipt["cache"]["read"] > 2_000 for receipt in receipts) == 199
    assert any(waited(receipt) for receipt in receipts)
    assert not any(waited(receipt) for receipt in receipts if receipt["cache"]["write"])


def test_a_call_alone_does_not_wait(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """One call after the other: none says that it waited, each goes out as what it is."""
    client = routed(at_pace, SONNET)
    receipts = [whole(client, document, f"Question {number}?") for number in range(3)]
    assert not any(waited(receipt) for receipt in receipts)
    assert operations(at_pace) == ["Converse", "Converse", "Converse"]


def test_a_conversation_is_not_streamed(bedrock: LocalBedrock, connect: Connect) -> None:
    """What only this conversation says is written by a plain call: others rarely share it."""
    client = connect(bedrock, SONNET)
    text = "A long question. " * 600
    client.converse(messages=[{"role": "user", "content": [{"text": text}]}])
    assert operations(bedrock) == ["Converse"]


@pytest.mark.parametrize(("fan_out", "sent"), [("reply", {"Converse"}), ("off", {"Converse"})])
def test_no_stream_where_none_is_wanted(
    at_pace: LocalBedrock, routed: Any, document: str, fan_out: str, sent: set[str]
) -> None:
    """`reply` waits for whole answers, `off` for nothing: then all that come at once write."""
    client = routed(at_pace, SONNET, fan_out=fan_out)
    all_at_once(lambda number: whole(client, document, f"Question {number}?"), 8)
    assert set(operations(at_pace)) == sent
    assert (writes(at_pace).total() == 1) == (fan_out == "reply")


def test_a_guardrail_is_not_streamed(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """A guardrail treats streams in another way, so such a call goes out as what it is."""
    guard = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    connect(bedrock, SONNET).converse(**question(document, "Who?"), guardrailConfig=guard)
    assert operations(bedrock) == ["Converse"]


@pytest.mark.parametrize("ask", [whole, streamed])
def test_each_model_behind_a_router_writes_once(
    at_pace: LocalBedrock, routed: Any, document: str, ask: Callable[..., Any]
) -> None:
    """The models that the waiting calls may meet are primed; a prime has a receipt that says so."""
    client = routed(at_pace, at_pace.create_router("pair", list(PAIR)))
    all_at_once(lambda number: ask(client, document, f"Question {number}?"), 40)
    assert set(writes(at_pace).values()) == {1}
    assert len(writes(at_pace)) == 2
    receipts = client.kept.receipts
    primes = [each for each in receipts if each.purpose == "prime"]
    assert {each.model for each in primes} == {parse(each).model_id for each in PAIR}
    assert {each.usage.output for each in primes if each.usage} == {1}
    assert [each.purpose for each in primes] == ["prime", "prime"]
    assert [each.saved_usd for each in primes] == [-each.cost_usd for each in primes if each.cost_usd]
    assert len(receipts) == 42
    assert sorted(
        each.body["inferenceConfig"]["maxTokens"]
        for each in at_pace.requests
        if "inferenceConfig" in each.body
    ) == [1, 1]


def test_primes_can_be_switched_off(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """Then no call goes out that nobody made."""
    client = routed(at_pace, at_pace.create_router("pair", list(PAIR)), prime=False)
    all_at_once(lambda number: whole(client, document, f"Question {number}?"), 12)
    assert len(operations(at_pace)) == 12


def test_two_calls_are_not_worth_a_prime(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """One waiting call would have to write at most once itself."""
    client = routed(at_pace, at_pace.create_router("pair", list(PAIR)))
    all_at_once(lambda number: whole(client, document, f"Question {number}?"), 2)
    assert len(operations(at_pace)) == 2


def test_a_prime_that_is_refused_is_not_tried_again(
    at_pace: LocalBedrock, routed: Any, document: str
) -> None:
    """Without the right to ask the models themselves, calls go on as if there were no primes."""
    client = routed(at_pace, at_pace.create_router("pair", list(PAIR)))
    at_pace.fail(Fault.denied("InvokeModel", "a model"), operation="Converse", times=2)
    for text in (document, other_document("Lease")):
        ask = partial(streamed, client, text)
        replies = all_at_once(lambda number, ask=ask: ask(f"Question {number}?"), 12)
        assert [each for each in replies if isinstance(each, Exception)] == []
    assert Counter(operations(at_pace)) == {"ConverseStream": 24, "Converse": 2}


def test_a_prime_for_which_there_is_no_thread(
    at_pace: LocalBedrock, routed: Any, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, those who wait are let go at once, and no more primes are tried."""
    tried: list[object] = []

    class NoThread:
        def __init__(self, **_: object) -> None:
            tried.append(self)

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    client = routed(at_pace, at_pace.create_router("pair", list(PAIR)), fan_out_seconds=60)
    monkeypatch.setattr(fanout, "threading", SimpleNamespace(Thread=NoThread, Lock=threading.Lock))
    replies: list[Any] = []
    ask = partial(whole, client, document)
    asking = background(lambda: replies.extend(all_at_once(lambda number: ask(f"{number}?"), 12)))
    asking.join(20)
    assert [isinstance(each, Exception) for each in replies] == [False] * 12
    assert gate_of(client._engine().state)._writing == {}
    assert len(tried) == 2
    all_at_once(lambda number: whole(client, other_document("Lease"), f"{number}?"), 12)
    assert len(tried) == 2


def test_another_model_that_is_cold_is_primed(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """Where one model is warm, calls at once still write only once at the other."""
    client = routed(at_pace, at_pace.create_router("pair", list(PAIR)))
    whole(client, document, "First?")
    all_at_once(lambda number: whole(client, document, f"Question {number}?"), 20)
    assert set(writes(at_pace).values()) == {1}


def test_an_error_stays_with_its_call(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """The call that leads is throttled: it raises, one that waited leads next, the others read."""
    client = routed(at_pace, SONNET)
    at_pace.fail(Fault.throttling(), operation="ConverseStream")
    replies = all_at_once(lambda number: whole(client, document, f"Question {number}?"), 20)
    assert [type(each).__name__ for each in replies if isinstance(each, Exception)] == ["ThrottlingException"]
    assert writes(at_pace).total() == 1


@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_fails_is_asked_whole(
    at_pace: LocalBedrock, routed: Any, document: str, after: int
) -> None:
    """An error inside the stream is none for who asked for a whole answer."""
    client = routed(at_pace, SONNET)
    at_pace.fail(Fault.exception_in_stream(after_events=after))
    replies = all_at_once(lambda number: whole(client, document, f"Question {number}?"), 10)
    assert [each for each in replies if isinstance(each, Exception)] == []


def test_streams_that_are_denied_are_not_tried_again(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """Without the right to stream, whole answers come as before."""
    client = connect(bedrock, SONNET)
    bedrock.fail(Fault.denied("InvokeModelWithResponseStream", SONNET), operation="ConverseStream")
    with not_alone(client):
        whole(client, document, "Who?")
        whole(client, other_document("Lease"), "When?")
    assert operations(bedrock) == ["ConverseStream", "Converse", "Converse"]


def test_a_request_that_is_wrong_says_nothing_of_streams(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """A call that is refused whole as well was not refused for being a stream: the next one is one again."""
    client = connect(bedrock, SONNET)
    bedrock.fail(Fault.error("ValidationException", "The maximum tokens exceed the limit."), times=2)
    with not_alone(client):
        with pytest.raises(ClientError, match="maximum tokens"):
            whole(client, document, "Who?")
        whole(client, other_document("Lease"), "When?")
    assert operations(bedrock) == ["ConverseStream", "Converse", "ConverseStream"]


def test_a_call_that_hangs_holds_nobody_for_long(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """Those who waited long enough go on their own while the first one still hangs."""
    client = routed(at_pace, SONNET, fan_out_seconds=0.2)
    at_pace.fail(Fault.timeout(4), operation="ConverseStream")
    with not_alone(client):
        first = background(lambda: all_at_once(lambda _: whole(client, document, "First?"), 1))
        wait_until(lambda: len(client.kept.receipts) == 0 and at_pace.connections > 0)
    replies = all_at_once(lambda number: whole(client, document, f"Question {number}?"), 5)
    assert first.is_alive()
    assert [each for each in replies if isinstance(each, Exception)] == []


def test_other_prefixes_do_not_wait(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """A call over other documents is answered while the first one hangs."""
    client = routed(at_pace, SONNET, fan_out_seconds=60)
    at_pace.fail(Fault.timeout(4), operation="ConverseStream")
    with not_alone(client):
        first = background(lambda: all_at_once(lambda _: whole(client, document, "First?"), 1))
        wait_until(lambda: at_pace.connections > 0)
    assert not waited(whole(client, other_document("Lease"), "Who?"))
    assert first.is_alive()


def test_a_stream_that_is_left_hands_over(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """A stream that nobody reads is closed before its first event: who waits for it leads."""
    client = routed(at_pace, SONNET, fan_out_seconds=60)
    stream = client.converse_stream(**question(document, "First?"))["stream"]
    receipts: list[dict[str, Any]] = []
    second = background(lambda: receipts.append(whole(client, document, "Second?")))
    second.join(LATENCY)
    assert second.is_alive()
    stream.close()
    second.join(10)
    assert waited(receipts[0])


def test_a_refused_point_makes_nobody_wait(at_pace: LocalBedrock, routed: Any, document: str) -> None:
    """The first call is made again without points; those who waited learn that, too."""
    client = routed(at_pace, SONNET, fan_out_seconds=60)
    refusal = "You invoked an unsupported model or your request did not allow prompt caching."
    at_pace.fail(Fault.error("AccessDeniedException", refusal))
    receipts = all_at_once(lambda number: whole(client, document, f"Question {number}?"), 10)
    assert [receipt["cache"]["points"] for receipt in receipts] == [[]] * 10


def test_replies_put_together_are_what_converse_gives(serve: Serve, connect: Connect) -> None:
    """Text and tool calls: the same members as those of a plain call, and valid ones."""
    bedrock = serve(answers=FixedAnswer("One two three. " * 9, tool_calls={"look": {"page": 7, "of": ["ä"]}}))
    text = other_document("Rent")
    ask = {
        **question(text, "Who?"),
        "toolConfig": {"tools": [TOOL]},
        "performanceConfig": {"latency": "standard"},
    }
    client = connect(bedrock, SONNET)
    with not_alone(client):
        replies = [client.converse(**ask), bedrock.client().converse(modelId=SONNET, **ask)]
    assert operations(bedrock) == ["ConverseStream", "Converse"]
    mine, plain = replies
    assert mine.keys() - {"bedrock_routing"} == plain.keys()
    assert mine["ResponseMetadata"]["HTTPStatusCode"] == 200
    for reply in replies:
        for block in reply["output"]["message"]["content"]:
            block.get("toolUse", {}).pop("toolUseId", None)
    for name in ("output", "stopReason", "performanceConfig"):
        assert mine[name] == plain[name]
    assert mine["usage"].keys() >= plain["usage"].keys()


@pytest.mark.parametrize(
    ("waiting", "share", "led", "worth"),
    [(1, 0.5, True, False), (3, 0.5, True, True), (19, 0.02, False, False), (19, 0.2, False, True)],
)
def test_a_prime_is_sent_where_it_pays(waiting: int, share: float, led: bool, worth: bool) -> None:
    """With Claude's prices: more than 1.09 calls must be expected at the cold model."""
    ratios = {"b": Ratios(read=0.1, write=1.25)}
    chosen = models_to_prime({"a": 1 - share, "b": share}, ["b"], ratios, waiting=waiting, led=led)
    assert chosen == (("b",) if worth else ())


@pytest.mark.parametrize("wrong", [{"fan_out": "yes"}, {"fan_out_seconds": -1.0}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    """A word or a bound that means nothing is refused at once."""
    with pytest.raises(ConfigurationError, match="fan_out"):
        CachePolicy(**wrong)


def test_an_error_of_a_call_alone_is_raised(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """What is wrong with the call itself is said by the call itself."""
    bedrock.fail(Fault.error("ValidationException", "No."), times=2)
    with pytest.raises(ClientError, match=r"No\."):
        whole(connect(bedrock, SONNET), document, "Who?")


def test_a_conversation_does_not_look_around(
    serve: Serve, routed: Callable[..., RoutedClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a call that writes what others may share lets them come first; the next turns go out at once."""
    waits: list[float] = []
    monkeypatch.setattr(fanout, "pause", waits.append)
    client = routed(serve(), SONNET)
    request = question(other_document("Jane"), "Who pays for the roof?")
    for turn in range(3):
        reply = client.converse(**request)
        said = [reply["output"]["message"], {"role": "user", "content": [{"text": f"And in year {turn}?"}]}]
        request = {**request, "messages": [*request["messages"], *said]}
    assert reply["bedrock_routing"]["cache"]["write"] > 0
    assert len(waits) == 1
