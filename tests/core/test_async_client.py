"""Calls on the event loop itself: planned, sent and accounted for as those of `RoutedClient`."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.session import Session

from bedrock_local import Fault, LocalBedrock, Pace
from bedrock_local.eventstream import event
from bedrock_routing import (
    AsyncRoutedClient,
    CachePolicy,
    ConfigurationError,
    IncompleteStreamError,
    Ledger,
    MissingExtraError,
    RoutedClient,
    async_client,
    fanout,
)
from bedrock_routing.engine import Engine
from bedrock_routing.loop_clients import has_extra

pytestmark = pytest.mark.skipif(not has_extra(), reason="the extra 'async' is not installed")

Connect = Callable[..., RoutedClient]
Serve = Callable[..., LocalBedrock]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
REFUSED = (
    "You invoked an unsupported model or your request did not allow prompt caching. "
    "See the documentation for more information."
)
LITE = "amazon.nova-lite-v1:0"


def about(document: str, question: str = "Who pays?") -> dict[str, Any]:
    return {
        "system": [{"text": document}],
        "messages": [{"role": "user", "content": [{"text": question}]}],
    }


def hello() -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so; a hang is an error."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_call_is_what_a_blocking_one_is(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """The same request goes out, with the same points, and the same receipt comes back."""
    replies = []
    for each in (CLAUDE, CLAUDE):
        client = connect(bedrock, each)
        if not replies:
            replies.append(client.converse(**about(document)))
        else:
            replies.append(await AsyncRoutedClient(client).converse(**about(document)))
    first, second = bedrock.requests
    assert first.body == second.body
    written, read = (reply["bedrock_routing"] for reply in replies)
    assert (written["cache"]["points"], written["cache"]["write"]) == (
        read["cache"]["points"],
        read["cache"]["read"],
    )
    assert replies[0]["output"] == replies[1]["output"]


async def test_a_router_is_asked(bedrock: LocalBedrock, connect: Connect) -> None:
    """A router is looked up, and the receipt names the model that answered."""
    client = AsyncRoutedClient(connect(bedrock, "amazon.nova:1"))
    receipt = (await client.converse(**hello()))["bedrock_routing"]
    assert receipt["router_arn"].endswith("default-prompt-router/amazon.nova:1")
    assert receipt["model"].startswith("amazon.nova-")


async def test_a_stream_accounts_for_itself(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """The receipt stands in the metadata event, and is that of the stream when it has ended."""
    ledger = Ledger()
    client = AsyncRoutedClient(connect(bedrock, CLAUDE, ledger=ledger))
    stream = (await client.converse_stream(**about(document)))["stream"]
    assert stream.receipt is None
    events = [event async for event in stream]
    (metadata,) = (event["metadata"] for event in events if "metadata" in event)
    assert metadata["bedrock_routing"] == stream.receipt.to_dict()
    assert stream.receipt.complete
    assert stream.receipt.usage.write
    assert ledger.total.calls == 1


@pytest.mark.parametrize("fault", [Fault.cut(), Fault.cut(reset=True)], ids=["closed", "reset"])
async def test_a_cut_stream_is_an_error(bedrock: LocalBedrock, connect: Connect, fault: Fault) -> None:
    """A stream that ends too early raises, wherever it was cut, and is recorded as incomplete."""
    client = AsyncRoutedClient(connect(bedrock, LITE))
    bedrock.fail(fault, operation="ConverseStream")
    stream = (await client.converse_stream(**hello()))["stream"]
    with pytest.raises(IncompleteStreamError):
        [event async for event in stream]
    assert stream.receipt.complete is False


async def test_a_stream_that_is_left_is_closed(serve: Serve, connect: Connect) -> None:
    """Leaving a stream early closes its connection and records it, also when nothing was read of it."""
    bedrock = serve(clock=None, pace=Pace(output_tokens_per_second=20))
    client = AsyncRoutedClient(connect(bedrock, LITE))
    streams = [(await client.converse_stream(**hello()))["stream"] for _ in range(2)]
    await anext(aiter(streams[0]))
    assert bedrock.connections == 2
    for each in streams:
        await each.aclose()
        assert each.receipt.complete is False
    await until(lambda: bedrock.connections == 0)


class Listener:
    """Accept connections and say when they are closed; answer as far as told."""

    def __init__(self, answer: bytes = b"") -> None:
        self.answer = answer
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()
        self.url = ""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener]:
        """Listen."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            self.asked.set()
            writer.write(self.answer)
            with contextlib.suppress(ConnectionError):
                while await reader.read(65_536):
                    pass
            self.closed.set()
            writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    def client(self, **settings: Any) -> AsyncRoutedClient:
        """Return a client of it that tries once."""
        config = Config(retries={"total_max_attempts": 1}, **settings)
        runtime = boto3.client(
            "bedrock-runtime", region_name="us-east-1", endpoint_url=self.url, config=config
        )
        return AsyncRoutedClient(RoutedClient(runtime, model=LITE))


