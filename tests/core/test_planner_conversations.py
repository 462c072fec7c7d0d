from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_routing import CachePolicy, CacheRules, CacheState, Catalog, Common, PricePolicy, Target, parse
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.engine import Engine
from bedrock_routing.turn import Turn

Params = dict[str, Any]

RENT = " ".join(f"Clause {number}: the tenant pays rent." for number in range(150))
HEAT = " ".join(f"Clause {number}: the landlord heats the house." for number in range(150))
PETS = " ".join(f"Clause {number}: a cat is a small animal." for number in range(150))
LEAD = "Answer from the documents. " * 120
REPLY = {
    "usage": {"inputTokens": 9, "outputTokens": 5, "totalTokens": 5_014, "cacheWriteInputTokens": 5_000},
    "stopReason": "end_turn",
}
RULES = {
    model: Catalog.default().common([model]).cache
    for model in ("anthropic.claude-sonnet-5", "amazon.nova-lite-v1:0")
}
every_family = pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
PIECES = {
    "rent": RENT,
    "heat": HEAT,
    "pets": PETS,
    "lead": LEAD,
    "use": "Use this:\n\n",
    "long": "Remark. " * 480,
}
prompts = st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=5)
families = st.sampled_from(sorted(RULES))


def engine(*known: str, ttl: str = "5m") -> Engine:
    memory = DocumentMemory()
    memory.remember(known or (RENT, HEAT, PETS))
    return Engine(cache=CachePolicy(ttl=ttl), prices=PricePolicy(), state=CacheState(), documents=memory)


def target(rules: CacheRules | None) -> Target:
    ref = parse("anthropic.claude-sonnet-5")
    return Target(ref=ref, models=(ref,), common=Common(cache=rules, tool_choice=()))


def message(role: str, *texts: str) -> Params:
    return {"role": role, "content": [{"text": text} for text in texts]}


def ends_of_points(params: Mapping[str, Any]) -> list[str]:
    """Return the texts that stand right before a point."""
    return [prefix[-1][1]["text"].strip() for prefix in prefixes(params)]


def prefixes(params: Mapping[str, Any]) -> list[list[Any]]:
    """Return, for each point on the wire, the blocks before it, cut as they are, without other points."""
    walked: list[Any] = []
    found: list[list[Any]] = []
    lists = [(None, params.get("toolConfig", {}).get("tools", [])), (None, params.get("system", []))]
    for role, blocks in [*lists, *((each["role"], each["content"]) for each in params["messages"])]:
        for block in blocks:
            if "cachePoint" in block:
                found.append(list(walked))
            else:
                walked.append((role, block))
    return [*found, walked]


def continued(params: Params, question: str) -> Params:
    added = [message("assistant", "An answer."), message("user", question)]
    return {**params, "messages": [*params["messages"], *added]}


def call(mind: Engine, params: Params, rules: CacheRules | None, now: float) -> Turn:
    turn = mind.begin(params, target(rules), now)
    turn.finish(REPLY, now)
    return turn


@settings(max_examples=150, deadline=None, derandomize=True)
@given(prompts, prompts, families, st.sampled_from(["5m", "1h"]))
def test_another_turn_never_changes_a_cached_prefix(
    system: list[str], prompt: list[str], family: str, ttl: str
) -> None:
    """However a text was cut when it was new, it is cut there again in every later turn."""
    mind = engine(ttl=ttl)
    params: Params = {
        "system": [{"text": "".join(PIECES[each] for each in system)}],
        "messages": [message("user", "".join(PIECES[each] for each in prompt))],
    }
    calls: list[Turn] = []
    for number in range(4):
        calls.append(call(mind, params, RULES[family], now=number * 10.0))
        params = continued(params, f"And what about number {number}?")
    whole = prefixes(calls[-1].params)[-1]
    cached = [prefix for turn in calls for prefix in prefixes(turn.params)[:-1]]
    assert [len(prefix) for prefix in cached if whole[: len(prefix)] != prefix] == []


@every_family
def test_documents_in_the_system_prompt_stay_cached_for_a_whole_conversation(rules: CacheRules) -> None:
    """Turn after turn the point behind the documents, or one behind it, reads what the first call wrote."""
    mind = engine()
    system = [{"text": f"{RENT}\n\n{PIECES['long']}"}]
    params: Params = {"system": system, "messages": [message("user", "Who pays?")]}
    starts = []
    for number in range(4):
        turn = call(mind, params, rules, now=number * 10.0)
        starts.append((turn.params["system"][0], bool(turn.points)))
        params = continued(params, f"And what about number {number}?")
    assert starts == [({"text": RENT}, True)] * 4


