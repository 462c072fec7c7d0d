from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import ClientError, EventStreamError

from bedrock_local import Fault, LocalBedrock
from bedrock_routing import IncompleteStreamError, Ledger, Receipt, RoutedClient, collect
from bedrock_routing.fanout import gate_of
from bedrock_routing.streams import RoutedStream

Connect = Callable[..., RoutedClient]
E1 = "You invoked an unsupported model or your request did not allow prompt caching."
ORPHAN = "There is nothing available to cache. Please remove the invalid cache point and try again."


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text}]}


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event.get("contentBlockDelta", {}).get("delta", {}).get("text", "") for event in events)


def test_the_receipt_is_in_the_metadata_event(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """The last event of a stream says who answered and what was cached; the others are botocore's own."""
    client = connect(bedrock, "amazon.nova:1")
    receipts = []
    for question in ("Who?", "When?"):
        reply = client.converse_stream(system=[{"text": document}], messages=[user(question)])
        events = list(reply["stream"])
        receipts.append(events[-1]["metadata"]["bedrock_routing"])
        assert text_of(events) == "This is a fixed answer."
        assert reply["stream"].receipt == Receipt.from_dict(receipts[-1])
    assert [receipt["cache"]["read"] > 2_000 for receipt in receipts] == [False, True]
    assert (receipts[1]["model"], receipts[1]["stop_reason"]) == ("amazon.nova-lite-v1:0", "end_turn")
    assert receipts[1]["complete"]


def test_streams_and_plain_calls_share_the_cache(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """What a stream wrote, a plain call reads: both send the same prefix."""
    client = connect(bedrock, "amazon.nova:1")
    list(client.converse_stream(system=[{"text": document}], messages=[user("Who?")])["stream"])
    reply = client.converse(system=[{"text": document}], messages=[user("When?")])
    assert reply["bedrock_routing"]["cache"]["read"] > 2_000


@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_cut_stream_is_an_error_with_what_is_known(
    bedrock: LocalBedrock, connect: Connect, after: int
) -> None:
    """Botocore ends a cut stream in silence; here it raises, says what is missing, and is counted."""
    ledger = Ledger()
    client = connect(bedrock, "amazon.nova:1", ledger=ledger)
    bedrock.fail(Fault.cut(after_events=after))
    stream = client.converse_stream(messages=[user("Hi?")])["stream"]
    with pytest.raises(IncompleteStreamError, match="messageStop") as caught:
        list(stream)
    assert isinstance(caught.value, ConnectionError)
    assert (caught.value.receipt["complete"], caught.value.receipt["cost_usd"]) == (False, None)
    assert (ledger.total.calls, ledger.total.without_usage) == (1, 1)


def test_a_stream_cut_after_its_answer_says_that_the_metadata_is_missing(
    bedrock: LocalBedrock, connect: Connect
) -> None:
    """Between the answer's end and the metadata the tokens are unknown, the reason to stop is not."""
    client = connect(bedrock, "amazon.nova:1")
    count = len(list(client.converse_stream(messages=[user("Hi?")])["stream"]))
    bedrock.fail(Fault.cut(after_events=count - 1))
    with pytest.raises(IncompleteStreamError, match="metadata") as caught:
        list(client.converse_stream(messages=[user("Hi?")])["stream"])
    assert caught.value.receipt["stop_reason"] == "end_turn"


def test_a_stream_that_is_left_is_closed_and_counted(bedrock: LocalBedrock, connect: Connect) -> None:
    """Who stops reading, by `break` or by closing, leaves a receipt that is not complete."""
    ledger = Ledger()
    client = connect(bedrock, "amazon.nova:1", ledger=ledger)
    reply = client.converse_stream(messages=[user("Hi?")])
    for _ in reply["stream"]:
        break
    reply["stream"].close()
    left = client.converse_stream(messages=[user("Hi?")])["stream"]
    next(iter(left))
    del left
    gc.collect()
    client.converse_stream(messages=[user("Hi?")])["stream"].close()
    assert [receipt.complete for receipt in ledger.receipts] == [False, False, False]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[EventStream]:
    """Return the streams of botocore that are closed from now on."""
    closed: list[EventStream] = []
    close = EventStream.close

    def note(stream: EventStream) -> None:
        closed.append(stream)
        close(stream)

    monkeypatch.setattr(EventStream, "close", note)
    return closed


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keep Python from looking for objects that hold each other."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("read", [False, True], ids=["unread", "begun"])
@pytest.mark.usefixtures("no_collector")
def test_a_stream_that_is_dropped_ends_there_and_then(
    bedrock: LocalBedrock, connect: Connect, document: str, closed: list[EventStream], read: bool
) -> None:
    """A stream that is just dropped is closed and counted at once, and keeps nobody waiting for it."""
    ledger = Ledger()
    client = connect(bedrock, "anthropic.claude-sonnet-5", ledger=ledger)
    reply = client.converse_stream(system=[{"text": document}], messages=[user("Who?")])
    if read:
        for _ in reply["stream"]:
            break
    del reply
    assert closed
    assert [receipt.complete for receipt in ledger.receipts] == [False]
    assert gate_of(client._engine().state)._writing == {}


@pytest.mark.parametrize("read", [False, True], ids=["unread", "begun"])
@pytest.mark.usefixtures("no_collector")
def test_a_stream_that_the_collector_finds_is_counted_where_it_was_asked_for(
    bedrock: LocalBedrock, connect: Connect, read: bool
) -> None:
    """Whoever happens to be collecting when Python cleans up does not get the receipt of somebody else."""
    client = connect(bedrock, "amazon.nova:1")
    with collect() as mine:
        holder: list[Any] = [client.converse_stream(messages=[user("Hi?")])["stream"]]
        if read:
            next(iter(holder[0]))
        holder.append(holder)
    del holder
    with collect() as others:
        gc.collect()
    assert [receipt.complete for receipt in mine.receipts] == [False]
    assert others.receipts == ()


def test_closing_a_finished_stream_counts_it_once(bedrock: LocalBedrock, connect: Connect) -> None:
    """A stream that was read to its end stays complete when it is closed."""
    ledger = Ledger()
    reply = connect(bedrock, "amazon.nova:1", ledger=ledger).converse_stream(messages=[user("Hi?")])
    list(reply["stream"])
    reply["stream"].close()
    assert [receipt.complete for receipt in ledger.receipts] == [True]


def test_an_error_inside_a_stream_is_botocores_own(bedrock: LocalBedrock, connect: Connect) -> None:
    """After the first words nothing is repeated: the error passes through and the call is counted."""
    ledger = Ledger()
    client = connect(bedrock, "amazon.nova:1", ledger=ledger)
    bedrock.fail(Fault.exception_in_stream())
    with pytest.raises(EventStreamError, match="throttlingException"):
        list(client.converse_stream(messages=[user("Hi?")])["stream"])
    assert [receipt.complete for receipt in ledger.receipts] == [False]


@pytest.mark.parametrize(
    "fault",
    [Fault.exception_in_stream(), Fault.cut(), Fault.cut(reset=True)],
    ids=["exception", "cut", "reset"],
)
def test_a_stream_that_fails_is_closed(
    bedrock: LocalBedrock, connect: Connect, closed: list[EventStream], fault: Fault
) -> None:
    """A stream that breaks off holds no connection, also while its error or the stream is kept."""
    bedrock.fail(fault)
    stream = connect(bedrock, "amazon.nova:1").converse_stream(messages=[user("Hi?")])["stream"]
    with pytest.raises((EventStreamError, IncompleteStreamError)):
        list(stream)
    assert len(closed) == 1


def test_an_error_that_keeps_a_stream_from_closing_hides_no_other() -> None:
    """What goes wrong in closing is not what the caller hears of, and the receipt is there."""

    class Broken:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            raise ConnectionResetError

        def close(self) -> None:
            raise OSError("it is gone")

    stream = following(Broken())
    with pytest.raises(IncompleteStreamError, match="its connection was cut"):
        list(stream)
    assert stream.receipt == Receipt(complete=False)


def test_an_error_inside_a_stream_is_explained(bedrock: LocalBedrock, connect: Connect) -> None:
    """Throttling as the first event of a stream carries the same note as a 429."""
    client = connect(bedrock, "amazon.nova:1")
    bedrock.fail(Fault.exception_in_stream(after_events=0))
    with pytest.raises(EventStreamError) as caught:
        list(client.converse_stream(messages=[user("Hi?")])["stream"])
    assert "quota" in " ".join(getattr(caught.value, "__notes__", []))


def test_a_refusal_before_the_first_word_is_asked_again_without_points(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """A refusal that comes as the first event of a stream costs the caller nothing."""
    client = connect(bedrock, "anthropic.claude-sonnet-5")
    bedrock.fail(Fault.exception_in_stream("ValidationException", ORPHAN, after_events=0))
    reply = client.converse_stream(system=[{"text": document}], messages=[user("Who?")])
    events = list(reply["stream"])
    assert text_of(events) == "This is a fixed answer."
    assert ["cachePoint" in str(each.body) for each in bedrock.requests] == [True, False]
    receipt = events[-1]["metadata"]["bedrock_routing"]
    assert (receipt["cache"]["points"], receipt["complete"]) == ([], True)


def test_a_refusal_with_http_is_asked_again_without_points(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """A refused stream is opened again before the caller sees anything."""
    client = connect(bedrock, "anthropic.claude-sonnet-5")
    bedrock.fail(Fault.error("AccessDeniedException", E1), operation="ConverseStream")
    events = list(client.converse_stream(system=[{"text": document}], messages=[user("Who?")])["stream"])
    assert text_of(events) == "This is a fixed answer."


def test_a_refusal_after_the_first_word_is_not_repeated(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """Once the caller has words, opening the stream again would say them twice."""
    client = connect(bedrock, "anthropic.claude-sonnet-5")
    bedrock.fail(Fault.exception_in_stream("ValidationException", ORPHAN, after_events=2))
    with pytest.raises(ClientError):
        list(client.converse_stream(system=[{"text": document}], messages=[user("Who?")])["stream"])
    assert len([each for each in bedrock.requests if each.operation == "ConverseStream"]) == 1


class Events:
    """Play the part of botocore's stream."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = events

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._events)

    def close(self) -> None:
        """Close nothing."""


def followed(*events: dict[str, Any]) -> RoutedStream:
    return following(Events(*events))


def following(stream: Any) -> RoutedStream:
    return RoutedStream(
        stream,
        turn=None,
        finish=lambda _turn, _reply, *, complete: Receipt(complete=complete),
        reopen=lambda _error: None,
    )


def test_metadata_without_an_end_of_the_message_is_a_cut_answer() -> None:
    """Both last events are needed: tokens alone do not say that the answer is whole."""
    metadata = {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}}
    with pytest.raises(IncompleteStreamError):
        list(followed({"messageStart": {"role": "assistant"}}, metadata))


def test_the_events_of_botocore_are_not_changed() -> None:
    """The receipt goes into a copy of the metadata event."""
    metadata = {"metadata": {"usage": {}}}
    list(followed({"messageStop": {"stopReason": "end_turn"}}, metadata))
    assert metadata == {"metadata": {"usage": {}}}


def test_unknown_events_pass_through() -> None:
    """An event kind of the future reaches the caller."""
    stop, odd = {"messageStop": {"stopReason": "end_turn"}}, {"news": {}}
    assert list(followed(odd, stop, {"metadata": {}}))[:2] == [odd, stop]
