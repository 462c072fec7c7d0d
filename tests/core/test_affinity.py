"""Who is asked: the router, or the model whose cache is warm."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_routing import AffinityPolicy, ConfigurationError
from bedrock_routing.affinity import (
    Conversation,
    Decision,
    Option,
    PromptSize,
    TokenPrices,
    cost_on,
    decide,
)

LARGE = Option(model="large", prices=TokenPrices(input=3e-6, read=3e-7, write=3.75e-6, output=15e-6))
SMALL = Option(model="small", prices=TokenPrices(input=1e-6, read=1e-7, write=1.25e-6, output=5e-6))
SIZE = PromptSize(prefix=8_000, new=100, output=100)
STICKY = AffinityPolicy(kind="sticky", asking=0.0)
COST = AffinityPolicy(kind="cost", asking=0.0)
BUDGET = AffinityPolicy(kind="cost", asking=0.0, beta=0.25)


def warm(option: Option, tokens: int = 8_000, **changes: Any) -> Option:
    return replace(option, warm=tokens, **changes)


def after(model: str, **known: Any) -> Conversation:
    """Return a conversation in which the router chose a model, which answered."""
    return Conversation(**{"last": model, "chosen": frozenset({model}), "calls": 1, "asked": 1, **known})


def test_the_router_is_the_default() -> None:
    """Without a policy every call asks the router, whatever is warm or pending."""
    decision = decide(AffinityPolicy(), [warm(LARGE), SMALL], SIZE, after("large", pending_tool=True))
    assert (decision.model, decision.decided_by) == (None, "router: every call asks it")


@pytest.mark.parametrize("policy", [STICKY, COST, BUDGET])
@pytest.mark.parametrize(
    ("options", "conversation", "why"),
    [
        ([warm(LARGE), SMALL], Conversation(), "answered in this conversation yet"),
        ([warm(LARGE), SMALL], after("gone"), "answered in this conversation yet"),
        ([LARGE, SMALL], after("large"), "no model is known to hold this prefix"),
        (
            [LARGE, warm(SMALL)],
            after("small", chosen=frozenset({"large"})),
            "may be worse than one that it chose",
        ),
        ([warm(LARGE), SMALL], after("large", chosen=frozenset()), "may be worse than one that it chose"),
    ],
    ids=["first call", "unknown model", "cold", "worse", "choice unknown"],
)
def test_without_a_good_warm_model_the_router_is_asked(
    policy: AffinityPolicy, options: list[Option], conversation: Conversation, why: str
) -> None:
    """Only a warm model that is as good as the router's last choice is asked in its place."""
    decision = decide(policy, options, SIZE, conversation)
    assert decision.model is None
    assert why in decision.decided_by


@pytest.mark.parametrize("policy", [STICKY, COST, BUDGET])
@pytest.mark.parametrize("tokens", [0, 8_000])
def test_a_tool_result_goes_to_the_model_that_asked_for_it(policy: AffinityPolicy, tokens: int) -> None:
    """Between a tool call and its result the model stays, even where the router would be due."""
    due = replace(policy, asking=1.0)
    decision = decide(due, [warm(LARGE, tokens), warm(SMALL)], SIZE, after("large", pending_tool=True))
    assert decision.model == "large"
    assert "tool call" in decision.decided_by


def test_sticky_stays_while_warm() -> None:
    """`sticky` stays with the model that answered last, however dear, and says what is not known.

    Where that one is cold, a warm one that the router has chosen is asked.
    """
    small = after("large", chosen=frozenset({"small"}))
    decision = decide(STICKY, [warm(LARGE, 7_000), warm(SMALL)], SIZE, small)
    assert decision.model == "large"
    assert "7,000 tokens" in decision.decided_by
    assert "what the router would choose is not known" in decision.decided_by
    assert decide(STICKY, [LARGE, warm(SMALL)], SIZE, small).model == "small"


def test_sticky_goes_back_to_the_better_model() -> None:
    """A call that asked the router, which took the small model for once, does not lower the floor."""
    options = [warm(LARGE, 7_000), warm(SMALL)]
    both = after("small", chosen=frozenset({"large", "small"}), calls=11, asked=2)
    assert decide(STICKY, options, SIZE, both).model == "large"
    assert decide(STICKY, [LARGE, warm(SMALL)], SIZE, both).model is None


def test_the_floor_is_the_best_choice_since_something_is_warm() -> None:
    """The router's choices add up while a model is warm, and only the last one is left when none was."""
    known = after("large")
    asked = known.after(Decision(model=None, decided_by="router"), "small")
    assert asked.chosen == {"large", "small"}
    direct = asked.after(Decision(model="large", decided_by="sticky"), "large")
    assert direct.chosen == {"large", "small"}
    assert direct.after(decide(STICKY, [LARGE, SMALL], SIZE, direct), "small").chosen == {"small"}