@every_family
def test_documents_in_a_first_turn_that_others_follow(rules: CacheRules) -> None:
    """Documents that a template puts before turns which were never asked are read by other conversations."""
    mind = engine()
    found: list[list[list[Any]]] = []
    for question, answer in (("When is it due?", "On the first."), ("Is heating included?", "It is.")):
        asked = message("user", f"Use this:\n{RENT}\n\n{HEAT}\n\n{question}")
        params: Params = {"messages": [asked, message("assistant", answer), message("user", "And the cat?")]}
        found.append(prefixes(call(mind, params, rules, 10.0 * len(found)).params))
    first, second = found
    shared = [prefix for prefix in first if prefix in second]
    assert "".join(block["text"] for _, block in shared[-1]).endswith(HEAT)


@pytest.mark.parametrize("cited", [True, False])
def test_no_point_before_a_document_that_would_be_moved(cited: bool) -> None:
    """A point between question and text file would keep the file from moving: none ever goes there."""
    mind, rules = engine(), RULES["anthropic.claude-sonnet-5"]
    document = {
        "format": "txt",
        "name": "notes",
        "source": {"text": HEAT},
        "citations": {"enabled": cited},
    }
    asked = {"role": "user", "content": [{"text": LEAD}, {"document": document}]}
    params: Params = {"messages": [asked]}
    for number in range(4):
        first, *_ = call(mind, params, rules, now=number * 10.0).params["messages"]
        assert first["content"][:2] == asked["content"]
        params = continued(params, f"And what about number {number}?")
    assert ({"cachePoint": {"type": "default"}} in first["content"]) == cited


@every_family
def test_documents_that_come_later_leave_the_cached_start_alone(rules: CacheRules) -> None:
    """When a later question brings a document, those in the system prompt stay cut where they were."""
    mind = engine()
    params: Params = {
        "system": [{"text": f"{LEAD}\n{RENT}\nBe brief."}],
        "messages": [message("user", "Why?")],
    }
    first = call(mind, params, rules, 0.0)
    later = call(mind, continued(params, f"And this?\n{HEAT}\nSo?"), rules, 10.0)
    whole = prefixes(later.params)[-1]
    assert [whole[: len(prefix)] for prefix in prefixes(first.params)[:-1]] == prefixes(first.params)[:-1]


@every_family
def test_another_conversation_does_not_move_the_cuts_of_the_first(rules: CacheRules) -> None:
    """A text that another conversation cuts elsewhere is still cut in the first one as it was there."""
    memory = engine(RENT)
    opening = message("user", f"{RENT}\n\n{HEAT}\n\nWhy?")
    first = call(memory, {"messages": [opening]}, rules, 0.0)
    memory.documents.remember([HEAT])
    call(memory, {"system": [{"text": "Another one."}], "messages": [opening]}, rules, 5.0)
    later = call(memory, continued({"messages": [opening]}, "And then?"), rules, 10.0)
    whole = prefixes(later.params)[-1]
    assert [whole[: len(prefix)] for prefix in prefixes(first.params)[:-1]] == prefixes(first.params)[:-1]


@every_family
@pytest.mark.parametrize("place", ["system", "human"])
def test_another_question_over_the_same_documents_has_the_same_prefix(rules: CacheRules, place: str) -> None:
    """The point after the documents stands at the same place, on the same digest, for every question."""
    mind = engine()
    digests = set()
    for number, question in enumerate(["Who pays the rent?", "Is a cat small?", "When is it warm?"]):
        context = f"Use these:\n\n{RENT}\n\n{HEAT}\n\nQuestion: "
        params: Params = (
            {"system": [{"text": context}], "messages": [message("user", question)]}
            if place == "system"
            else {"messages": [message("user", context + question)]}
        )
        turn = call(mind, params, rules, number * 10.0)
        digests.add(turn.placed[-1].boundary.digest)
        *_, read = prefixes(turn.params)[:-1]
        assert "".join(block["text"] for _, block in read) == f"Use these:\n\n{RENT}\n\n{HEAT}"
    assert len(digests) == 1


