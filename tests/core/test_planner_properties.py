from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bedrock_routing import CachePolicy, CacheRules, CacheState, Catalog, Common, PricePolicy, Target, parse
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.engine import Engine
from bedrock_routing.turn import Turn

Params = dict[str, Any]
Place = tuple[Any, ...]

DOCUMENTS = tuple(
    " ".join(f"{name} {number} pays." for number in range(250)) for name in ("Anna", "Bert", "Carl")
)
CLAUDE, NOVA = (
    Catalog.default().common([model]).cache
    for model in ("anthropic.claude-sonnet-5", "amazon.nova-lite-v1:0")
)
REPLY = {
    "usage": {"inputTokens": 9, "outputTokens": 5, "totalTokens": 5_014, "cacheWriteInputTokens": 5_000},
    "stopReason": "end_turn",
}
thorough = settings(max_examples=120, deadline=None, derandomize=True)

points = st.sampled_from(
    [{"type": "default"}, {"type": "default", "ttl": "5m"}, {"type": "default", "ttl": "1h"}]
)
point = points.map(lambda value: {"cachePoint": value})
fillers = st.sampled_from(
    ["What is it?", "Use these. ", "\n\n", " and then ", "long words " * 400, "word " * 1_800]
)
texts = (
    st.lists(st.one_of(fillers, st.sampled_from(DOCUMENTS)), min_size=1, max_size=4)
    .map("".join)
    .filter(str.strip)
    .map(lambda text: {"text": text})
)
files = st.sampled_from([("pdf", False), ("txt", False), ("txt", True)]).map(
    lambda how: {
        "document": {"name": "d", "format": how[0], "source": {"bytes": b"x" * 200_000}}
        | ({"citations": {"enabled": True}} if how[1] else {})
    }
)
media = st.sampled_from(
    [
        {"image": {"format": "png", "source": {"bytes": b"x"}}},
        {"video": {"format": "mp4", "source": {"bytes": b"x"}}},
        {"guardContent": {"text": {"text": "guarded " * 50}}},
        {"searchResult": {"source": "s", "title": "t", "content": [{"text": "found " * 900}]}},
        {"toolResult": {"toolUseId": "1", "content": [{"text": "result " * 900}]}},
    ]
)
said = st.sampled_from(
    [
        {"text": "An answer."},
        {"reasoningContent": {"reasoningText": {"text": "thought " * 900}}},
        {"toolUse": {"toolUseId": "1", "name": "t", "input": {"q": "x"}}},
    ]
)
tools = st.integers(1, 4_000).map(
    lambda size: {"toolSpec": {"name": "t", "description": "d" * size, "inputSchema": {"json": {}}}}
)
users = st.lists(st.one_of(texts, texts, files, media, point), min_size=1, max_size=5)
assistants = st.lists(st.one_of(said, said, point), min_size=1, max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> Params:
    messages: list[Params] = []
    for _ in range(draw(st.integers(0, 2))):
        messages += [
            {"role": "user", "content": draw(users)},
            {"role": "assistant", "content": draw(assistants)},
        ]
    params: Params = {"messages": [*messages, {"role": "user", "content": draw(users)}]}
    if draw(st.booleans()):
        params["system"] = draw(st.lists(st.one_of(texts, point), max_size=3))
    if draw(st.booleans()):
        more = draw(st.lists(st.one_of(tools, point), max_size=3))
        params["toolConfig"] = {"tools": [draw(tools), *more]}
    return params


odd_rules = st.builds(
    CacheRules,
    min_tokens=st.sampled_from([1, 1_024, 4_096]),
    sections=st.frozensets(st.sampled_from(["tools", "system", "messages"]), min_size=1),
    ttls=st.sampled_from([("5m",), ("5m", "1h")]),
    max_points=st.integers(1, 4),
    after_text_only=st.booleans(),
)
rule_sets = st.one_of(st.just(CLAUDE), st.just(NOVA), odd_rules)
policies = st.builds(
    CachePolicy, ttl=st.sampled_from(["5m", "1h"]), history=st.booleans(), tools=st.booleans()
)


def engine(policy: CachePolicy | None = None) -> Engine:
    memory = DocumentMemory()
    memory.remember(DOCUMENTS)
    cache = policy or CachePolicy()
    return Engine(cache=cache, prices=PricePolicy(), state=CacheState(), documents=memory)


def target(rules: CacheRules | None) -> Target:
    ref = parse("anthropic.claude-sonnet-5")
    return Target(ref=ref, models=(ref,), common=Common(cache=rules, tool_choice=()))


def plans(params: Params, rules: CacheRules, policy: CachePolicy) -> Iterator[Turn]:
    """Yield the first call of a process, and the same call again after its answer."""
    mind = engine(policy)
    for now in (0.0, 10.0):
        turn = mind.begin(params, target(rules), now)
        yield turn
        turn.finish(REPLY, now)


def lists_of(params: Mapping[str, Any]) -> Iterator[tuple[str, Place, list[Params]]]:
    yield "tools", ("tools",), params.get("toolConfig", {}).get("tools", [])
    yield "system", ("system",), params.get("system", [])
    for number, message in enumerate(params["messages"]):
        yield "messages", (message["role"], number), message["content"]


def merged(blocks: list[Params]) -> list[Params]:
    """Return the blocks without points, neighbouring texts joined."""
    joined: list[Params] = []
    for block in (each for each in blocks if "cachePoint" not in each):
        if "text" in block and joined and "text" in joined[-1]:
            joined[-1] = {"text": joined[-1]["text"] + block["text"]}
        else:
            joined.append(block)
    return joined


def broken_rules(params: Mapping[str, Any], rules: CacheRules, *, doubt: int = 200) -> Iterator[str]:
    """Yield every rule of the service that the points of a request break; `doubt` is in tokens."""
    ttls: list[str] = []
    size = 0
    for section, _, blocks in lists_of(params):
        before: Params | None = None
        for block in blocks:
            if "cachePoint" in block:
                ttls.append(block["cachePoint"].get("ttl", "5m"))
                yield from broken_after(before, section, rules)
                if size + doubt < rules.min_tokens:
                    yield f"clearly below the minimum: {size}"
            else:
                size += 9_000 if {"image", "document", "video"} & set(block) else len(str(block)) // 2
            before = block
    if len(ttls) > rules.max_points:
        yield f"{len(ttls)} points"
    if ttls != sorted(ttls):
        yield f"1h after 5m: {ttls}"
    if set(ttls) - set(rules.ttls):
        yield f"unknown lifetime: {ttls}"


def broken_after(before: Params | None, section: str, rules: CacheRules) -> Iterator[str]:
    if section not in rules.sections:
        yield f"point in {section}"
    if before is None:
        yield "first in its list"
        return
    if {"reasoningContent", "cachePoint", "video"} & set(before):
        yield f"after {set(before)}"
    file = before.get("document")
    if file and file["format"] != "pdf" and "citations" not in file:
        yield "after a non-PDF document"
    if rules.after_text_only and "text" not in before:
        yield f"after {set(before)} where only text is allowed"
    if not before.get("text", "x").strip():
        yield "after white space"


@thorough
@given(requests(), rule_sets, policies)
def test_no_plan_breaks_a_rule_of_the_service(params: Params, rules: CacheRules, policy: CachePolicy) -> None:
    """Whatever is asked, and whatever was placed by hand, the points that go out are all legal."""
    for turn in plans(params, rules, policy):
        assert list(broken_rules(turn.params, rules)) == []


@thorough
@given(requests(), rule_sets, policies)
def test_nothing_but_points_is_added(params: Params, rules: CacheRules, policy: CachePolicy) -> None:
    """Without its points and with its texts joined, what goes out is what was written."""
    before = deepcopy(params)
    for turn in plans(params, rules, policy):
        expected = [(place, merged(blocks)) for _, place, blocks in lists_of(before)]
        assert [(place, merged(blocks)) for _, place, blocks in lists_of(turn.params)] == expected
        assert params == before


@thorough
@given(requests(), rule_sets, policies)
def test_the_receipt_names_exactly_the_points_that_go_out(
    params: Params, rules: CacheRules, policy: CachePolicy
) -> None:
    """Every path of a plan leads to a cache point on the wire, and every cache point has a path."""
    for turn in plans(params, rules, policy):
        paths: list[str] = []
        for section, place, blocks in lists_of(turn.params):
            start = {"tools": "toolConfig.tools", "system": "system"}.get(
                section, f"messages.{place[-1]}.content"
            )
            paths += [f"{start}.{index}" for index, block in enumerate(blocks) if "cachePoint" in block]
        assert list(turn.points) == paths


@thorough
@given(requests(), rule_sets)
def test_a_request_that_needs_no_change_is_sent_itself(params: Params, rules: CacheRules) -> None:
    """Where nothing is placed and nothing was placed by hand, the caller's own object goes out."""
    assume(not [block for _, _, blocks in lists_of(params) for block in blocks if "cachePoint" in block])
    turn = engine().begin(params, target(rules), 0.0)
    assert (turn.params is params) is not bool(turn.points)


@thorough
@given(requests(), st.sampled_from([CLAUDE, NOVA]))
def test_legal_points_of_the_caller_stay(params: Params, rules: CacheRules) -> None:
    """Points that are legal as they were written all go out, at the places where they were written."""
    assume(not list(broken_rules(params, rules, doubt=-200)))
    turn = engine().begin(params, target(rules), 0.0)
    for (_, place, before), (_, _, after) in zip(lists_of(params), lists_of(turn.params), strict=True):
        assert places_of(before) <= places_of(after), place


@thorough
@given(requests(), st.sampled_from([CLAUDE, NOVA]))
def test_planning_a_planned_request_keeps_its_points(params: Params, rules: CacheRules) -> None:
    """A request that comes back from a plan, as from two clients in a row, keeps its points."""
    once = engine().begin(params, target(rules), 0.0).params
    twice = engine().begin(once, target(rules), 0.0).params
    for (_, place, first), (_, _, second) in zip(lists_of(once), lists_of(twice), strict=True):
        assert places_of(first) <= places_of(second), place


def places_of(blocks: list[Params]) -> set[str]:
    """Return what stands before each point, however it is cut."""
    return {str(merged(blocks[:index])) for index, block in enumerate(blocks) if "cachePoint" in block}
