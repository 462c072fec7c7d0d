"""The order of retrieved documents: it begins as a warm prompt did, whatever the retriever ranked first."""

import copy
import pickle
import random
import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_routing import ConfigurationError, SeenOrder

READ, WRITE = 0.1, 1.25


class Served:
    """Arrange strings, one question a second; capitals are ten times as long as small letters."""

    def __init__(self, order: SeenOrder) -> None:
        self.order = order
        self.now = 0.0

    def __call__(self, documents: Sequence[str], *, first: int = 0) -> str:
        """Return the arranged documents as one string."""
        self.now += 1.0
        arranged = self.order.arrange(documents, str, size=_size, now=self.now, first=first)
        return "".join(arranged)


def _size(document: str) -> int:
    return 10 if document.isupper() else 1


@pytest.fixture
def serve() -> Served:
    return Served(SeenOrder(100))


def test_the_longest_warm_beginning_comes_first(serve: Served) -> None:
    """Two warm documents go before one that was served more often alone."""
    for documents in ("a", "a", "a", "bc"):
        serve(documents)
    assert serve("cab") == "bca"


def test_length_counts_not_number(serve: Served) -> None:
    """One long warm document is worth more than two short ones."""
    serve("A")
    serve("bc")
    assert serve("cbA") == "Acb"


def test_of_two_equal_ways_the_more_travelled_one(serve: Served) -> None:
    """Where two beginnings share as much, the one that was served more often is taken."""
    for documents in ("ab", "c", "cd", "cd"):
        serve(documents)
    assert serve("abcd")[:2] == "cd"


def test_old_travels_fade(serve: Served) -> None:
    """What was served often long ago gives way to what is served now."""
    for documents in [*"aaaaaa", *"z" * 60, *"bbb"]:
        serve(documents)
    assert serve("ab") == "ba"


def test_the_rest_by_how_often_it_was_asked(serve: Served) -> None:
    """Behind the warm beginning: what other questions asked for most, and new documents last, as given."""
    for documents in ("wx", "wy", "wy"):
        serve(documents)
    assert serve("2x1wy") == "wyx21"


def test_a_beginning_that_is_no_longer_warm(serve: Served) -> None:
    """After its lifetime a beginning counts for nothing, and the popular documents go first."""
    for documents in ("ab", "b", "b"):
        serve(documents)
    assert serve("ba") == "ab"
    serve.now += 301.0
    assert serve("ba") == "ba"


def test_the_lifetime_can_be_longer() -> None:
    """With a cache of an hour, a beginning of half an hour ago is still warm."""
    serve = Served(SeenOrder(100, lifetime=3600.0))
    for documents in ("ab", "b", "b"):
        serve(documents)
    serve.now += 1800.0
    assert serve("ba") == "ab"


def test_the_best_stay_first(serve: Served) -> None:
    """The first documents stay as they are; only what follows is free to share a beginning."""
    serve("abc")
    assert serve("cba", first=1) == "cba"
    assert serve("cab", first=1) == "cba"
    assert serve("abc", first=9) == "abc"
    assert serve("bac") == "abc"


@pytest.mark.parametrize(
    ("mode", "expected"), [("stable", ["abc", "acd", "bd", "dab"]), ("preserve", ["abc", "dca", "bd", "dba"])]
)
def test_other_modes(mode: str, expected: list[str]) -> None:
    """`stable` keeps the order of first sight, behind the best that stay; `preserve` the order given."""
    serve = Served(SeenOrder(100, mode))  # type: ignore[arg-type]
    assert [serve("abc"), serve("dca"), serve("bd"), serve("dba", first=1)] == expected


def test_an_unknown_mode() -> None:
    """A mode that does not exist is an error that says those that do."""
    with pytest.raises(ConfigurationError, match="shared, stable, preserve"):
        SeenOrder(10, "random")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["shared", "stable", "preserve"])
def test_documents_of_one_name_are_all_returned(mode: str) -> None:
    """Two documents with one name are both there."""
    serve = Served(SeenOrder(10, mode))  # type: ignore[arg-type]
    assert sorted(serve("aba")) == ["a", "a", "b"]


QUESTIONS = st.lists(st.lists(st.sampled_from("abcDEF"), unique=True), max_size=25)


