"""Who is asked on the wire: the router, or the model whose cache is warm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from bedrock_local import Fault, FixedAnswer, LocalBedrock, ManualClock, SystemClock
from bedrock_routing import (
    AffinityPolicy,
    CachePolicy,
    CacheState,
    ConfigurationError,
    Ledger,
    PricePolicy,
    Receipt,
    RoutedClient,
    Usage,
    collect,
    parse,
    remember_documents,
)
from bedrock_routing.conversations import Conversations, conversations_of
from bedrock_routing.pricing import cost_of

Connect = Callable[..., RoutedClient]
Serve = Callable[..., LocalBedrock]
OPUS, SONNET = "anthropic.claude-opus-4-8", "anthropic.claude-sonnet-4-6"
PAIR = (f"us.{OPUS}", f"us.{SONNET}")
STICKY, COST = AffinityPolicy(kind="sticky", asking=0.0), AffinityPolicy(kind="cost", asking=0.0)
"""No call asks the router only so that its choice stays known."""
RULES = "\n".join(f"Rule {number}: be brief, kind and exact about it." for number in range(400))
"""A system prompt of about 5,000 tokens that is no document."""
TOOL = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object", "properties": {}}}}}
UNKNOWN = "what the router would choose is not known"


@pytest.fixture
def pair(serve: Serve) -> LocalBedrock:
    """Serve a Claude pair under a router that gives its calls to one and the other in turn."""
    bedrock = serve(routing="alternate")
    bedrock.create_router("pair", PAIR)
    return bedrock


class Chat:
    """Be one conversation, which grows with every question."""

    def __init__(self, client: RoutedClient, **request: Any) -> None:
        self.client = client
        self.request = request
        self.messages: list[dict[str, Any]] = []

    def ask(self, *content: Any, stream: bool = False) -> dict[str, Any]:
        """Ask, keep the answer, and return the receipt."""
        blocks = [{"text": each} if isinstance(each, str) else each for each in content]
        self.messages.append({"role": "user", "content": blocks})
        if stream:
            events = list(self.client.converse_stream(messages=self.messages, **self.request)["stream"])
            self.messages.append({"role": "assistant", "content": [{"text": "Streamed."}]})
            return events[-1]["metadata"]["bedrock_routing"]
        reply = self.client.converse(messages=self.messages, **self.request)
        self.messages.append(reply["output"]["message"])
        return reply["bedrock_routing"]


@pytest.fixture
def talk(pair: LocalBedrock, connect: Connect, document: str) -> Chat:
    """Return a conversation over a document that stays with its model."""
    return chat(connect(pair, "pair", affinity=STICKY), document)


def chat(client: RoutedClient, document: str) -> Chat:
    return Chat(client, system=[{"text": document}])


def question(client: RoutedClient, document: str, text: str) -> dict[str, Any]:
    """Ask a question over documents that nothing came before, and return the receipt."""
    return Chat(client).ask(f"Context:\n{document}\n\nQuestion: {text}")


def names(receipts: Sequence[dict[str, Any]]) -> list[str]:
    return ["opus" if each["model"] == OPUS else "sonnet" for each in receipts]


def asked(bedrock: LocalBedrock) -> list[str]:
    """Return whom each call went to: the router, or a model."""
    calls = [each.model_id or "" for each in bedrock.requests if each.operation.startswith("Converse")]
    return ["router" if parse(each).is_router else "opus" if OPUS in each else "sonnet" for each in calls]


def deciders(receipts: Sequence[dict[str, Any]]) -> list[str]:
    return [each["decided_by"].partition(":")[0] for each in receipts]


# The default


@pytest.mark.parametrize("given", [{}, {"affinity": "router"}, {"affinity": AffinityPolicy()}])
def test_by_default_every_call_asks_the_router(
    pair: LocalBedrock, connect: Connect, document: str, given: dict[str, Any]
) -> None:
    """Without a policy a conversation goes to the router call by call, and the receipts say so."""
    talk = chat(connect(pair, "pair", **given), document)
    receipts = [talk.ask(f"Question {number}?") for number in range(4)]
    assert asked(pair) == ["router"] * 4
    assert names(receipts) == ["opus", "sonnet"] * 2
    assert {each["decided_by"] for each in receipts} == {"router: every call asks it"}
    assert [each["router_choice"] for each in receipts] == [OPUS, SONNET] * 2


def test_the_first_call_is_the_same_with_every_policy(serve: Serve, connect: Connect, document: str) -> None:
    """What goes to the router is planned as without a policy."""
    bodies: list[Any] = []
    for affinity in ("router", "sticky", "cost"):
        bedrock = serve(routing="alternate")
        bedrock.create_router("pair", PAIR)
        chat(connect(bedrock, "pair", affinity=affinity), document).ask("Who?")
        bodies.append(bedrock.requests[-1].body)
    assert bodies[0] == bodies[1] == bodies[2]


def test_a_model_that_the_caller_names_is_nobody_elses_choice(
    pair: LocalBedrock, connect: Connect, document: str
) -> None:
    """A policy is about routers only."""
    talk = chat(connect(pair, PAIR[1], affinity="sticky"), document)
    receipts = [talk.ask("Who?"), talk.ask("When?")]
    assert asked(pair) == ["sonnet"] * 2
    assert {(each["router_arn"], each["router_choice"]) for each in receipts} == {(None, None)}
    assert deciders(receipts) == ["caller", "caller"]


# sticky


def test_sticky_asks_the_model_that_answered_while_it_is_warm(
    talk: Chat, pair: LocalBedrock, clock: ManualClock
) -> None:
    """After the first answer the same model is asked; once its entry has expired, the router is again."""
    first = [talk.ask(f"Question {number}?") for number in range(3)]
    clock.advance(301)
    second = [talk.ask(f"Later question {number}?") for number in range(3)]
    assert asked(pair) == ["router", "opus", "opus", "router", "sonnet", "sonnet"]
    assert deciders(first) == deciders(second) == ["router", "sticky", "sticky"]
    assert [each["cache"]["read"] > 2_000 for each in (*first, *second)] == [False, True, True] * 2
    assert "no model is known to hold this prefix" in second[0]["decided_by"]


def test_sticky_in_streams(talk: Chat, pair: LocalBedrock) -> None:
    """Streams and whole answers of one conversation stay with one model."""
    receipts = [talk.ask(f"Question {number}?", stream=number % 2 == 0) for number in range(4)]
    assert asked(pair) == ["router", "opus", "opus", "opus"]
    assert all(each["complete"] and each["router_arn"] for each in receipts)


def test_sticky_for_separate_questions_over_the_same_documents(
    pair: LocalBedrock, connect: Connect, document: str
) -> None:
    """Questions that only have their documents in common stay with the model that holds these."""
    client = connect(pair, "pair", affinity=STICKY)
    receipts = [question(client, document, text) for text in ("Who?", "When?", "Where?")]
    assert asked(pair) == ["router", "opus", "opus"]
    assert [each["cache"]["read"] > 2_000 for each in receipts] == [False, True, True]
    other = " ".join(f"Paragraph {number} is about the garden." for number in range(500))
    remember_documents([other])
    assert deciders([question(client, other, "Who?")]) == ["router"]


def test_a_system_prompt_makes_no_conversation(pair: LocalBedrock, connect: Connect) -> None:
    """Conversations that only begin with the same system prompt have their models from the router."""
    client = connect(pair, "pair", affinity=STICKY)
    talks = [Chat(client, system=[{"text": RULES}]) for _ in range(4)]
    receipts = [talk.ask(f"I am user {number}. Hello?") for number, talk in enumerate(talks)]
    assert all(each["cache"]["points"][0] == "system.1" for each in receipts)
    assert asked(pair) == ["router"] * 4
    receipts = [talk.ask("And now?") for talk in talks]
    assert names(receipts) == ["opus", "sonnet"] * 2
    assert deciders(receipts) == ["sticky"] * 4


def test_conversations_over_the_same_documents_keep_their_own_models(
    pair: LocalBedrock, connect: Connect, document: str
) -> None:
    """A conversation is known by its longest prefix, whatever others over its documents do."""
    client = connect(pair, "pair", affinity=STICKY)
    first, second = chat(client, document), chat(client, document)
    first.ask("I am the first. Who?")
    plain = connect(pair, "pair")
    plain.converse(messages=[{"role": "user", "content": [{"text": "Next, please."}]}])
    second.ask("I am the second. Who?")  # over documents that the first one has warmed
    assert names([first.ask("When?"), second.ask("When?"), first.ask("Where?")]) == ["opus"] * 3


def test_a_share_of_the_calls_asks_the_router(pair: LocalBedrock, connect: Connect, document: str) -> None:
    """One call in four asks; the larger model that the router takes then is not left for a smaller one."""
    policy = AffinityPolicy(kind="sticky", asking=0.25)
    talk = chat(connect(pair, "pair", affinity=policy), document)
    receipts = [talk.ask(f"Question {number}?") for number in range(12)]
    assert [number for number, who in enumerate(asked(pair)) if who == "router"] == [0, 4, 8]
    assert names(receipts) == ["opus"] * 4 + ["sonnet"] + ["opus"] * 7
    assert "25% of the calls ask it" in receipts[4]["decided_by"]


def test_the_floor_rises_with_the_routers_choice(serve: Serve, connect: Connect, document: str) -> None:
    """A conversation that began on the small model stays with the large one once the router took that."""
    bedrock = serve(routing=["small", "large", "small"])
    bedrock.create_router("pair", PAIR)
    policy = AffinityPolicy(kind="sticky", asking=0.25)
    talk = chat(connect(bedrock, "pair", affinity=policy), document)
    assert names([talk.ask(f"Question {number}?") for number in range(12)]) == (
        ["sonnet"] * 4 + ["opus"] * 4 + ["sonnet"] + ["opus"] * 3
    )


# cost


def test_cost_stays_where_reading_is_cheaper_than_writing_anew(
    pair: LocalBedrock, connect: Connect, document: str
) -> None:
    """With the prefix on the dear model only, staying costs less than the router half of the time."""
    talk = chat(connect(pair, "pair", affinity=COST), document)
    receipts = [talk.ask("Who?"), talk.ask("When?")]
    assert asked(pair) == ["router", "opus"]
    assert "instead of $" in receipts[1]["decided_by"]
    assert UNKNOWN in receipts[1]["decided_by"]


def test_cost_asks_where_that_is_cheaper(pair: LocalBedrock, connect: Connect, document: str) -> None:
    """Where both models hold the prefix, the router, which often takes the cheap one, is asked."""
    plain, client = connect(pair, "pair"), connect(pair, "pair", affinity=COST)
    for _ in range(2):
        question(plain, document, "Who?")
    receipts = [question(client, document, text) for text in ("When?", "Where?", "Why?", "What?")]
    assert asked(pair)[2:] == ["router"] * 4
    assert "not expected to cost more" in receipts[-1]["decided_by"]


def test_cost_never_asks_a_worse_model_than_the_router_chose(
    pair: LocalBedrock, connect: Connect, document: str
) -> None:
    """The small model, warm and cheap, is not asked in the router's place after that took the large one."""
    client = connect(pair, "pair", affinity=AffinityPolicy(kind="cost", asking=0.1))
    receipts = [question(client, document, f"Question {number}?") for number in range(30)]
    floor = 0
    for who, receipt in zip(asked(pair), receipts, strict=True):
        rank = 1 + (receipt["model"] == OPUS)
        assert who == "router" or rank >= floor
        floor = max(floor, rank) if who == "router" else floor
    assert asked(pair).count("router") >= 3


