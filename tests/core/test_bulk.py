"""Many calls: grouped by what they share, one of each group first, on few threads, in their order."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import groupby
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_local import Fault, LocalBedrock, SystemClock
from bedrock_routing import (
    CachePolicy,
    ConfigurationError,
    Group,
    Ledger,
    Progress,
    RoutedClient,
    collect,
    converse_many,
    group_by_prefix,
    remember_documents,
)
from bedrock_routing.bulk import Schedule
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.grouping import Beginning

Connect = Callable[..., RoutedClient]
Serve = Callable[..., LocalBedrock]
Request = dict[str, Any]
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
PAIR = ("us.anthropic.claude-opus-4-8", "us.anthropic.claude-sonnet-4-6")
LEASES = tuple(
    " ".join(f"Clause {number} of lease {lease} says that the tenant pays in time." for number in range(200))
    for lease in range(4)
)
thorough = settings(max_examples=200, deadline=None, derandomize=True)


def question(system: Sequence[str], text: str) -> Request:
    return {
        "system": [{"text": each} for each in system],
        "messages": [{"role": "user", "content": [{"text": text}]}],
    }


def interleaved(count: int) -> list[Request]:
    """Return questions over the leases in turn: the worst order for a cache."""
    return [question([LEASES[number % len(LEASES)]], f"Question {number}?") for number in range(count)]


def text_of(reply: Mapping[str, Any]) -> str:
    return reply["output"]["message"]["content"][0]["text"]


def blocks_of(request: Request) -> list[str]:
    said = [block["text"] for message in request["messages"] for block in message["content"]]
    return [f"system {block['text']}" for block in request["system"]] + [f"user {each}" for each in said]


def shared(one: Request, other: Request) -> int:
    """Return how many blocks two requests have in common from their start."""
    pairs = zip(blocks_of(one), blocks_of(other), strict=False)
    return next((count for count, (left, right) in enumerate(pairs) if left != right), len(blocks_of(one)))


def served(bedrock: LocalBedrock) -> list[Any]:
    return [each for each in bedrock.requests if each.operation.startswith("Converse")]


def writes(bedrock: LocalBedrock) -> int:
    return sum(bool(each.usage and each.usage.get("cacheWriteInputTokens")) for each in served(bedrock))


class Echo:
    """Stand in for a boto3 client: answer with the question, and count who is in here at once."""

    def __init__(self, inside: Callable[[str], AbstractContextManager[Any]] = nullcontext) -> None:
        self.asked: list[str] = []
        self.most = 0
        self._now = 0
        self._inside = inside
        self._lock = threading.Lock()

    def converse(self, **params: Any) -> dict[str, Any]:
        """Say what was asked; a text that begins with "fail" is an error."""
        text = params["messages"][-1]["content"][-1]["text"]
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.asked.append(text)
        try:
            with self._inside(text):
                if text.startswith("fail"):
                    raise ValueError(text)
        finally:
            with self._lock:
                self._now -= 1
        return {
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        }


def of_echo(echo: Echo, **more: Any) -> RoutedClient:
    return RoutedClient(echo, model=SONNET, cache=False, **more)


requests = st.builds(
    question,
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
    st.sampled_from(["who?", "when?", "why?"]),
)


@thorough
@given(st.lists(requests, max_size=12))
def test_groups_are_a_partition_by_the_longest_shared_beginning(many: list[Request]) -> None:
    """Each request is in one group; its members share all that any of them shares with any other request."""
    groups = group_by_prefix(many)
    assert sorted(number for group in groups for number in group.members) == list(range(len(many)))
    for group in groups:
        longest = {
            max(
                (shared(many[number], many[other]) for other in range(len(many)) if other != number),
                default=0,
            )
            for number in group.members
        }
        assert len(longest) == 1
        assert all(shared(many[group.leader], many[each]) >= max(longest) for each in group.followers)
        assert (group.prefix is None) == (longest == {0})
        assert group.prefix is not None or not group.followers


@thorough
@given(st.lists(requests, max_size=12))
def test_groups_that_share_a_beginning_stand_together(many: list[Request]) -> None:
    """Whoever shares the first block comes one after the other, so that it is asked while it is warm."""
    firsts = [blocks_of(many[group.leader])[0] for group in group_by_prefix(many)]
    assert len([key for key, _ in groupby(firsts)]) == len(set(firsts))


def test_documents_in_a_text_are_shared_where_they_are_known() -> None:
    """Two questions glued to the same document share it only if it is recognised."""
    memory = DocumentMemory()
    memory.remember(LEASES)
    glued = [question([f"Answer from:\n{LEASES[number % 2]}\nQuestion {number}"], "?") for number in range(4)]
    known = group_by_prefix(glued, documents=memory)
    assert [group.members for group in known] == [(0, 2), (1, 3)]
    assert all(group.tokens > 2_000 for group in known)
    assert [group.members for group in group_by_prefix(glued)] == [(0,), (1,), (2,), (3,)]


def test_what_is_too_short_to_be_cached_is_not_shared() -> None:
    """Below the minimum a shared beginning makes no group; another model, tools and choices are others."""
    short = [question(["Be brief."], text) for text in ("Who?", "When?")]
    assert [group.followers for group in group_by_prefix(short)] == [(1,)]
    assert [group.prefix for group in group_by_prefix(short, min_tokens=1_024)] == [None, None]
    other = [{**short[0], "modelId": "a"}, {**short[1], "modelId": "b"}]
    assert [group.prefix for group in group_by_prefix(other)] == [None, None]


def test_nothing_makes_no_group() -> None:
    """No requests, no groups; a group says who leads."""
    assert group_by_prefix([]) == ()
    assert (Group(prefix=None, tokens=0, members=(7,)).leader, group_by_prefix([{}])[0].leader) == (7, 0)


@thorough
@given(
    names=st.lists(st.integers(min_value=0, max_value=5), max_size=40),
    at_once=st.integers(min_value=1, max_value=6),
    chance=st.randoms(use_true_random=False),
)
def test_a_schedule_sends_each_once_and_leaders_first(names: list[int], at_once: int, chance: Any) -> None:
    """However calls come back and fail, each is sent once, and a warm group is done before another begins."""
    schedule, running, sent, warm = Schedule(at_once), [], [], set()
    numbered = {place: (Beginning(bytes([name]), 9, "system.0", None),) for place, name in enumerate(names)}
    half = len(names) // 2
    schedule.add({place: numbered[place] for place in range(half)})
    schedule.add({place: numbered[place] for place in range(half, len(names))})
    waiting = Counter(names)
    while True:
        while len(running) < at_once and (number := schedule.take()) is not None:
            assert names[number] in warm or not any(waiting[each] for each in warm)
            waiting[names[number]] -= 1
            running.append(number)
            sent.append(number)
        if not running:
            break
        number = running.pop(chance.randrange(len(running)))
        failed = chance.random() < 0.3
        schedule.ended(number, failed=failed)
        if not failed and Counter(names)[names[number]] > 1:
            warm.add(names[number])
    assert sorted(sent) == list(range(len(names)))
    assert schedule.unsent == 0


@pytest.mark.parametrize("at_once", [1, 3, 40])
def test_each_document_is_written_once(serve: Serve, at_once: int) -> None:
    """Forty questions over four leases in turn, on few threads or many: four writes, all others read."""
    bedrock = serve(clock=SystemClock(), latency=0.05)
    remember_documents(LEASES)
    ledger = Ledger()
    client = RoutedClient(bedrock.client(max_pool_connections=40), model=SONNET, ledger=ledger)
    replies = converse_many(client, interleaved(40), max_concurrency=at_once)
    assert writes(bedrock) == len(LEASES)
    assert sum(reply["bedrock_routing"]["cache"]["read"] > 2_000 for reply in replies) == 36
    assert ledger.total.calls == 40


def test_each_model_behind_a_router_writes_once(serve: Serve) -> None:
    """On few threads few calls wait, but those that are to come are known: models are primed for them."""
    bedrock = serve(clock=SystemClock(), latency=0.05, routing="alternate")
    remember_documents(LEASES)
    ledger = Ledger()
    router = bedrock.create_router("pair", list(PAIR))
    client = RoutedClient(bedrock.client(max_pool_connections=20), model=router, ledger=ledger)
    replies = converse_many(client, interleaved(48), max_concurrency=4)
    assert writes(bedrock) == len(PAIR) * len(LEASES)
    primes = [each for each in ledger.receipts if each.purpose == "prime"]
    assert len(served(bedrock)) == len(replies) + len(primes)
    assert not any(reply["bedrock_routing"]["purpose"] for reply in replies)


def test_what_a_list_shares_need_not_be_guessed(bedrock: LocalBedrock, connect: Connect) -> None:
    """Where no document ever came back, one that two requests of a list share is written and read."""
    client = connect(bedrock, SONNET)
    singles = [LEASES[0].replace("lease 0", f"contract {number}") for number in range(8)]
    remember_documents([*singles, *LEASES])
    for text in singles:
        client.converse(**question([text], "Who?"))
    alone = client.converse(**question([LEASES[1]], "Who?"))["bedrock_routing"]
    both = [question([LEASES[0]], text) for text in ("Who?", "When?")]
    first, second = converse_many(client, both, max_concurrency=1)
    assert alone["cache"]["points"] == []
    assert first["bedrock_routing"]["cache"]["write"] == second["bedrock_routing"]["cache"]["read"] > 2_000


def test_one_thread_asks_group_by_group(bedrock: LocalBedrock, connect: Connect) -> None:
    """What shares a document is asked one after the other, whatever order it came in."""
    remember_documents(LEASES)
    converse_many(connect(bedrock, SONNET), interleaved(12), max_concurrency=1)
    asked = [each.body["system"][0]["text"] for each in served(bedrock)]
    assert [text for text, _ in groupby(asked)] == list(LEASES)


def test_replies_come_in_the_order_of_the_requests() -> None:
    """Though they were asked in another one."""
    echo = Echo()
    replies = converse_many(of_echo(echo), interleaved(40), max_concurrency=4)
    assert [text_of(reply) for reply in replies] == [f"Question {number}?" for number in range(40)]
    assert echo.asked != [text_of(reply) for reply in replies]


def test_an_error_stands_in_the_place_of_its_reply() -> None:
    """With `return_errors` all others are answered; a request that is none is an error of its own."""
    many: list[Any] = [question(["a"], text) for text in ("one", "fail two", "three")]
    outcomes = converse_many(of_echo(Echo()), [*many, None, {"messages": 7}], return_errors=True)
    assert [isinstance(each, Exception) for each in outcomes] == [False, True, False, True, True]
    assert [str(each) for each in outcomes if isinstance(each, ValueError)] == ["fail two"]


def test_the_first_error_is_raised_when_all_are_made() -> None:
    """The first by the order of the requests, with a word on how many there are."""
    echo = Echo()
    many = [question(["a"], text) for text in ("one", "fail two", "three", "fail four", "five")]
    with pytest.raises(ValueError, match="fail two") as raised:
        converse_many(of_echo(echo), many, max_concurrency=1)
    assert sorted(echo.asked) == ["fail four", "fail two", "five", "one", "three"]
    assert "2 of 5 calls failed" in raised.value.__notes__[0]


@pytest.mark.parametrize("at_once", [1, 8])
def test_a_leader_that_fails_hands_over(serve: Serve, connect: Connect, at_once: int) -> None:
    """Its error stays with it, the next of its group writes, and the others read."""
    bedrock = serve(clock=SystemClock(), latency=0.05)
    remember_documents(LEASES)
    bedrock.fail(Fault.throttling(), operation="ConverseStream")
    client = connect(bedrock, SONNET)
    same = [question([LEASES[0]], f"Question {number}?") for number in range(8)]
    outcomes = converse_many(client, same, max_concurrency=at_once, return_errors=True)
    errors = [each for each in outcomes if isinstance(each, Exception)]
    assert [type(each).__name__ for each in errors] == ["ThrottlingException"]
    assert all(isinstance(each, ClientError) for each in errors)
    assert writes(bedrock) == 1


def test_ten_thousand_requests_take_as_many_threads_as_allowed() -> None:
    """Never more calls at once than `max_concurrency`, and a thread for each of them."""
    before, seen = threading.active_count(), []

    def inside(_: str) -> AbstractContextManager[None]:
        seen.append(threading.active_count())
        return nullcontext()

    echo = Echo(inside)
    many = (question([str(number % 100)], f"{number}") for number in range(10_000))
    replies = converse_many(of_echo(echo), many, max_concurrency=8)
    assert [text_of(reply) for reply in replies] == [str(number) for number in range(10_000)]
    assert echo.most <= 8
    assert max(seen) <= before + 8


def test_without_a_bound_the_clients_connections_are_one(bedrock: LocalBedrock) -> None:
    """More calls at once than connections would open some only to drop them."""
    client = RoutedClient(bedrock.client(max_pool_connections=3), model=SONNET, cache=False)
    most, lock, now = [0], threading.Lock(), [0]
    whole = client.converse

    def converse(**params: Any) -> dict[str, Any]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            return whole(**params)
        finally:
            with lock:
                now[0] -= 1

    client.__dict__["converse"] = converse
    converse_many(client, interleaved(30))
    assert most[0] <= 3


def test_an_iterator_is_read_as_it_is_needed() -> None:
    """No more than `ahead` requests are read before they are sent, and the caller's thread reads them."""
    echo, read, furthest, threads = Echo(), [0], [0], set[int]()

    def many() -> Iterator[Request]:
        for number in range(200):
            read[0] += 1
            threads.add(threading.get_ident())
            furthest[0] = max(furthest[0], read[0] - len(echo.asked))
            yield question([str(number)], f"{number}")

    done: list[Progress] = []
    converse_many(of_echo(echo), many(), max_concurrency=4, ahead=20, on_progress=done.append)
    assert furthest[0] <= 20 + 4
    assert threads == {threading.get_ident()}
    assert (len(done), done[-1]) == (200, Progress(done=200, failed=0, total=None))


