from __future__ import annotations

import random

import pytest
from test_planner_conversations import HEAT, RENT, REPLY, RULES, call, engine, message, target

from bedrock_routing import CacheRules
from bedrock_routing.state import Reuse

WORDS = ["tenant", "landlord", "rent", "heat", "house", "month", "clause", "notice", "repair", "deposit"]
CLAUDE = RULES["anthropic.claude-sonnet-5"]


def document(seed: int) -> str:
    choose = random.Random(seed)
    return " ".join(choose.choice(WORDS) for _ in range(900))


def ask(mind, rules: CacheRules | None, text: str, now: float, question: str = "Why?") -> int:
    """Ask over one document in the system prompt and return how many points went out."""
    mind.documents.remember([text])
    params = {
        "system": [{"text": f"Use this:\n{text}\nBe brief."}],
        "messages": [message("user", question)],
    }
    return len(call(mind, params, rules, now).points)


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_documents_that_never_come_again_are_soon_not_written(rules: CacheRules) -> None:
    """A workload of single questions over ever new documents stops paying for writes after a few calls."""
    mind = engine("x" * 40)
    points = [ask(mind, rules, document(number), number * 5.0) for number in range(20)]
    assert points[0] == 1
    assert sum(points) <= 5
    assert points[10:] == [0] * 10


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_workload_that_starts_repeating_is_noticed_at_once(rules: CacheRules) -> None:
    """After many single questions, the second question over the same document gets its point."""
    mind = engine("x" * 40)
    for number in range(20):
        ask(mind, rules, document(number), number * 5.0)
    assert [ask(mind, rules, RENT, 100.0 + number, f"{number}?") for number in range(4)] == [0, 1, 1, 1]


def test_documents_that_do_come_again_are_written_at_first_sight() -> None:
    """Where documents used to come again, a new one is written at its first call."""
    mind = engine("x" * 40)
    for number in range(10):
        ask(mind, CLAUDE, document(number // 2), number * 5.0, f"{number}?")
    assert ask(mind, CLAUDE, HEAT, 100.0) == 1


def test_documents_that_come_back_with_others_behind_them_came_back() -> None:
    """A growing list counts as one that is asked again: its beginning is read."""
    texts = [document(seed) for seed in range(6)]
    mind = engine(*texts)
    for number in range(1, 7):
        context = "\n".join(["Use this:", *texts[:number], "Be brief."])
        params = {"system": [{"text": context}], "messages": [message("user", "Why?")]}
        assert call(mind, params, CLAUDE, number * 5.0).points


def test_what_comes_back_too_late_does_not_count() -> None:
    """A document that is asked again only after its lifetime would have been written for nothing."""
    mind = engine("x" * 40)
    for number in range(12):
        ask(mind, CLAUDE, document(number % 2), number * 400.0)
    assert ask(mind, CLAUDE, HEAT, 10_000.0) == 0


def test_the_estimate_stays_a_chance() -> None:
    """Whatever comes, the estimate stays between 0 and 1, and the prior is where it starts."""
    reuse = Reuse()
    assert reuse.chance(0.6) == 0.6
    for number in range(50):
        reuse = reuse.new_case() if number % 3 == 0 else reuse.came_again()
        assert 0.0 <= reuse.chance(0.6) <= 1.0


def test_planning_asks_a_target_of_any_kind() -> None:
    """Nothing is learned from a target that takes no points."""
    mind = engine("x" * 40)
    mind.begin({"messages": [message("user", RENT)]}, target(None), 0.0)
    assert mind.state.chance("documents", 0.6) == 0.6


def test_a_minimum_that_is_higher_than_the_catalog_says() -> None:
    """After two points that did nothing prefixes must be longer; a write, or a day, takes that back."""
    mind = engine("x" * 40)
    nothing = {"usage": {"inputTokens": 9, "outputTokens": 5}, "stopReason": "end_turn"}

    def points(words: int, now: float, reply: dict | None = None) -> int:
        params = {"system": [{"text": "Be kind and brief. " * words}], "messages": [message("user", "Why?")]}
        turn = mind.begin(params, target(CLAUDE), now)
        turn.finish(reply or REPLY, now)
        return len([each for each in turn.points if each.startswith("system")])

    assert [points(500, now, nothing) for now in (0.0, 5.0, 10.0)] == [1, 1, 0]
    assert points(900, 15.0, nothing) == 1
    assert points(900, 20.0) == 0
    assert points(1_400, 25.0) == 1
    assert points(500, 25.0 + 25 * 3_600) == 1