def test_quality_that_the_user_states(serve: Serve, connect: Connect, document: str) -> None:
    """Of two models that are said to be equally good, the cheaper one that is warm is asked."""
    bedrock = serve(routing="alternate")
    bedrock.create_router("pair", PAIR)
    equal = AffinityPolicy(kind="cost", asking=0.0, quality={OPUS: 1.0, SONNET: 1.0})
    plain = connect(bedrock, "pair")
    for _ in range(2):
        question(plain, document, "Who?")
    client = connect(bedrock, "pair", affinity=equal)
    receipts = [question(client, document, text) for text in ("When?", "Where?", "Why?")]
    assert asked(bedrock)[2:] == ["router", "sonnet", "sonnet"]
    assert deciders(receipts) == ["router", "cost", "cost"]


def test_a_budget_for_the_router(pair: LocalBedrock, connect: Connect, document: str) -> None:
    """With a large budget the router is asked although staying is cheaper; without one it is not."""
    rich = AffinityPolicy(kind="cost", asking=0.0, beta=20.0)
    talk = chat(connect(pair, "pair", affinity=rich), document)
    receipts = [talk.ask("Who?"), talk.ask("When?")]
    assert asked(pair) == ["router"] * 2
    assert "within the budget of 2000%" in receipts[1]["decided_by"]