@given(QUESTIONS)
def test_nothing_shares_more(questions: list[list[str]]) -> None:
    """No order shares more text with an earlier prompt; the same documents come again in the same order."""
    serve, earlier = Served(SeenOrder(1_000)), list[str]()
    for documents in questions:
        arranged = serve(documents)
        assert sorted(arranged) == sorted(documents)
        best = max((_within(each, set(documents)) for each in earlier), default=0)
        assert max((_common(each, arranged) for each in earlier), default=0) == best
        assert serve(documents[::-1]) == arranged
        earlier.append(arranged)


def _within(prompt: str, found: set[str]) -> int:
    """Return the size of the beginning of a prompt that is made of found documents."""
    unwanted = next((place for place, each in enumerate(prompt) if each not in found), len(prompt))
    return sum(map(_size, prompt[:unwanted]))


def _common(left: str, right: str) -> int:
    same = next((place for place, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    return sum(map(_size, left[: min(len(left), len(right)) if same is None else same]))


@given(QUESTIONS, st.integers(1, 5))
def test_a_small_memory_still_arranges(questions: list[list[str]], bound: int) -> None:
    """Whatever was forgotten, every document is returned once."""
    serve = Served(SeenOrder(bound))
    for documents in questions:
        assert sorted(serve(documents)) == sorted(documents)


def test_the_memory_is_bounded() -> None:
    """Ever new documents do not make the memory grow."""
    serve = Served(SeenOrder(50))
    sizes: list[int] = []
    for number in range(1_000):
        serve([f"{number:04}{place}" for place in range(10)])
        sizes.append(len(pickle.dumps(serve.order)))
    assert max(sizes[100:]) < 1.2 * sizes[20]


def test_the_longest_unused_is_forgotten() -> None:
    """Of more documents than the bound, those that were not asked for longest are new again."""
    serve = Served(SeenOrder(2))
    for documents in ("a", "b", "c"):
        serve(documents)
    assert serve("ac") == "ca"
    assert serve("xbc") == "cxb"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_go_on_apart(copied: Callable[[SeenOrder], SeenOrder]) -> None:
    """A copy knows what was served before, not what is served later; long sequences are no trouble."""
    order = SeenOrder(10_000)
    long = [f"document {number}" for number in range(3_000)]
    order.arrange(long, str, size=len, now=0.0)
    twin = copied(order)
    assert twin.arrange(long[::-1], str, size=len, now=1.0) == long
    twin.arrange(["new", long[7]], str, size=len, now=2.0, first=1)
    assert twin.arrange([long[7], "new"], str, size=len, now=3.0) == ["new", long[7]]
    assert order.arrange([long[7], "new"], str, size=len, now=3.0) == [long[7], "new"]


def test_threads_agree() -> None:
    """Many threads that arrange the same documents get one order."""
    order, found = SeenOrder(100), list[list[str]]()

    def ask(seed: int) -> None:
        documents = list("abcdef")
        random.Random(seed).shuffle(documents)
        for now in range(50):
            found.append(order.arrange(documents, str, size=len, now=float(now)))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400
    assert len(set(map(tuple, found))) == 1


def test_it_costs_less_than_the_order_of_first_sight() -> None:
    """Over overlapping retrieval, `shared` pays least, then `stable`, then the retriever's own order."""
    modes = ("shared", "stable", "preserve")
    cost = {mode: sum(_cost(mode, seed) for seed in range(20)) / 20 for mode in modes}  # type: ignore[arg-type]
    assert cost["shared"] < 0.98 * cost["stable"]
    assert cost["stable"] < 0.70 * cost["preserve"]


def _cost(mode: str, seed: int) -> float:
    """Return what 40 questions over 3 of 8 documents cost where all beginnings are cached; 1: no caching."""
    serve, chance = Served(SeenOrder(100, mode)), random.Random(seed)  # type: ignore[arg-type]
    warm, paid = set[str](), 0.0
    for _ in range(40):
        arranged = serve(_found(chance))
        beginnings = [arranged[:end] for end in range(1, 4)]
        read = max((len(each) for each in beginnings if each in warm), default=0)
        paid += READ * read + WRITE * (3 - read)
        warm.update(beginnings)
    return paid / (40 * 3)


def _found(chance: random.Random) -> list[str]:
    """Return three of eight documents, popular ones more often, in no order."""
    popularity = {name: 1 / rank**1.1 for rank, name in enumerate("abcdefgh", start=1)}
    found: list[str] = []
    while len(found) < 3:
        name = chance.choices(list(popularity), list(popularity.values()))[0]
        found += [] if name in found else [name]
    chance.shuffle(found)
    return found