def test_what_comes_later_from_an_iterator_joins_its_group(bedrock: LocalBedrock, connect: Connect) -> None:
    """Read four at a time, leases in turn: each is still written once."""
    remember_documents(LEASES)
    replies = converse_many(connect(bedrock, SONNET), iter(interleaved(16)), max_concurrency=2, ahead=4)
    assert (writes(bedrock), len(replies)) == (len(LEASES), 16)


def test_an_error_of_the_iterator_is_raised() -> None:
    """What was on its way is finished first; nothing hangs."""

    def many() -> Iterable[Request]:
        yield question(["a"], "one")
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        converse_many(of_echo(Echo()), many())


def test_progress_counts_errors_and_may_fail_itself(caplog: pytest.LogCaptureFixture) -> None:
    """After each call it is told; where it raises, the calls go on, and the log says so once."""
    seen: list[Progress] = []

    def tell(progress: Progress) -> None:
        seen.append(progress)
        raise RuntimeError("full")

    many = [question(["a"], text) for text in ("one", "fail two", "three")]
    converse_many(of_echo(Echo()), many, max_concurrency=1, return_errors=True, on_progress=tell)
    assert [(each.done, each.failed, each.total) for each in seen] == [(1, 0, 3), (2, 1, 3), (3, 1, 3)]
    assert [each.message for each in caplog.records] == ["on_progress failed; the calls go on"]