# Tools


def loop(client: RoutedClient, *, stream: bool = False, rename: bool = False) -> list[dict[str, Any]]:
    """Ask, let the model call its tool, bring the result, and return both receipts."""
    tools = {"tools": [TOOL]}
    ask = [{"role": "user", "content": [{"text": f"{RULES}\nLook."}]}]
    receipts: list[dict[str, Any]] = []
    if stream:
        events = list(client.converse_stream(messages=ask, toolConfig=tools)["stream"])
        call = next(each["contentBlockStart"]["start"] for each in events if "contentBlockStart" in each)
        call["toolUse"]["input"] = {}
        answer: dict[str, Any] = {"role": "assistant", "content": [call]}
        receipts.append(events[-1]["metadata"]["bedrock_routing"])
    else:
        reply = client.converse(messages=ask, toolConfig=tools)
        answer = reply["output"]["message"]
        receipts.append(reply["bedrock_routing"])
    uses = [block["toolUse"] for block in answer["content"] if "toolUse" in block]
    if rename:
        uses = [{**use, "toolUseId": f"call-{number}"} for number, use in enumerate(uses)]
        answer = {"role": "assistant", "content": [{"toolUse": use} for use in uses]}
    found = [
        {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "A page."}]}} for use in uses
    ]
    messages = [*ask, answer, {"role": "user", "content": found}]
    receipts.append(client.converse(messages=messages, toolConfig=tools)["bedrock_routing"])
    return receipts


