from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_local import LocalBedrock, ManualClock
from bedrock_routing import CachePolicy, Ledger, Receipt, RoutedClient, Usage, remember_documents
from bedrock_routing.catalog import CacheRules
from bedrock_routing.diagnosis import Call, Mark
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.history import History
from bedrock_routing.misses import ADVICE, Miss, Reason
from bedrock_routing.prompts import Prompt, chain_of, common_ends

CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-lite-v1:0"
POINT = {"cachePoint": {"type": "default"}}
RULES = CacheRules(min_tokens=1_024, sections=frozenset({"tools", "system", "messages"}), lookback=20)

Connect = Callable[..., RoutedClient]
Serve = Callable[..., LocalBedrock]


def words(name: str, count: int = 200) -> str:
    return " ".join(
        f"{name} {number} says that the tenant pays before the month ends." for number in range(count)
    )


def tool(name: str, text: str = "") -> dict[str, Any]:
    schema = {"type": "object", "properties": {"about": {"type": "string"}}}
    spec = {"name": name, "description": text or words(name, 100), "inputSchema": {"json": schema}}
    return {"toolSpec": spec}


def user(*content: str | dict[str, Any]) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"text": each} if isinstance(each, str) else each for each in content],
    }


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"text": text}]}


def ask(client: RoutedClient, *messages: dict[str, Any], system: str = "", **params: Any) -> Receipt:
    if system:
        params["system"] = [{"text": system}]
    return Receipt.from_dict(client.converse(messages=list(messages), **params)["bedrock_routing"])


def reason(receipt: Receipt) -> str | None:
    return receipt.miss and receipt.miss.reason


def test_a_router_that_switches_models_loses_the_prefix(
    serve: Serve, connect: Connect, document: str
) -> None:
    """The model that is asked second has an empty cache; from then on both have the prefix."""
    client = connect(serve(routing="alternate"), "amazon.nova:1")
    first, second, *others = [ask(client, user(f"Why {number}?"), system=document) for number in range(4)]
    assert first.usage is not None
    assert second.usage is not None
    assert second.miss is not None
    assert (second.miss.reason, second.miss.tokens) == ("model switched", first.usage.write)
    assert second.miss.path == "system.0"
    assert str(first.model) in str(second.miss.detail)
    assert [reason(each) for each in (first, *others)] == [None] * 3


def test_what_was_lost_is_what_reading_would_have_saved(
    serve: Serve, connect: Connect, document: str
) -> None:
    """The money lost in a miss is the difference to a call that reads these tokens."""
    client = connect(serve(routing="alternate"), "amazon.nova:1")
    _, missed, _, read = [ask(client, user(f"Why {number}?"), system=document) for number in range(4)]
    assert missed.miss is not None
    assert missed.miss.lost_usd is not None
    assert missed.cost_usd is not None
    assert read.cost_usd is not None
    assert (missed.model, missed.usage and missed.usage.output) == (
        read.model,
        read.usage and read.usage.output,
    )
    assert float(missed.miss.lost_usd) == pytest.approx(float(missed.cost_usd - read.cost_usd))


def test_a_pause_longer_than_the_lifetime(
    bedrock: LocalBedrock, connect: Connect, document: str, clock: ManualClock
) -> None:
    """After more than five minutes the prefix is gone; shortly before that it was still there."""
    client = connect(bedrock, NOVA)
    found: list[str | None] = []
    for pause in (0, 299, 301):
        clock.advance(pause)
        found.append(reason(ask(client, user(f"After {pause}?"), system=document)))
    assert found == [None, None, "lifetime over"]


def test_a_prefix_below_the_minimum(bedrock: LocalBedrock, connect: Connect) -> None:
    """A prefix that its size estimate puts near the minimum is tried; that it cached nothing is said."""
    client = connect(bedrock, HAIKU)
    rules = words("Rule", 190)
    receipts = [ask(client, user("Why?"), system=rules) for _ in range(2)]
    assert [each.usage and each.usage.read + each.usage.write for each in receipts] == [0, 0]
    assert "system.1" in receipts[0].points
    assert [reason(each) for each in receipts] == [None, "below the minimum"]
    assert "4,096" in str(receipts[1].miss and receipts[1].miss.detail)