@every_family
@pytest.mark.parametrize("place", ["system", "human"])
def test_a_growing_list_of_documents_keeps_its_beginning(rules: CacheRules, place: str) -> None:
    """New documents behind the old ones leave the cut behind the old ones, and its point, where they were."""
    mind = engine()
    documents = [RENT, HEAT, PETS]
    before: list[list[Any]] = []
    for number in range(1, 4):
        context = "Use these:\n\n" + "\n\n".join(documents[:number]) + "\n\nBe brief."
        params: Params = (
            {"system": [{"text": context}], "messages": [message("user", f"Question {number}?")]}
            if place == "system"
            else {"messages": [message("user", f"{context} Question {number}?")]}
        )
        turn = call(mind, params, rules, number * 10.0)
        *points, whole = prefixes(turn.params)
        assert len(points) >= min(number, 2)
        assert all(whole[: len(each)] == each for each in before)
        before = points


@every_family
def test_instructions_behind_documents_that_stay(rules: CacheRules) -> None:
    """A system text that comes again as it is keeps the conversation behind it cached, too."""
    mind = engine()
    system = [{"text": f"Use these:\n\n{RENT}\n\n{HEAT}\n\n{LEAD}"}]
    params: Params = {"system": system, "messages": [message("user", "Who pays?")]}
    call(mind, params, rules, 0.0)
    turn = call(mind, continued(params, "And then?"), rules, 10.0)
    ends = {point.rpartition(".")[0] for point in turn.points}
    assert {"system", "messages.2.content"} <= ends
    whole = prefixes(turn.params)[-2]
    assert system[0]["text"] in "".join(block["text"] for _, block in whole)


@every_family
def test_questions_that_come_once_get_no_point_after_them(rules: CacheRules) -> None:
    """Whether a conversation follows is learned: once nothing followed a question, no other is written."""
    mind = engine()
    for number in range(6):
        asked = message("user", f"Long question, number {number}. " * 900)
        turn = call(mind, {"system": [{"text": LEAD * 4}], "messages": [asked]}, rules, number * 10.0)
        assert turn.points == (("system.1", "messages.0.content.1") if number == 0 else ("system.1",))


@every_family
def test_a_question_over_documents_gets_no_point_after_it(rules: CacheRules) -> None:
    """Nobody asks the same question again, and nothing says that a conversation follows."""
    params: Params = {"messages": [message("user", f"Use:\n{RENT}\n\nWho pays the rent?")]}
    turn = engine().begin(params, target(rules), 0.0)
    assert turn.points == ("messages.0.content.1",)
    assert [each.path for each in turn.plan.skipped] == ["messages.0.content.2"]


@every_family
def test_first_requests_that_conversations_come_back_to(rules: CacheRules) -> None:
    """Once conversations go on after their first request, its end is written at once."""
    mind = engine()
    for number in range(3):
        opening = message("user", f"Task {number}: find the bug in this code. " * 300)
        first = call(mind, {"messages": [opening]}, rules, number * 20.0)
        call(mind, continued({"messages": [opening]}, "And now?"), rules, number * 20.0 + 5)
        assert first.points == ("messages.0.content.1",)


def test_nova_caches_a_tool_loop_up_to_the_last_words() -> None:
    """Where no point may follow a tool result, it follows what the model said before the next call."""
    rules = RULES["amazon.nova-lite-v1:0"]
    mind = engine()
    messages = [message("user", "Find the bug in this code. " * 300)]
    call(mind, {"messages": messages}, rules, 0.0)
    for number in range(3):
        called = {"toolUse": {"toolUseId": str(number), "name": "t", "input": {}}}
        result = {"toolResult": {"toolUseId": str(number), "content": [{"text": f"{number} " * 900}]}}
        said = {"role": "assistant", "content": [{"text": f"I look, {number}."}, called]}
        messages = [*messages, said, {"role": "user", "content": [result]}]
        turn = call(mind, {"messages": messages}, rules, number * 5.0 + 5.0)
        assert turn.points[-1] == f"messages.{2 * number + 1}.content.1"


def test_an_hour_where_calls_come_further_apart() -> None:
    """Where the policy leaves it open, an hour is asked for once gaps of more than five minutes are seen."""
    rules = RULES["anthropic.claude-sonnet-5"]
    mind = engine(ttl="auto")
    lifetimes = []
    for number in range(4):
        params: Params = {
            "system": [{"text": LEAD * 4}],
            "messages": [message("user", f"Question {number}?")],
        }
        turn = call(mind, params, rules, number * 1_200.0)
        lifetimes.append(turn.params["system"][1]["cachePoint"].get("ttl", "5m"))
    assert lifetimes == ["5m", "5m", "1h", "1h"]
    near = engine(ttl="auto")
    for number in range(9):
        params = {"system": [{"text": LEAD * 4}], "messages": [message("user", f"Question {number}?")]}
        turn = call(near, params, rules, number * 100.0)
        assert turn.params["system"][1] == {"cachePoint": {"type": "default"}}