LOCKING = [STICKY, COST, AffinityPolicy(kind="sticky", asking=1.0), AffinityPolicy(lock_tools=True)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("policy", LOCKING, ids=["sticky", "cost", "always due", "router"])
def test_a_tool_loop_stays_on_its_model(
    serve: Serve, connect: Connect, policy: AffinityPolicy, stream: bool
) -> None:
    """The result of a tool call goes to the model that made it, warm or not, due or not."""
    bedrock = serve(routing="alternate", answers=FixedAnswer(tool_calls={"look": {}}))
    bedrock.create_router("pair", PAIR)
    client = connect(bedrock, "pair", affinity=policy)
    receipts = loop(client, stream=stream)
    assert asked(bedrock) == ["router", "opus"]
    assert deciders(receipts) == ["router", "tool lock"]
    bedrock.clear_caches()
    assert names(loop(connect(bedrock, "pair", affinity=policy, cache=False), stream=stream)) in (
        ["opus"] * 2,
        ["sonnet"] * 2,
    )


def test_without_a_lock_the_router_gets_the_results(serve: Serve, connect: Connect) -> None:
    """By default the result of a tool call is a call as all others."""
    bedrock = serve(routing="alternate", answers=FixedAnswer(tool_calls={"look": {}}))
    bedrock.create_router("pair", PAIR)
    loop(connect(bedrock, "pair"))
    assert asked(bedrock) == ["router", "router"]


def test_a_loop_whose_calls_are_renamed(serve: Serve, connect: Connect) -> None:
    """A framework that gives tool calls ids of its own is recognised by what came before."""
    bedrock = serve(routing="alternate", answers=FixedAnswer(tool_calls={"look": {}}))
    bedrock.create_router("pair", PAIR)
    receipts = loop(connect(bedrock, "pair", affinity=AffinityPolicy(kind="cost", asking=1.0)), rename=True)
    assert names(receipts) == ["opus", "opus"]
    assert deciders(receipts) == ["router", "tool lock"]


def stored_loop(arn: str | None, invoked: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a conversation that waits for the result of a tool call, and whom its receipt names."""
    use = {"toolUseId": "stored-1", "name": "look", "input": {}}
    found = {"toolResult": {"toolUseId": "stored-1", "content": [{"text": "A page."}]}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"text": "Look."}]},
        {"role": "assistant", "content": [{"toolUse": use}]},
        {"role": "user", "content": [found]},
    ]
    return messages, {"ids": ["stored-1"], "model": invoked, "router": arn}


def bring(client: RoutedClient, messages: list[dict[str, Any]]) -> dict[str, Any]:
    reply = client.converse(messages=messages, toolConfig={"tools": [TOOL]})
    return reply["bedrock_routing"]


@pytest.mark.parametrize("policy", LOCKING, ids=["sticky", "cost", "always due", "router"])
def test_a_stored_tool_call_that_was_noted(
    pair: LocalBedrock, connect: Connect, policy: AffinityPolicy
) -> None:
    """Who made a tool call that this process never saw may be said, whoever asked for it."""
    client = connect(pair, "pair", affinity=policy, state=CacheState())
    messages, noted = stored_loop(None, PAIR[1])
    client.note_tool_calls(**noted)
    receipt = bring(client, messages)
    assert asked(pair) == ["sonnet"]
    assert receipt["decided_by"].startswith("tool lock: ")
    assert receipt["router_arn"] == pair.router_arn("pair")


@pytest.mark.parametrize("invoked", ["us.amazon.nova-lite-v1:0", "no model at all: /", "A router's name", ""])
def test_a_note_that_names_no_model_of_the_router(pair: LocalBedrock, connect: Connect, invoked: str) -> None:
    """What the router could not have invoked is not asked."""
    client = connect(pair, "pair", affinity=AffinityPolicy(lock_tools=True), state=CacheState())
    messages, noted = stored_loop(pair.router_arn("pair"), invoked)
    client.note_tool_calls(**noted)
    bring(client, messages)
    assert asked(pair) == ["router"]


@pytest.mark.parametrize("policy", LOCKING, ids=["sticky", "cost", "always due", "router"])
@pytest.mark.parametrize("by", ["this router", "another router", "nobody"])
def test_a_router_that_may_not_be_looked_up(
    pair: LocalBedrock, connect: Connect, policy: AffinityPolicy, by: str
) -> None:
    """Where nobody lists its models, one is locked that it is known to have invoked, and no other."""
    arn = pair.router_arn("pair")
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        pair.fail(Fault.denied(operation, arn), times=9, operation=operation)
    client = connect(pair, arn, affinity=policy, state=CacheState())
    messages, noted = stored_loop({"this router": arn, "another router": f"{arn}x"}.get(by), PAIR[1])
    client.note_tool_calls(**noted)
    receipt = bring(client, messages)
    assert asked(pair) == (["sonnet"] if by == "this router" else ["router"])
    assert receipt["router_arn"] == arn
    assert receipt["strongest_cost_usd"] is None
    if by != "this router":
        assert receipt["decided_by"] == "router: every call asks it"


@pytest.mark.parametrize("stream", [False, True])
def test_a_router_that_may_not_be_looked_up_in_a_loop(serve: Serve, connect: Connect, stream: bool) -> None:
    """The first answer's tool call is locked, although the router's other models are not known."""
    bedrock = serve(routing="alternate", answers=FixedAnswer(tool_calls={"look": {}}))
    arn = bedrock.create_router("pair", PAIR)
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        bedrock.fail(Fault.denied(operation, arn), times=9, operation=operation)
    client = connect(bedrock, arn, affinity=AffinityPolicy(lock_tools=True))
    assert deciders(loop(client, stream=stream)) == ["router", "tool lock"]


def test_a_noted_model_that_may_not_be_asked_directly(pair: LocalBedrock, connect: Connect) -> None:
    """Where nobody lists the router's models either, the router is asked in its place, and the next time."""
    arn = pair.router_arn("pair")
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        pair.fail(Fault.denied(operation, arn), times=9, operation=operation)
    client = connect(pair, arn, affinity=AffinityPolicy(lock_tools=True), state=CacheState())
    messages, noted = stored_loop(arn, PAIR[1])
    client.note_tool_calls(**noted)
    pair.fail(Fault.denied("InvokeModel", "*"), operation="Converse")
    assert "may not be asked directly" in bring(client, messages)["decided_by"]
    bring(client, messages)
    assert asked(pair) == ["sonnet", "router", "router"]


def test_a_client_with_another_policy_shares_all_else(serve: Serve, connect: Connect) -> None:
    """It adds to the same ledger, knows the same calls and routers, and leaves the first one as it was."""
    bedrock = serve(routing="alternate", answers=FixedAnswer(tool_calls={"look": {}}))
    bedrock.create_router("pair", PAIR)
    ledger, state = Ledger(), CacheState()
    plain = connect(bedrock, "pair", ledger=ledger, state=state)
    locking = plain.with_affinity(AffinityPolicy(lock_tools=True))
    assert bedrock.requests == []  # nothing is made or asked for it
    assert (plain.affinity, locking.affinity) == (AffinityPolicy(), AffinityPolicy(lock_tools=True))
    assert plain.with_affinity("sticky").affinity == AffinityPolicy(kind="sticky")
    assert deciders(loop(locking)) == ["router", "tool lock"]
    assert deciders(loop(plain)) == ["router", "router"]
    assert len(ledger.receipts) == 4
    assert [each.operation for each in bedrock.requests].count("ListPromptRouters") == 1
    assert locking._engine() is plain._engine()
    assert locking._engine().state is state


# Receipts


def test_a_receipt_of_a_call_that_was_not_the_routers(
    pair: LocalBedrock, connect: Connect, document: str
) -> None:
    """It names the router, the model that was asked, who decided, and that the router's choice is unknown."""
    ledger = Ledger()
    prices = PricePolicy(per_request_usd=0.001)
    client = connect(pair, "pair", affinity=STICKY, ledger=ledger, prices=prices)
    talk = chat(client, document)
    first, second = talk.ask("Who?"), talk.ask("When?")
    assert (first["router_choice"], second["router_choice"]) == (OPUS, None)
    assert first["router_arn"] == second["router_arn"] == client.target().arn
    assert (second["model"], parse(second["invoked_model_id"]).kind) == (OPUS, "inference-profile")
    assert second["decided_by"].startswith("sticky: it holds ")
    assert UNKNOWN in second["decided_by"]
    for receipt, fee in ((first, 0.001), (second, 0.0)):
        usage = Receipt.from_dict(receipt).usage
        assert usage is not None
        model = parse(receipt["invoked_model_id"])
        assert receipt["cost_usd"] == pytest.approx(float(cost_of(model, usage, PricePolicy()) or 0) + fee)
    assert second["strongest_cost_usd"] == pytest.approx(second["cost_usd"])  # opus is the dearest
    assert Receipt.from_dict(second).to_dict() == second
    assert ledger.per_model.keys() == {OPUS}


def test_the_strongest_model_of_a_call_that_was_not_the_routers(
    serve: Serve, connect: Connect, document: str
) -> None:
    """What the dearest model behind the router would have cost is still what the saving is measured by."""
    bedrock = serve(routing=["small"])
    bedrock.create_router("pair", PAIR)
    talk = chat(connect(bedrock, "pair", affinity=STICKY), document)
    receipt = [talk.ask("Who?"), talk.ask("When?")][1]
    usage = Receipt.from_dict(receipt).usage
    assert receipt["model"] == SONNET
    assert isinstance(usage, Usage)
    assert receipt["strongest_cost_usd"] == pytest.approx(
        float(cost_of(parse(PAIR[0]), usage, PricePolicy()) or 0)
    )


# What goes wrong


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        Fault.denied("InvokeModel", "*"),
        Fault.dead_model(),
        Fault.error("ValidationException", "Invocation with on-demand throughput isn't supported."),
    ],
    ids=["denied", "gone", "not on demand"],
)
def test_a_model_that_may_not_be_asked_directly(
    talk: Chat, pair: LocalBedrock, clock: ManualClock, fault: Fault, stream: bool
) -> None:
    """The call goes to the router instead, and for an hour the model is not tried again."""
    talk.ask("Who?", stream=stream)
    pair.fail(fault, operation="ConverseStream" if stream else "Converse")
    receipt = talk.ask("When?", stream=stream)
    assert asked(pair) == ["router", "opus", "router"]
    assert "the model may not be asked directly" in receipt["decided_by"]
    assert receipt["router_choice"] == receipt["model"] == SONNET
    talk.ask("Where?", stream=stream)  # the small one is worse than the first choice: the router again
    assert asked(pair)[3:] == ["router"]
    for _ in range(13):
        clock.advance(280)
        talk.ask("Still there?", stream=stream)
    talk.ask("And now?", stream=stream)
    assert asked(pair).index("opus", 3) > 15