@pytest.mark.parametrize("quality", [None, 1.0])
def test_choices_that_cannot_be_compared(quality: float | None) -> None:
    """Where the router chose two models of which not both are known to be how good, it is asked."""
    options = [replace(warm(LARGE), quality=quality), replace(warm(SMALL), prices=None)]
    both = after("large", chosen=frozenset({"large", "small"}))
    assert decide(STICKY, options, SIZE, both).model is None
    assert decide(STICKY, options, SIZE, after("large")).model == "large"


def test_a_model_that_may_not_be_asked_directly() -> None:
    """Neither a warm prefix nor a waiting tool call sends a call to it without the router."""
    shut = [replace(warm(LARGE), direct=False), warm(SMALL)]
    assert decide(STICKY, shut, SIZE, after("large")).model is None
    assert decide(STICKY, shut, SIZE, after("large", pending_tool=True)).model is None


def test_the_router_with_a_tool_lock() -> None:
    """With `lock_tools` the router is asked by every call but one with the result of a tool call."""
    locked = AffinityPolicy(lock_tools=True)
    options = [warm(LARGE), SMALL]
    assert decide(locked, options, SIZE, after("large")).model is None
    decision = decide(locked, options, SIZE, after("large", pending_tool=True))
    assert decision.model == "large"
    assert decision.decided_by.startswith("tool lock")


def test_cost_stays_where_that_is_cheaper() -> None:
    """Reading the prefix on the dear model is cheaper than writing it on the cheap one half of the time."""
    decision = decide(COST, [warm(LARGE), SMALL], SIZE, after("large"))
    assert decision.model == "large"
    assert decision.stay_usd == pytest.approx(8_000 * 3e-7 + 100 * 3e-6 + 100 * 15e-6)
    assert decision.router_usd == pytest.approx(((decision.stay_usd or 0) + 8_000 * 1.25e-6 + 100 * 6e-6) / 2)
    assert "about $0.004200 instead of $0.007400" in decision.decided_by


def test_cost_asks_where_that_is_cheaper() -> None:
    """With nearly nothing to lose, the router, which often takes the cheap model, is asked."""
    short = PromptSize(prefix=1_100, new=2_000, output=1_000)
    decision = decide(COST, [warm(LARGE), SMALL], short, after("large"))
    assert decision.model is None
    assert "not expected to cost more" in decision.decided_by


def test_shares_of_the_router() -> None:
    """What the router is known to choose counts: where it nearly always stays, it may be asked."""
    size = PromptSize(prefix=8_000, new=500, output=500)
    options = [warm(LARGE, share=0.2), warm(SMALL, 7_000, share=0.8)]
    assert decide(COST, options, size, after("large")).model is None
    rarely = [warm(LARGE, share=0.99), replace(SMALL, share=0.01)]
    assert decide(COST, rarely, size, after("large")).model == "large"


def test_a_fee_of_the_router_counts() -> None:
    """A router that takes a fee for each request is dearer than its only choice."""
    options = [warm(LARGE)]
    assert decide(COST, options, SIZE, after("large")).model is None
    assert decide(COST, options, SIZE, after("large"), fee=0.001).model == "large"


def test_never_a_worse_model_than_the_router_chose() -> None:
    """A cheaper warm model is no way out, unless its quality is said to be as high."""
    options = [warm(LARGE), warm(SMALL)]
    size = replace(SIZE, prefix=30_000)
    assert decide(COST, options, size, after("large")).model in (None, "large")
    equal = [replace(each, quality=1.0) for each in options]
    assert decide(COST, equal, size, after("large"), fee=1.0).model == "small"
    half_said = [replace(options[0], quality=1.0), options[1]]
    assert decide(COST, half_said, size, after("large"), fee=1.0).model == "large"


def test_an_unknown_price() -> None:
    """Nothing is weighed with a price that is not known; `sticky` needs none."""
    options = [warm(LARGE), replace(SMALL, prices=None)]
    decision = decide(COST, options, SIZE, after("large"))
    assert (decision.model, decision.decided_by) == (None, "router: a price is not known")
    assert decide(STICKY, options, SIZE, after("large")).model == "large"
    unknown = [replace(each, warm=8_000, prices=None) for each in (LARGE, SMALL)]
    assert decide(STICKY, unknown, SIZE, after("large", chosen=frozenset({"small"}))).model == "small"


def test_what_a_call_costs() -> None:
    """The warm part is read, the rest of the prefix is written, what follows is plain input."""
    assert cost_on(warm(SMALL, 6_000), SIZE) == pytest.approx(6_000e-7 + 2_000 * 1.25e-6 + 100e-6 + 500e-6)
    assert cost_on(warm(SMALL, 9_000), SIZE) == cost_on(warm(SMALL, 8_000), SIZE)
    assert cost_on(replace(SMALL, prices=None), SIZE) is None