def test_a_block_collects_the_receipts_of_all_calls(bedrock: LocalBedrock, connect: Connect) -> None:
    """The threads run in copies of the caller's context."""
    with collect() as ledger:
        converse_many(connect(bedrock, SONNET), interleaved(6), max_concurrency=3)
    assert ledger.total.calls == 6


@pytest.mark.parametrize("cache", [False, CachePolicy(fan_out="off")])
def test_without_waiting_calls_are_still_made(bedrock: LocalBedrock, connect: Connect, cache: Any) -> None:
    """No cache, or none that waits for another: each call goes out as what it is."""
    replies = converse_many(connect(bedrock, SONNET, cache=cache), interleaved(8), max_concurrency=4)
    assert len(replies) == 8
    assert {each.operation for each in served(bedrock)} == {"Converse"}


def test_no_requests_make_no_calls() -> None:
    """Nothing in, nothing out."""
    assert converse_many(of_echo(Echo()), []) == []


@pytest.mark.parametrize("wrong", [{"max_concurrency": 0}, {"ahead": 0}])
def test_numbers_that_cannot_be(wrong: dict[str, Any]) -> None:
    """No thread, or nothing to read, is refused at once."""
    with pytest.raises(ConfigurationError, match="at least 1"):
        converse_many(of_echo(Echo()), [], **wrong)