def test_a_model_that_is_busy_is_no_reason_to_fail(talk: Chat, pair: LocalBedrock) -> None:
    """A throttled model is stood in for by the router, and is asked again by the next call."""
    talk.ask("Who?")
    pair.fail(Fault.throttling(), operation="Converse")
    assert "could not answer (ThrottlingException)" in talk.ask("When?")["decided_by"]
    assert deciders([talk.ask("Where?")]) == ["sticky"]


def test_a_model_that_is_busy_once_its_stream_is_open(talk: Chat, pair: LocalBedrock) -> None:
    """Throttling as the first event of a stream is what it is as a reply: the router is asked instead."""
    talk.ask("Who?", stream=True)
    pair.fail(Fault.exception_in_stream(after_events=0), operation="ConverseStream")
    receipt = talk.ask("When?", stream=True)
    assert asked(pair) == ["router", "opus", "router"]
    assert "could not answer (ThrottlingException)" in receipt["decided_by"]
    assert (receipt["complete"], receipt["router_choice"]) == (True, SONNET)
    assert deciders([talk.ask("Where?", stream=True)]) == ["sticky"]


def test_a_model_that_is_busy_after_its_first_words(talk: Chat, pair: LocalBedrock) -> None:
    """Nobody stands in for a model that has begun to speak: the caller has its words already."""
    talk.ask("Who?", stream=True)
    pair.fail(Fault.exception_in_stream(after_events=2), operation="ConverseStream")
    with pytest.raises(ClientError, match="throttlingException"):
        talk.ask("When?", stream=True)
    assert asked(pair) == ["router", "opus"]