HALF_A_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
NO_EVENT_YET = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\n\r\n"


@pytest.mark.parametrize("answer", [b"", HALF_A_REPLY], ids=["no answer yet", "half an answer"])
async def test_cancelling_a_call_closes_its_connection(answer: bytes) -> None:
    """A cancelled call does not go on unheard: its connection is closed at once."""
    async with Listener(answer).listening() as service:
        asking = asyncio.create_task(service.client().converse(**hello()))
        await service.asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            await service.closed.wait()


async def test_cancelling_a_reader_closes_its_connection() -> None:
    """A task that waits for the next event of a stream, and is cancelled, closes the connection."""
    async with Listener(NO_EVENT_YET).listening() as service:
        stream = (await service.client().converse_stream(**hello()))["stream"]
        reading = asyncio.create_task(anext(aiter(stream)))
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        async with asyncio.timeout(5):
            await service.closed.wait()
    assert stream.receipt.complete is False


async def test_silence_is_a_timeout() -> None:
    """A stream that says nothing for longer than `read_timeout` raises botocore's own error."""
    async with Listener(NO_EVENT_YET).listening() as service:
        stream = (await service.client(read_timeout=0.2).converse_stream(**hello()))["stream"]
        with pytest.raises(ReadTimeoutError):
            await anext(aiter(stream))
        async with asyncio.timeout(5):
            await service.closed.wait()


def test_connections_end_with_their_event_loop(bedrock: LocalBedrock, connect: Connect) -> None:
    """One client serves one event loop after the other, and leaves no connection open."""
    client = AsyncRoutedClient(connect(bedrock, LITE))
    for _ in range(2):
        assert asyncio.run(client.converse(**hello()))["output"]
    assert client._of_loops == {}
    asyncio.run(until(lambda: bedrock.connections == 0))


async def test_a_client_is_closed(bedrock: LocalBedrock, connect: Connect) -> None:
    """`aclose` closes the connections; a later call makes new ones."""
    client = AsyncRoutedClient(connect(bedrock, LITE))
    for _ in range(2):
        await client.converse(**hello())
        assert bedrock.connections == 1
        await client.aclose()
        await until(lambda: bedrock.connections == 0)
    await client.aclose()


@pytest.mark.parametrize("what", ["all", "only connecting"])
@pytest.mark.parametrize("close", [False, True])
async def test_connecting_that_was_cancelled_is_tried_again(
    bedrock: LocalBedrock, connect: Connect, what: str, close: bool
) -> None:
    """What is cancelled while the first call connects is forgotten: the next call is answered."""
    client = AsyncRoutedClient(connect(bedrock, LITE))
    before = asyncio.all_tasks()
    asking = asyncio.create_task(client.converse(**hello()))
    while not client._of_loops:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    started = asyncio.all_tasks() - before
    assert len(started) == 2
    for task in started if what == "all" else client._of_loops.values():
        task.cancel()
    await asyncio.gather(*started, return_exceptions=True)
    assert asking.cancelled()
    if close:
        await client.aclose()
    for _ in range(2):
        assert (await client.converse(**hello()))["output"]
    assert bedrock.connections == 1


async def test_what_is_closed_late_leaves_what_came_after_it(bedrock: LocalBedrock, connect: Connect) -> None:
    """A connection that closes after another one was made does not take that one with it."""
    client = AsyncRoutedClient(connect(bedrock, LITE))
    await client.converse(**hello())
    late = client._of_loops.pop(asyncio.get_running_loop())
    await client.converse(**hello())
    kept = dict(client._of_loops)
    await late.result().holder.aclose()
    assert client._of_loops == kept


