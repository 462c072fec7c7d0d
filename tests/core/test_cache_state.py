from __future__ import annotations

import threading

import pytest

from bedrock_routing import CacheState
from bedrock_routing.language import other_script
from bedrock_routing.tables import Bounded


def test_a_prefix_is_warm_for_its_lifetime() -> None:
    """Five minutes, or an hour, after its last use a prefix is cold; each lifetime is an entry of its own."""
    state = CacheState()
    state.mark_warm("nova", b"p", "5m", now=100.0)
    state.mark_warm("nova", b"q", "1h", now=100.0)
    assert [state.warm(["nova"], b"p", "5m", now) for now in (100.0, 399.0, 400.0)] == [
        (True,),
        (True,),
        (False,),
    ]
    assert [state.warm(["nova"], b"q", "1h", now) for now in (3_699.0, 3_700.0)] == [(True,), (False,)]
    assert state.warm(["nova"], b"q", "5m", 101.0) == (False,)


def test_warmth_belongs_to_a_model() -> None:
    """One model of a router may be warm while the other is cold."""
    state = CacheState()
    state.mark_warm("lite", b"p", "5m", now=0.0)
    assert state.warm(["pro", "lite"], b"p", "5m", 1.0) == (False, True)
    assert state.warm([], b"p", "5m", 1.0) == ()


def test_shares_follow_who_answers() -> None:
    """Models start alike; the one that answers more often lately is expected more."""
    state = CacheState()
    assert state.shares("router", ["lite", "pro"]) == (0.5, 0.5)
    for model in ["lite"] * 6 + ["pro"]:
        state.mark_share("router", model)
    lite, pro = state.shares("router", ["lite", "pro"])
    assert lite > 0.6
    assert pro > 0.15
    for _ in range(30):
        state.mark_share("router", "pro")
    assert state.shares("router", ["lite", "pro"])[1] > 0.85


def test_a_use_renews_the_lifetime() -> None:
    """Each read keeps an entry for another five minutes."""
    state = CacheState()
    for now in (0.0, 250.0, 500.0):
        state.mark_warm("nova", b"p", "5m", now=now)
    assert state.warm(["nova"], b"p", "5m", 799.0) == (True,)


def test_all_tables_are_bounded() -> None:
    """However many prompts pass, only the latest are remembered."""
    state = CacheState(size=3)
    for number in range(10):
        state.mark_seen([b"%d" % number], b"end %d" % number, 0.0)
        state.mark_split(b"%d" % number, (number,))
    assert [state.was_seen(b"%d" % number, 1.0, 300.0) for number in (6, 7, 9)] == [False, True, True]
    assert [state.was_end(b"end %d" % number) for number in (0, 9)] == [False, True]
    assert [state.splits_of(b"%d" % number) for number in (0, 9)] == [None, (9,)]


def test_what_is_used_stays() -> None:
    """Looking a key up counts as a use; the key that was used longest ago gives way."""
    table: Bounded[str, int] = Bounded(2)
    table.put("a", 1)
    table.put("b", 2)
    table.get("a")
    table.put("c", 3)
    assert (table.get("a"), table.get("b"), table.get("c"), len(table)) == (1, None, 3, 2)


def test_a_router_is_known_by_two_models_or_five_answers() -> None:
    """One answer says little; two models are all that a router has."""
    state = CacheState()
    state.mark_answered("router", "lite")
    assert state.answered("router") == ()
    state.mark_answered("router", "pro")
    assert state.answered("router") == ("lite", "pro")
    for _ in range(5):
        state.mark_answered("other", "lite")
    assert state.answered("other") == ("lite",)


def test_a_second_model_is_learned_late_too() -> None:
    """A model that a router invokes for the first time after many answers counts from then on."""
    state = CacheState()
    for model in ["lite"] * 6 + ["pro"]:
        state.mark_answered("router", model)
    assert state.answered("router") == ("lite", "pro")


def test_threads_share_a_table() -> None:
    """Ten threads that write at once keep the bound."""
    table: Bounded[int, int] = Bounded(50)

    def write(start: int) -> None:
        for number in range(500):
            table.put(start + number, number)
            table.get(start)

    threads = [threading.Thread(target=write, args=(number * 1_000,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table) == 50


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("The tenant pays the rent before the month ends, and not later than that.", None),
        ("Der Mieter zahlt die Miete vor Monatsende, und nicht später, außer an Feiertagen.", None),
        ("Арендатор платит арендную плату до конца каждого месяца, и не позднее.", "CYRILLIC"),
        ("租客必须在每个月底之前把租金付给房东" * 3, "CJK"),
        ("да", None),
        ("∑∫√ 123 456 " * 50, None),
        ("", None),
    ],
)
def test_a_prompt_in_another_script_is_recognised(text: str, script: str | None) -> None:
    """More than half of at least forty letters decide; accents, digits and signs do not."""
    assert other_script(text) == script