def test_a_busy_model_keeps_a_streamed_tool_loop(pair: LocalBedrock, connect: Connect) -> None:
    """The result of a locked tool call goes to no other model, however a stream says that its own is busy."""
    client = connect(pair, "pair", affinity=STICKY)
    messages, noted = stored_loop(None, PAIR[0])
    client.note_tool_calls(**noted)
    pair.fail(Fault.exception_in_stream(after_events=0), operation="ConverseStream")
    with pytest.raises(ClientError, match="throttlingException"):
        list(client.converse_stream(messages=messages, toolConfig={"tools": [TOOL]})["stream"])
    assert asked(pair) == ["opus"]


def test_a_stream_that_nobody_can_open_instead(talk: Chat, pair: LocalBedrock) -> None:
    """Where the router is throttled as well, that is the error, and the call is counted once."""
    talk.ask("Who?", stream=True)
    pair.fail(Fault.exception_in_stream(after_events=0), operation="ConverseStream")
    pair.fail(Fault.throttling(), operation="ConverseStream")
    with collect() as ledger, pytest.raises(ClientError, match="ThrottlingException") as caught:
        talk.ask("When?", stream=True)
    assert asked(pair) == ["router", "opus", "router"]
    assert len(getattr(caught.value, "__notes__", [])) == 1
    assert [receipt.complete for receipt in ledger.receipts] == [False]