async def test_a_place_is_given_back(bedrock: LocalBedrock, connect: Connect) -> None:
    """With room for one stream, the next one starts when the one before is read, left or dropped."""
    client = AsyncRoutedClient(connect(bedrock, LITE), max_concurrency=1)
    async with asyncio.timeout(20):
        read = (await client.converse_stream(**hello()))["stream"]
        assert [event async for event in read]
        left = (await client.converse_stream(**hello()))["stream"]
        await left.aclose()
        dropped = (await client.converse_stream(**hello()))["stream"]
        del dropped
        assert [event async for event in (await client.converse_stream(**hello()))["stream"]]


# Calls at once


@pytest.fixture
def slow(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> LocalBedrock:
    """Serve a model that takes a moment; who comes first looks around for long enough."""
    monkeypatch.setattr(fanout, "_LOOK_AROUND", 0.1)
    return serve(clock=None, latency=0.3)


def writes(bedrock: LocalBedrock) -> int:
    return sum(bool(each.usage and each.usage.get("cacheWriteInputTokens")) for each in bedrock.requests)


async def test_one_of_many_writes(slow: LocalBedrock, connect: Connect, document: str) -> None:
    """Of calls at once over one document, on an event loop and on threads, one writes and the others read."""
    client = connect(slow, CLAUDE)
    on_loop = AsyncRoutedClient(client)
    replies = await asyncio.gather(
        *(on_loop.converse(**about(document, f"Question {number}?")) for number in range(6)),
        *(asyncio.to_thread(client.converse, **about(document, f"Thread {number}?")) for number in range(4)),
    )
    assert len(replies) == 10
    assert writes(slow) == 1


Asking = asyncio.Task[dict[str, Any]]


async def ask_together(client: RoutedClient, document: str, gate: fanout.Gate) -> tuple[Asking, list[Asking]]:
    """Return a call that leads, and three that wait for it."""
    on_loop = AsyncRoutedClient(client)
    await on_loop.converse(**hello())
    leader = asyncio.create_task(on_loop.converse_stream(**about(document)))
    await until(lambda: bool(gate._writing))
    waiting = [asyncio.create_task(on_loop.converse(**about(document, f"{number}?"))) for number in range(3)]
    await until(lambda: sum(len(each.waiting) for each in set(gate._writing.values())) == len(waiting))
    return leader, waiting


async def test_a_cancelled_leader_hands_over(serve: Serve, connect: Connect, document: str) -> None:
    """When the call that others wait for is cancelled, one of them writes instead."""
    bedrock = serve(clock=None, latency=1.0)
    client = connect(bedrock, CLAUDE)
    gate = fanout.gate_of(client._engine().state)
    leader, waiting = await ask_together(client, document, gate)
    leader.cancel()
    answers = await asyncio.gather(*waiting)
    assert all(each["bedrock_routing"]["cache"]["points"] for each in answers)
    assert leader.cancelled()
    assert gate._writing == {}


async def test_who_waits_may_be_cancelled(serve: Serve, connect: Connect, document: str) -> None:
    """Cancelled calls that wait for another one leave nothing behind, and are never sent."""
    bedrock = serve(clock=None, latency=1.0)
    client = connect(bedrock, CLAUDE)
    gate = fanout.gate_of(client._engine().state)
    leader, waiting = await ask_together(client, document, gate)
    (writing,) = set(gate._writing.values())
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (writing.waiting, set(writing.wanted.values())) == ([], {0})
    assert [event async for event in (await leader)["stream"]]
    assert len([each for each in bedrock.requests if each.operation.startswith("Converse")]) == 2


async def test_a_refused_point_is_dropped(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """A stream whose cache points are refused is asked for again, without any."""
    client = AsyncRoutedClient(connect(bedrock, CLAUDE))
    bedrock.fail(Fault.error("AccessDeniedException", REFUSED))
    stream = (await client.converse_stream(**about(document)))["stream"]
    assert [event async for event in stream]
    assert stream.receipt.points == ()
    assert stream.receipt.complete


async def test_a_long_prompt_is_planned_by_a_thread(
    bedrock: LocalBedrock, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes a while to plan does not hold the event loop up; a short one is planned on the loop."""
    planning: list[threading.Thread] = []
    begin = Engine.begin

    def note(*arguments: Any, **named: Any) -> Any:
        planning.append(threading.current_thread())
        return begin(*arguments, **named)

    monkeypatch.setattr(Engine, "begin", note)
    on_loop = AsyncRoutedClient(connect(bedrock, LITE))
    await on_loop.converse(**hello())
    here = len(planning)
    assert set(planning) == {threading.main_thread()}
    await on_loop.converse(**about("word " * 60_000))
    assert threading.main_thread() not in planning[here:]


# The same settings


async def test_the_very_credentials_are_used(bedrock: LocalBedrock) -> None:
    """Temporary credentials are renewed once, for both kinds of calls, and signed with."""
    renewed: list[int] = []

    def renew() -> dict[str, str]:
        renewed.append(1)
        until_when = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return {"access_key": "RENEWED", "secret_key": "s", "token": "t", "expiry_time": until_when}

    session: Any = Session()
    session._credentials = RefreshableCredentials(
        "OLD", "s", "t", datetime.now(UTC) - timedelta(hours=1), renew, "test"
    )
    runtime = boto3.Session(botocore_session=session, region_name="us-east-1").client(
        "bedrock-runtime", endpoint_url=bedrock.endpoint_url
    )
    signed: list[str] = []
    runtime.meta.events.register(
        "before-send.bedrock-runtime",
        lambda request, **_: signed.append(str(request.headers["Authorization"])),
    )
    client = RoutedClient(runtime, model=LITE)
    await AsyncRoutedClient(client).converse(**hello())
    client.converse(**hello())
    assert len(renewed) == 1
    assert ["Credential=RENEWED/" in each for each in signed] == [True, True]


@pytest.mark.parametrize("source", ["environment", "provider"])
async def test_the_very_token_is_used(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """A Bedrock API key is sent as a bearer token, wherever the boto3 client has it from."""
    sent: list[str] = []
    session: Any = Session()
    if source == "environment":
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "the-key")
        config = Config(retries={"total_max_attempts": 1})
    else:
        from botocore.tokens import FrozenAuthToken  # noqa: PLC0415 - only here

        class Fixed:
            def load_token(self, **_: Any) -> FrozenAuthToken:
                return FrozenAuthToken("the-key")

        session.register_component("token_provider", Fixed())
        config = Config(signature_version="bearer", retries={"total_max_attempts": 1})
    runtime = session.create_client("bedrock-runtime", region_name="us-east-1", config=config)

    def note(request: Any, **_: Any) -> Any:
        sent.append(str(request.headers["Authorization"]))
        raise ConnectionClosedError(endpoint_url=request.url)  # nothing leaves the machine

    runtime.meta.events.register("before-send.bedrock-runtime", note)
    client = RoutedClient(runtime, model=LITE)
    for ask in (AsyncRoutedClient(client).run, asyncio.to_thread):
        with pytest.raises(ConnectionClosedError):
            await ask(lambda: client.converse(**hello()))
    assert set(sent) in ({"Bearer the-key"}, {"b'Bearer the-key'"})


@pytest.mark.parametrize("fips", [False, True])
async def test_the_very_endpoint_is_asked(monkeypatch: pytest.MonkeyPatch, fips: bool) -> None:
    """What the boto3 client found out about its endpoint holds for both kinds of calls."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", str(fips).lower())
    asked: list[str] = []
    config = Config(retries={"total_max_attempts": 1})
    runtime = Session().create_client("bedrock-runtime", region_name="us-east-1", config=config)

    def note(request: Any, **_: Any) -> Any:
        asked.append(request.url)
        raise ConnectionClosedError(endpoint_url=request.url)  # nothing leaves the machine

    runtime.meta.events.register("before-send.bedrock-runtime", note)
    client = RoutedClient(runtime, model=LITE)
    for ask in (AsyncRoutedClient(client).run, asyncio.to_thread):
        with pytest.raises(ConnectionClosedError):
            await ask(lambda: client.converse(**hello()))
    assert len(set(asked)) == 1
    assert ("-fips" in asked[0]) is fips


class Canned:
    """Be the body of an answer that never came from the network."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.closed = False

    def stream(self) -> Iterator[bytes]:
        """Yield the pieces."""
        return iter(self.pieces)

    def close(self) -> None:
        """Note that nobody reads on."""
        self.closed = True


USAGE = {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}, "metrics": {"latencyMs": 1}}
WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Canned."}]}},
    "stopReason": "end_turn",
    **USAGE,
}
PIECES = (
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"delta": {"text": "Canned."}, "contentBlockIndex": 0}),
    event("messageStop", {"stopReason": "end_turn"}),
    event("metadata", USAGE),
)


def answering(bedrock: LocalBedrock, status: int, body: Canned) -> RoutedClient:
    """Return a client of which a handler answers all calls."""
    runtime = bedrock.client(retries={"total_max_attempts": 1})
    headers = {"content-type": "application/json"}
    runtime.meta.events.register(
        "before-send.bedrock-runtime", lambda request, **_: AWSResponse(request.url, status, headers, body)
    )
    return RoutedClient(runtime, model=LITE)


async def test_a_handler_may_answer(bedrock: LocalBedrock) -> None:
    """What a handler answers in the service's place is the reply of both kinds of calls."""
    client = answering(bedrock, 200, Canned(json.dumps(WHOLE).encode()))
    native = await AsyncRoutedClient(client).converse(**hello())
    assert native["output"] == client.converse(**hello())["output"] == WHOLE["output"]
    assert native["bedrock_routing"]["complete"]
    assert bedrock.requests == []


async def test_a_handler_may_answer_with_a_stream(bedrock: LocalBedrock) -> None:
    """The events of a handler's answer are those of the stream; one that is left closes the answer's body."""
    body = Canned(b"".join(PIECES[:2]), *PIECES[2:])
    client = answering(bedrock, 200, body)
    stream = (await AsyncRoutedClient(client).converse_stream(**hello()))["stream"]
    native = [each async for each in stream]
    assert len(native) == len(PIECES)
    assert native == list(client.converse_stream(**hello())["stream"])
    assert stream.receipt.complete
    left = (await AsyncRoutedClient(client).converse_stream(**hello()))["stream"]
    body.closed = False
    await anext(left)
    await left.aclose()
    assert body.closed


async def test_a_handler_may_answer_with_an_error(bedrock: LocalBedrock) -> None:
    """An error that a handler answers with is raised as one of the service."""
    client = answering(bedrock, 400, Canned(b'{"__type": "ValidationException", "message": "No."}'))
    with pytest.raises(client.exceptions.ValidationException, match=r"No\."):
        await AsyncRoutedClient(client).converse(**hello())


async def test_a_generator_keeps_its_context(bedrock: LocalBedrock, connect: Connect) -> None:
    """What a generator sets in a context variable is there in its next step, and nowhere else."""
    flag: contextvars.ContextVar[str] = contextvars.ContextVar("flag")

    def steps() -> Generator[str]:
        token = flag.set("mine")
        yield "first"
        yield flag.get()
        flag.reset(token)

    client = AsyncRoutedClient(connect(bedrock, LITE))
    assert [item async for item in client.iterate(steps)] == ["first", "mine"]
    assert flag.get("unset") == "unset"


async def test_errors_are_those_of_the_client(bedrock: LocalBedrock, connect: Connect) -> None:
    """`client.exceptions` names the errors of both kinds of calls; notes say what to do."""
    client = connect(bedrock, LITE)
    bedrock.fail(Fault.throttling())
    with pytest.raises(client.exceptions.ThrottlingException):
        await AsyncRoutedClient(client).converse(**hello())


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
async def test_retries_are_those_of_the_client(bedrock: LocalBedrock, mode: str) -> None:
    """A call is tried again as often as the boto3 client's settings say."""
    runtime = bedrock.client(retries={"total_max_attempts": 2, "mode": mode})
    client = RoutedClient(runtime, model=LITE)
    bedrock.fail(Fault.throttling(), times=3)
    with pytest.raises(client.exceptions.ThrottlingException):
        await AsyncRoutedClient(client).converse(**hello())
    reply = await AsyncRoutedClient(client).converse(**hello())
    assert reply["ResponseMetadata"]["RetryAttempts"] == 1


# What cannot be


def test_the_extra_is_named(bedrock: LocalBedrock, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says what to install."""
    monkeypatch.setattr(async_client, "has_extra", lambda: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'bedrock-routing\[async\]'"):
        AsyncRoutedClient(connect(bedrock, LITE))


async def test_a_stand_in_has_no_twin() -> None:
    """A client that boto3 did not make cannot be asked on the event loop; the error says so."""

    class StandIn:
        def converse(self, **_: Any) -> Any:
            return {}

    client = AsyncRoutedClient(RoutedClient(StandIn(), model=LITE, cache=CachePolicy()))
    with pytest.raises(ConfigurationError, match="made by boto3"):
        await client.converse(**hello())