@pytest.mark.parametrize(("model", "added"), [(CLAUDE, 30), (NOVA, 1)])
def test_a_point_too_far_behind_the_last_entry(
    bedrock: LocalBedrock, connect: Connect, model: str, added: int
) -> None:
    """A point reads back 20 blocks on Claude and none on Nova; the entry stands where the last one was."""
    client = connect(bedrock, model, cache=CachePolicy(history=False, documents=False, system=False))
    notes = [f"Note {number}." for number in range(added)]
    receipts = [
        ask(client, user(words("Fact"), POINT)),
        ask(client, user(words("Fact"), *notes, POINT, "Why?")),
    ]
    assert [reason(each) for each in receipts] == [None, "lookback exceeded"]
    assert str(added) in str(receipts[1].miss and receipts[1].miss.detail)


def test_no_point_that_could_read(bedrock: LocalBedrock, connect: Connect) -> None:
    """Where the second request carries no point at all, nothing can be read, and that is the reason."""
    client = connect(bedrock, NOVA, cache=CachePolicy(history=False, documents=False, system=False))
    ask(client, user(words("Fact"), POINT, "Why?"))
    assert reason(ask(client, user(words("Fact"), "Why not?"))) == "no cache point"


def test_an_entry_that_the_service_dropped(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """What nothing here explains is called so."""
    client = connect(bedrock, NOVA)
    ask(client, user("Why?"), system=document)
    bedrock.clear_caches()
    assert reason(ask(client, user("Why not?"), system=document)) == "unexplained"


def test_tools_in_another_order(bedrock: LocalBedrock, connect: Connect) -> None:
    """The same tools in another order are another prefix; the path names the first that moved."""
    client = connect(bedrock, CLAUDE)
    tools = [tool(name) for name in ("first", "second", "third")]
    for chosen in (tools, [tools[0], tools[2], tools[1]]):
        receipt = ask(client, user("Why?"), toolConfig={"tools": chosen})
    assert receipt.miss is not None
    assert (receipt.miss.reason, receipt.miss.path) == ("order changed", "toolConfig.tools.1")


def test_documents_in_another_order_within_one_text(bedrock: LocalBedrock, connect: Connect) -> None:
    """Documents that a chain pasted into one text are told apart."""
    documents = [words(name) for name in ("Lease", "Deed", "Bill")]
    remember_documents(documents)
    client = connect(bedrock, NOVA, cache=CachePolicy())
    for chosen in (documents, documents[::-1]):
        receipt = ask(client, user("Why?"), system="Answer from:\n" + "\n\n".join(chosen))
    assert (receipt.miss and receipt.miss.path, reason(receipt)) == ("system.0", "order changed")


def test_a_time_of_day_in_the_system_prompt(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """The first different character is found in a text of thousands, behind the path of its block."""
    client = connect(bedrock, CLAUDE)
    for minute in (1, 2):
        receipt = ask(client, user("Why?"), system=f"It is 12:0{minute}. Answer from:\n{document}")
    assert receipt.miss is not None
    assert (receipt.miss.reason, receipt.miss.path) == ("block changed", "system.0")
    assert receipt.miss.detail == "first different at character 10"


def test_a_tool_that_describes_itself_anew(bedrock: LocalBedrock, connect: Connect) -> None:
    """A block that is no text is compared as JSON; all tools behind the changed one are lost."""
    client = connect(bedrock, CLAUDE)
    tools = [tool(name) for name in ("first", "second", "third")]
    for text in ("Search now.", "Search later."):
        chosen = [tool("search", text), *tools]
        receipt = ask(client, user("Why?"), toolConfig={"tools": chosen})
    assert receipt.miss is not None
    assert (receipt.miss.reason, receipt.miss.path) == ("block changed", "toolConfig.tools.0")
    assert "character" in str(receipt.miss.detail)


def test_a_turn_that_is_left_out(bedrock: LocalBedrock, connect: Connect) -> None:
    """A history that loses its oldest turns moves all others: it must be rewritten from there on."""
    client = connect(bedrock, CLAUDE)
    history = [user("Hello?"), assistant("Hello."), user(words("Fact")), assistant("Noted."), user("Go on?")]
    ask(client, *history)
    receipt = ask(client, *history, assistant("More."), user("And?"))
    assert reason(receipt) is None
    receipt = ask(client, *history[2:], assistant("More."), user("And?"))
    assert receipt.miss is not None
    assert (receipt.miss.reason, receipt.miss.path) == ("block changed", "messages.0.content.0")
    assert receipt.miss.detail == "what stood here before is gone"


@pytest.mark.parametrize(
    ("before", "now", "path"),
    [
        ({}, {"additionalModelRequestFields": {"top_k": 3}}, "additionalModelRequestFields"),
        (
            {"toolConfig": {"tools": [tool("search", "Search.")]}},
            {"toolConfig": {"tools": [tool("search", "Search.")], "toolChoice": {"any": {}}}},
            "toolConfig.toolChoice",
        ),
    ],
)
def test_settings_that_make_another_prefix(before: dict[str, Any], now: dict[str, Any], path: str) -> None:
    """Fields of the model and a forced tool change the prefix although every block stays."""
    found = missed(before | {"messages": [user(words("Fact"))]}, now | {"messages": [user(words("Fact"))]})
    assert found is not None
    assert (found.reason, found.path) == ("block changed", path)


def test_a_text_that_is_cut_elsewhere() -> None:
    """The same documents in other blocks are another prefix."""
    first, second = words("Fact"), words("Deed")
    found = missed({"messages": [user(first + second)]}, {"messages": [user(first, second)]}, first, second)
    assert found is not None
    assert (found.reason, found.path) == ("block changed", "messages.0.content.0")
    assert found.detail == "the same content cut into other blocks"


def test_text_around_the_change_stays_in_this_process(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """The object has up to 20 characters on either side; the plain form that travels has none of them."""
    ledger = Ledger()
    client = connect(bedrock, CLAUDE, ledger=ledger)
    for minute in (1, 2):
        reply = client.converse(
            messages=[user("Why?")], system=[{"text": f"Secret 12:0{minute}. Answer from:\n{document}"}]
        )
    (kept,) = ledger.misses().examples
    assert kept.excerpt is not None
    assert [each[:12] for each in kept.excerpt] == ["Secret 12:01", "Secret 12:02"]
    assert max(len(each) for each in kept.excerpt) <= 40
    assert "Secret" not in json.dumps(reply["bedrock_routing"])
    assert reply["bedrock_routing"]["cache"]["miss"]["reason"] == "block changed"


def test_a_conversation_that_grows_misses_nothing(bedrock: LocalBedrock, connect: Connect) -> None:
    """Reading all that was cached, with new text behind it, is no miss."""
    client = connect(bedrock, CLAUDE)
    history = [user(words("Fact"))]
    for number in range(6):
        assert reason(ask(client, *history, system=words("Rule"))) is None
        history += [assistant(words(f"Answer {number}", 90)), user(f"And {number}? {words('More', 90)}")]


def test_other_documents_are_no_miss(bedrock: LocalBedrock, connect: Connect) -> None:
    """A question over other documents could not have read anything."""
    client = connect(bedrock, CLAUDE)
    for name in ("Lease", "Deed", "Bill"):
        remember_documents([words(name)])
        receipt = ask(client, user("Why?"), system=f"Answer from these documents.\n{words(name)}")
        assert reason(receipt) is None


def test_calls_in_flight_at_once_do_not_miss_each_other() -> None:
    """A call that was sent before another came back could not have read what that one wrote."""
    history, params = History(), {"messages": [user(words("Fact"))]}
    early = call(history, params, write=5_000)
    history.note(call(history, params, write=5_000))
    assert history.explain(early, ("m",), RULES) is None
    late = call(history, params, write=5_000)
    assert reason_of(history.explain(late, ("m",), RULES)) == "unexplained"


def test_a_small_miss_is_not_worth_a_word(bedrock: LocalBedrock, connect: Connect) -> None:
    """Below 1,024 established tokens nothing is reported."""
    client = connect(bedrock, CLAUDE)
    ask(client, user("Why?"), system=words("Rule", 90))
    bedrock.clear_caches()
    assert reason(ask(client, user("Why?"), system=words("Rule", 90))) == "unexplained"
    client = connect(bedrock, "anthropic.claude-sonnet-5")
    receipts = [ask(client, user("Why?"), system=words("Rule", 60)) for _ in range(2)]
    assert receipts[1].usage is not None
    bedrock.clear_caches()
    assert reason(ask(client, user("Why?"), system=words("Rule", 60))) is None


def test_an_error_in_the_diagnosis_costs_only_the_diagnosis(
    bedrock: LocalBedrock, connect: Connect, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt says all the rest."""

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    client = connect(bedrock, NOVA)
    monkeypatch.setattr(History, "explain", fail)
    receipts = [ask(client, user("Why?"), system=document) for _ in range(2)]
    assert [each.miss for each in receipts] == [None, None]
    assert receipts[1].usage is not None
    assert receipts[1].usage.read > 0
    assert receipts[1].cost_usd is not None


def call(
    history: History,
    params: dict[str, Any],
    *documents: str,
    model: str = "m",
    read: int = 0,
    write: int = 0,
    at: float = 0.0,
) -> Call:
    """Return a call with points behind its last two turns of the user."""
    memory = DocumentMemory()
    memory.remember(documents)
    chain = chain_of(Prompt(params, memory))
    turns = {piece.message: number for number, piece in enumerate(chain) if piece.prefix}
    ends = [number for message, number in turns.items() if message is not None and message % 2 == 0]
    marks = [
        Mark(chain[end].prefix or b"", sum(piece.tokens for piece in chain[: end + 1]), "5m")
        for end in ends[-2:]
    ]
    messages = [*params["messages"][:-1], user(*params["messages"][-1]["content"], POINT)]
    usage = Usage(fresh=9, read=read, write_5m=write)
    return Call(history.asked(memory, at), {**params, "messages": messages}, marks, model, usage)


def missed(before: dict[str, Any], now: dict[str, Any], *documents: str) -> Miss | None:
    history = History()
    history.note(call(history, before, *documents, write=5_000))
    return history.explain(call(history, now, *documents, write=5_000), ("m",), RULES)


def test_long_instructions_over_other_documents_are_no_miss() -> None:
    """Less than half of what was cached comes again: that is another prompt, not a changed one."""
    rules = words("Rule", 100)
    before = {"messages": [user(rules + words("Deed"))]}
    assert missed(before, {"messages": [user(rules + words("Bill"))]}) is None
    assert missed(before, {"messages": [user(rules + words("Deed", 150) + words("Bill", 50))]}) is not None


@pytest.mark.parametrize(
    ("now", "own", "expected"),
    [(100.0, False, "model switched"), (400.0, False, "lifetime over"), (100.0, True, "unexplained")],
)
def test_another_model_explains_a_miss_only_while_it_alone_has_the_prefix(
    now: float, own: bool, expected: str
) -> None:
    """Not when its entry is over as well, and not when the model that answered should have had its own."""
    history, params = History(), {"messages": [user(words("Fact"))]}
    if own:
        history.note(call(history, params, write=5_000))
    history.note(call(history, params, model="other", write=5_100))
    asked = call(history, params, write=5_000, at=now)
    assert reason_of(history.explain(asked, ("m", "other"), RULES)) == expected


def test_reading_renews_an_entry(
    bedrock: LocalBedrock, connect: Connect, document: str, clock: ManualClock
) -> None:
    """The lifetime counts from the last call that read the prefix, not from the one that wrote it."""
    client = connect(bedrock, NOVA)
    for _ in range(3):
        assert reason(ask(client, user("Why?"), system=document)) is None
        clock.advance(200)
    bedrock.clear_caches()
    assert reason(ask(client, user("Why?"), system=document)) == "unexplained"


def test_a_conversation_is_kept_once() -> None:
    """Each turn stands in for the one before it, so that a long conversation leaves room for others."""
    history, turns = History(max_bytes=120_000), [user(words("Fact"))]
    other = {"messages": [user(words("Deed"))]}
    history.note(call(history, other, write=5_000))
    for number in range(9):
        history.note(call(history, {"messages": turns}, read=5_000, write=100))
        turns = [*turns, assistant(f"Answer {number}."), user(f"Question {number}?")]
    changed = {"messages": [user("It is 12:01. " + words("Deed"))]}
    assert reason_of(history.explain(call(history, changed, write=5_000), ("m",), RULES)) == "block changed"


def test_memory_is_bounded_in_bytes() -> None:
    """A prompt that had to go can no longer be compared; an unchanged prefix is still known by its digest."""
    history = History(max_bytes=30_000)
    params = {"messages": [user(words("Fact"))]}
    history.note(call(history, params, write=5_000))
    changed = {"messages": [user("It is 12:01. " + words("Fact"))]}
    assert reason_of(history.explain(call(history, changed, write=5_000), ("m",), RULES)) == "block changed"
    for number in range(4):
        history.note(call(history, {"messages": [user(words(f"Deed {number}"))]}, write=5_000))
    assert history.explain(call(history, changed, write=5_000), ("m",), RULES) is None
    late = call(history, params, write=5_000, at=400.0)
    assert reason_of(history.explain(late, ("m",), RULES)) == "lifetime over"


def reason_of(miss: Miss | None) -> str | None:
    return miss and miss.reason


def test_each_reason_has_its_advice() -> None:
    """Whatever is found, something can be said about it."""
    assert list(ADVICE) == list(get_args(Reason))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("ab", max_size=30), st.text("ab", max_size=30))
def test_common_ends_are_as_long_as_they_can_be(old: str, new: str) -> None:
    """Halving finds the same as comparing character by character."""

    def count(left: str, right: str) -> int:
        return next(
            (n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
            min(len(left), len(right)),
        )

    before = count(old, new)
    assert common_ends(old, new) == (before, count(old[before:][::-1], new[before:][::-1]))