def test_an_error_of_the_request_stays_an_error(talk: Chat, pair: LocalBedrock) -> None:
    """What would fail at the router as well is not tried there."""
    talk.ask("Who?")
    pair.fail(Fault.error("ValidationException", "No."), operation="Converse")
    with pytest.raises(ClientError):
        talk.ask("When?")
    assert asked(pair) == ["router", "opus"]


def test_where_streams_are_not_permitted_the_model_is_not_shut_out(
    serve: Serve, connect: Connect, document: str
) -> None:
    """A right to streams that is missing everywhere says nothing of the model."""
    bedrock = serve(routing="alternate")
    bedrock.create_router("pair", PAIR)
    talk = chat(connect(bedrock, "pair", affinity=STICKY), document)
    talk.ask("Who?")
    bedrock.fail(Fault.denied("InvokeModelWithResponseStream", "*"), times=9, operation="ConverseStream")
    with pytest.raises(ClientError):
        talk.ask("When?", stream=True)
    talk.messages.pop()
    assert deciders([talk.ask("Where?")]) == ["sticky"]


def test_a_choice_that_fails_costs_no_call(
    pair: LocalBedrock, connect: Connect, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the decision itself breaks, the router is asked."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(Conversations, "longest", broken)
    receipt = chat(connect(pair, "pair", affinity="sticky"), document).ask("Who?")
    assert receipt["decided_by"] == "router: every call asks it"


def test_impossible_settings(pair: LocalBedrock, connect: Connect) -> None:
    """A kind that there is not is an error that names those that there are."""
    with pytest.raises(ConfigurationError, match="router, sticky, cost"):
        connect(pair, "pair", affinity="best")


# What is remembered


def test_clients_of_one_service_share_their_conversations(
    pair: LocalBedrock, connect: Connect, document: str
) -> None:
    """A copy of a client goes on where the first one was; one with a state of its own does not."""
    talk = chat(connect(pair, "pair", affinity=STICKY), document)
    talk.ask("Who?")
    talk.client = connect(pair, "pair", affinity=STICKY)
    talk.ask("When?")
    talk.client = connect(pair, "pair", affinity=STICKY, state=CacheState())
    talk.ask("Where?")
    assert asked(pair) == ["router", "opus", "router"]


def test_what_is_remembered_is_bounded() -> None:
    """The conversation that was used longest ago is forgotten."""
    book = Conversations(size=2)
    for key in (b"a", b"b", b"c"):
        book.update("router", [key], lambda before: before)
    assert [book.longest("router", [key])[0] for key in (b"a", b"b", b"c")] == [None, b"b", b"c"]
    assert book.longest("other router", [b"c"])[0] is None


def test_nothing_of_a_prompt_is_remembered(pair: LocalBedrock, connect: Connect, document: str) -> None:
    """The tables hold digests, model ids and numbers."""
    state = CacheState()
    talk = chat(connect(pair, "pair", affinity="sticky", state=state), document)
    talk.ask("A question about the tenant?")
    held = repr(vars(conversations_of(state)._known))
    assert OPUS in held
    assert "tenant" not in held


# Calls at once


def test_calls_at_once_are_all_counted(serve: Serve, connect: Connect, document: str) -> None:
    """Calls that begin with the same record add up; the share that asks is made up for afterwards."""
    bedrock = serve(clock=SystemClock(), routing="alternate", latency=0.05)
    bedrock.create_router("pair", PAIR)
    policy = AffinityPolicy(kind="sticky", asking=0.1)
    runtime = bedrock.client(retries={"total_max_attempts": 1}, max_pool_connections=64)
    client = RoutedClient(runtime, model="pair", affinity=policy, cache=CachePolicy(fan_out="off"))
    question(client, document, "First?")
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: question(client, document, f"Question {number}?"), range(20)))
    assert asked(bedrock)[1:] == ["opus"] * 20
    receipts = [question(client, document, f"Later question {number}?") for number in range(3)]
    assert deciders(receipts) == ["router", "router", "sticky"]


def test_calls_at_once_over_a_cold_prefix(serve: Serve, connect: Connect, document: str) -> None:
    """One writes, the models are primed, the others read; later calls stay with a model that is warm."""
    bedrock = serve(clock=SystemClock(), routing="alternate", latency=0.3)
    bedrock.create_router("pair", PAIR)
    ledger = Ledger()
    runtime = bedrock.client(retries={"total_max_attempts": 1}, max_pool_connections=64)
    client = RoutedClient(runtime, model="pair", affinity=STICKY, ledger=ledger)
    client.target()
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda number: question(client, document, f"Number {number}?"), range(12)))
    written = [each.usage["cacheWriteInputTokens"] for each in bedrock.requests if each.usage]
    assert sum(each > 2_000 for each in written) == 2
    assert len(replies) == 12
    primes = [each for each in ledger.receipts if each.purpose == "prime"]
    assert 1 <= len(primes) <= 2
    assert all(each.router_arn is None for each in primes)
    assert deciders([question(client, document, "Later?")]) == ["sticky"]