@every_family
def test_a_forced_answer_gets_no_point_after_the_question(rules: CacheRules) -> None:
    """A forced tool choice, as structured output uses it, ends with the answer."""
    params: Params = {
        "messages": [message("user", "Long text to sort. " * 900)],
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "sort", "inputSchema": {"json": {}}}}],
            "toolChoice": {"any": {}},
        },
    }
    assert not engine().begin(params, target(rules), 0.0).points


@every_family
def test_the_end_of_a_conversation_is_cached_for_its_next_turn(rules: CacheRules) -> None:
    """From the second turn on a point stands at the end, and the next turn keeps it."""
    mind = engine()
    params: Params = {"messages": [message("user", "Tell me a very long story. " * 500)]}
    call(mind, params, rules, 0.0)
    params = continued(params, "And then?")
    second = call(mind, params, rules, 10.0)
    third = call(mind, continued(params, "And in the end?"), rules, 20.0)
    assert "messages.2.content.1" in second.points
    assert {"messages.2.content.1", "messages.4.content.1"} <= set(third.points)


def test_a_tool_loop_is_cached_after_each_result() -> None:
    """On Claude the newest tool results get a point: the loop sends them again at once."""
    params: Params = {
        "messages": [
            message("user", "Look it up."),
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "1", "name": "t", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "1", "content": [{"text": RENT}]}}]},
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}}}]},
    }
    mind = engine()
    call(mind, {**params, "messages": params["messages"][:1]}, RULES["anthropic.claude-sonnet-5"], 0.0)
    turn = mind.begin(params, target(RULES["anthropic.claude-sonnet-5"]), 1.0)
    assert turn.points == ("messages.2.content.1",)
    nova = mind.begin(params, target(RULES["amazon.nova-lite-v1:0"]), 1.0)
    assert nova.points == ()


@every_family
def test_a_prompt_seen_before_its_documents_were_known_is_still_cached(rules: CacheRules) -> None:
    """Documents that are remembered only after the first call do not cost the prompt its point."""
    mind = engine("x" * 40)
    params: Params = {
        "system": [{"text": f"{LEAD}\n{RENT}\nBe brief."}],
        "messages": [message("user", "Why?")],
    }
    first = call(mind, params, rules, 0.0)
    mind.documents.remember([RENT])
    second = call(mind, {**params, "messages": [message("user", "When?")]}, rules, 10.0)
    assert first.points[0] == second.points[0] == "system.1"
    assert prefixes(second.params)[0] == prefixes(first.params)[0]


@every_family
def test_documents_before_a_history_are_written_whole_at_once(rules: CacheRules) -> None:
    """That a history was never sent says nothing of the documents at its head: others ask over them, too."""
    opening = message("user", f"{RENT}\n\n{HEAT}\n\n{PETS}")
    history = [opening, message("assistant", "I have read them."), message("user", "Who pays?")]
    turn = engine().begin({"messages": history}, target(rules), 0.0)
    assert any(text.endswith(PETS) for text in ends_of_points(turn.params))


@every_family
def test_documents_behind_a_rewritten_history_are_not_written_for_long(rules: CacheRules) -> None:
    """Where questions stay in the history and their documents do not, these never come back."""
    mind = engine()
    history: list[Params] = []
    points = []
    for number in range(8):
        asked = message("user", f"Use:\n{RENT}\n\n{HEAT}\n\nQuestion {number}?")
        turn = call(mind, {"messages": [*history, asked]}, rules, number * 20.0)
        points.append(len(turn.points))
        history += [message("user", f"Question {number}?"), message("assistant", f"Answer {number}.")]
    assert points[0] > 0
    assert points[3:] == [0] * 5


@every_family
@pytest.mark.parametrize("rest", ["", "\n", "  "])
def test_a_text_that_ends_with_a_document_is_not_cut_into_nothing(rules: CacheRules, rest: str) -> None:
    """Where an older text went on behind the document, one that ends there gets no empty piece."""
    mind = engine()
    question = message("user", "Who pays?")
    longer: Params = {"system": [{"text": f"{RENT}\n\n{HEAT}\n\nAnswer briefly."}], "messages": [question]}
    for number in range(2):
        call(mind, longer, rules, number * 10.0)
    bare: Params = {"system": [{"text": f"{RENT}\n\n{HEAT}{rest}"}], "messages": [question]}
    turn = call(mind, bare, rules, 20.0)
    texts = [block["text"] for block in turn.params["system"] if "text" in block]
    assert all(text.strip() for text in texts)
    assert "".join(texts) == bare["system"][0]["text"]
    assert turn.points