@pytest.mark.parametrize("kind", ["sticky", "cost"])
@pytest.mark.parametrize(("asking", "expected"), [(0.1, 4), (0.25, 10), (0.0, 1), (1.0, 40)])
def test_a_share_of_the_calls_asks(kind: Any, asking: float, expected: int) -> None:
    """That share of a conversation's calls asks the router, spread evenly, and the first one in any case."""
    policy = AffinityPolicy(kind=kind, asking=asking)
    conversation, asked = Conversation(), list[int]()
    for number in range(40):
        options = [warm(LARGE) if number else LARGE, SMALL]
        decision = decide(policy, options, SIZE, conversation)
        asked += [number] if decision.model is None else []
        conversation = conversation.after(decision, "large")
    assert len(asked) == expected
    assert asked[:2] == [0, *range(round(1 / asking) if asking else 40, 40)][:2]
    assert (conversation.calls, conversation.asked) == (40, expected)


def test_the_budget_buys_freedom() -> None:
    """With a budget the router is asked until what that cost more has used it up."""
    conversation = after("large", staying=0.1, extra=0.0)
    options = [warm(LARGE), SMALL]
    decision = decide(BUDGET, options, SIZE, conversation)
    assert decision.model is None
    assert "within the budget of 25%" in decision.decided_by
    later = conversation.after(decision, "small")
    assert (later.last, later.chosen) == ("small", {"large", "small"})
    assert later.extra == pytest.approx((cost_on(SMALL, SIZE) or 0) - (cost_on(options[0], SIZE) or 0))
    assert decide(BUDGET, options, SIZE, replace(conversation, extra=0.025)).model == "large"
    assert decide(COST, options, SIZE, conversation).model == "large"


TURNS = st.lists(
    st.tuples(st.sampled_from(["large", "small"]), st.booleans(), st.integers(0, 9)), max_size=40
)


@given(TURNS, st.sampled_from([0.0, 0.1, 0.5]))
def test_the_budget_is_kept(turns: list[tuple[str, bool, int]], beta: float) -> None:
    """No call that the budget allowed takes its extra cost beyond that share, whatever the router chooses."""
    policy = replace(COST, beta=beta)
    conversation, held, prefix = Conversation(), {"large": 0, "small": 0}, 4_000
    for chosen, pending, pause in turns:
        if pause == 0:
            held = dict.fromkeys(held, 0)
        options = [warm(each, held[each.model]) for each in (LARGE, SMALL)]
        before, decision = (
            conversation,
            decide(policy, options, PromptSize(prefix=prefix, new=50, output=200), conversation),
        )
        answered = decision.model or chosen
        conversation = conversation.after(decision, answered, pending_tool=pending)
        if "budget" in decision.decided_by:
            assert conversation.extra <= beta * conversation.staying + 1e-12
        if before.pending_tool:
            assert answered == before.last
        held[answered] = prefix
        prefix += 500


def test_a_cold_start_forgets_the_budget() -> None:
    """When nothing is warm any more, neither savings nor overdrafts are left; a tool call changes nothing."""
    spent = after("large", staying=0.5, extra=0.4)
    cold = spent.after(decide(BUDGET, [LARGE, SMALL], SIZE, spent), "large")
    assert (cold.staying, cold.extra) == (0.0, 0.0)
    pending = replace(spent, pending_tool=True)
    same = pending.after(decide(BUDGET, [warm(LARGE), SMALL], SIZE, pending), "large")
    assert (same.staying, same.extra, same.pending_tool) == (0.5, 0.4, False)


def test_a_direct_call_does_not_change_what_the_router_chose() -> None:
    """Only a call that asked the router tells what it chooses."""
    known = after("small")
    decision = Decision(model="large", decided_by="sticky")
    later = known.after(decision, "large", pending_tool=True)
    assert (later.last, later.chosen, later.asked, later.pending_tool) == ("large", {"small"}, 1, True)


def test_the_length_of_answers() -> None:
    """What answers of a conversation are like is remembered, and not forgotten by one without numbers."""
    decision = Decision(model=None, decided_by="router")
    first = Conversation().after(decision, "large", output=100)
    second = first.after(decision, "large", output=300)
    assert (first.output, second.output, second.after(decision, "large").output) == (100, 200, 200)


@pytest.mark.parametrize(
    "wrong", [{"kind": "best"}, {"asking": 1.5}, {"beta": -0.1}, {"quality": {"gpt": 1}}]
)
def test_impossible_policies(wrong: dict[str, Any]) -> None:
    """A policy that cannot be followed is an error."""
    with pytest.raises(ConfigurationError):
        AffinityPolicy(**wrong)
