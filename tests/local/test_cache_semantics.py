"""What the prompt cache of the local Bedrock reads, writes and forgets."""

from __future__ import annotations

from typing import Any

import pytest
from local_support import (
    ANSWER,
    CLAUDE,
    CLAUDE_4096,
    NOVA,
    NOVA_PRO,
    POINT,
    POINT_1H,
    WEATHER,
    assistant,
    counters,
    question,
    text,
    user,
)

from bedrock_local import FixedAnswer, LocalBedrock, ManualClock
from bedrock_routing.catalog import CacheRules, ModelFacts


def test_second_call_reads_what_the_first_wrote(runtime: Any) -> None:
    """A repeated prefix is written once and read after that, and the counters add up."""
    asked = {"system": [text(1500), POINT], "messages": [question()]}
    first, second = (runtime.converse(modelId=CLAUDE, **asked) for _ in range(2))
    read, written = counters(first)
    assert read == 0
    assert written > 1500
    assert counters(second) == (written, 0)
    for reply in (first, second):
        usage = reply["usage"]
        assert usage["totalTokens"] == usage["inputTokens"] + sum(counters(reply)) + usage["outputTokens"]
    assert first["usage"]["cacheDetails"] == [{"ttl": "5m", "inputTokens": written}]
    assert second["usage"]["cacheDetails"] == []


@pytest.mark.parametrize(("model", "minimum"), [(CLAUDE, 1024), (CLAUDE_4096, 4096), (NOVA, 1024)])
def test_prefix_below_the_models_minimum_is_silently_not_cached(
    runtime: Any, model: str, minimum: int
) -> None:
    """A point on a prefix under the minimum changes nothing, one above it writes."""
    factor = 1.0 if model == NOVA else 1.17
    for tokens, caches in ((int(minimum * 0.9 / factor), False), (int(minimum * 1.1 / factor), True)):
        reply = runtime.converse(
            modelId=model, system=[text(tokens, f"{tokens}"), POINT], messages=[question()]
        )
        assert (counters(reply)[1] > 0) is caches


def test_minimum_counts_the_whole_prefix_and_not_the_section(runtime: Any) -> None:
    """Two sections that are each too short are cached together."""
    messages = [user(text(600, "second"), POINT, {"text": "What?"})]
    alone = runtime.converse(modelId=CLAUDE, messages=messages)
    together = runtime.converse(modelId=CLAUDE, system=[text(600, "first")], messages=messages)
    assert counters(alone) == (0, 0)
    assert counters(together)[1] > 1024


@pytest.mark.parametrize(("point", "lifetime"), [(POINT, 300), (POINT_1H, 3600)])
def test_entry_lives_for_its_lifetime_and_a_read_renews_it(
    runtime: Any, clock: ManualClock, point: dict[str, Any], lifetime: int
) -> None:
    """An entry that is read before its end lives on, one that is not is gone."""
    asked = {"system": [text(1500), point], "messages": [question()]}
    runtime.converse(modelId=CLAUDE, **asked)
    for _ in range(3):
        clock.advance(lifetime - 1)
        assert counters(runtime.converse(modelId=CLAUDE, **asked))[0] > 0
    clock.advance(lifetime)
    assert counters(runtime.converse(modelId=CLAUDE, **asked))[0] == 0


def test_lifetimes_have_separate_entries(runtime: Any) -> None:
    """A prefix written for five minutes is not found by a point for an hour."""
    runtime.converse(modelId=CLAUDE, system=[text(1500), POINT], messages=[question()])
    reply = runtime.converse(modelId=CLAUDE, system=[text(1500), POINT_1H], messages=[question()])
    assert counters(reply)[0] == 0


def test_writes_are_split_by_lifetime_longest_first(runtime: Any) -> None:
    """A point for an hour and a later one for five minutes share the write between them."""
    reply = runtime.converse(
        modelId=CLAUDE,
        system=[text(1500), POINT_1H],
        messages=[user(text(800, "history"), POINT, {"text": "What?"})],
    )
    details = reply["usage"]["cacheDetails"]
    assert [each["ttl"] for each in details] == ["1h", "5m"]
    assert sum(each["inputTokens"] for each in details) == counters(reply)[1]
    assert details[0]["inputTokens"] > 1500 > details[1]["inputTokens"] > 800


@pytest.mark.parametrize(("added", "hits"), [(21, True), (22, False)])
def test_claude_looks_back_over_21_added_blocks(runtime: Any, added: int, hits: bool) -> None:
    """A point finds an entry 21 blocks before it and none 22 blocks before it."""
    start = text(1500)
    runtime.converse(modelId=CLAUDE, messages=[user(start, POINT)])
    more = [{"text": f"added block {number}"} for number in range(added)]
    reply = runtime.converse(modelId=CLAUDE, messages=[user(start, *more, POINT)])
    assert (counters(reply)[0] > 0) is hits


@pytest.mark.parametrize(("rounds", "hits"), [(10, True), (11, False)])
def test_tool_calls_and_results_each_count_as_a_block_of_the_lookback(
    runtime: Any, rounds: int, hits: bool
) -> None:
    """Ten rounds of a tool call and its result can be looked back over, eleven cannot."""
    config = {"tools": [WEATHER]}
    runtime.converse(modelId=CLAUDE, messages=[user(text(1500), POINT)], toolConfig=config)
    turns: list[dict[str, Any]] = [user(text(1500))]
    for number in range(rounds):
        call = {"toolUseId": f"t{number}", "name": "weather", "input": {"city": "Lima"}}
        result = {"toolUseId": f"t{number}", "content": [{"text": "sunny"}]}
        turns += [assistant({"toolUse": call}), user({"toolResult": result})]
    turns[-1]["content"].append(POINT)
    reply = runtime.converse(modelId=CLAUDE, messages=turns, toolConfig=config)
    assert (counters(reply)[0] > 0) is hits


def test_nova_reads_only_what_a_point_of_the_same_request_marks(runtime: Any) -> None:
    """Without lookback a longer prompt reads an earlier prefix only through a point right there."""
    start, more = text(1500), {"text": "and more of it"}
    runtime.converse(modelId=NOVA, messages=[user(start, POINT, {"text": "What?"})])
    without = runtime.converse(modelId=NOVA, messages=[user(start, more, POINT, {"text": "What?"})])
    both = runtime.converse(modelId=NOVA, messages=[user(start, POINT, {"text": "x"}, POINT, {"text": "y"})])
    assert counters(without)[0] == 0
    assert counters(both)[0] > 1400


def test_later_point_reads_the_earlier_prefix_and_writes_the_rest(runtime: Any) -> None:
    """A conversation that grows pays only for what was added."""
    runtime.converse(modelId=CLAUDE, messages=[user(text(1500), POINT)])
    turns = [user(text(1500)), assistant({"text": "Yes."}), user(text(200, "next"), POINT)]
    read, written = counters(runtime.converse(modelId=CLAUDE, messages=turns))
    assert read > 1500
    assert 200 < written < 300


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"system": [{"text": "cheese: " + "word " * 700}, text(800)]}, id="cut elsewhere"),
        pytest.param({"system": [text(1500, "bread")]}, id="other text"),
        pytest.param({"toolConfig": {"tools": [WEATHER]}}, id="tools before it"),
    ],
)
def test_anything_else_before_the_point_is_another_prefix(runtime: Any, changed: dict[str, Any]) -> None:
    """Another text, another tool, and the same text cut into blocks differently all miss."""
    asked: dict[str, Any] = {"system": [text(1500)], "messages": [question()]}
    for each in ({}, changed):
        sent = {**asked, **each}
        reply = runtime.converse(modelId=CLAUDE, **{**sent, "system": [*sent["system"], POINT]})
        assert counters(reply)[0] == 0


def test_role_is_part_of_the_prefix(runtime: Any) -> None:
    """The same text said by the other side is not the same prefix."""
    start = question("Hello")
    runtime.converse(modelId=CLAUDE, messages=[start, assistant(text(1500), POINT), question()])
    joined = user({"text": "Hello"}, text(1500), POINT)
    assert counters(runtime.converse(modelId=CLAUDE, messages=[joined]))[0] == 0


def test_models_share_nothing(runtime: Any) -> None:
    """What one model wrote another one does not read."""
    asked = {"system": [text(1500), POINT], "messages": [question()]}
    runtime.converse(modelId=NOVA, **asked)
    assert counters(runtime.converse(modelId=NOVA_PRO, **asked))[0] == 0


def test_all_names_of_a_model_share_its_cache(bedrock: LocalBedrock, runtime: Any) -> None:
    """A bare id, a profile, an ARN and an application profile reach the same entries."""
    asked = {"system": [text(1500), POINT], "messages": [question()]}
    runtime.converse(modelId=NOVA, **asked)
    names = [
        f"us.{NOVA}",
        f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}",
        f"arn:aws:bedrock:us-east-1:123412341234:inference-profile/us.{NOVA}",
        bedrock.create_application_profile(NOVA),
    ]
    assert all(counters(runtime.converse(modelId=name, **asked))[0] > 0 for name in names)


def test_forced_tool_choice_keeps_tools_and_system_on_claude_but_not_messages(runtime: Any) -> None:
    """From auto to any only the messages miss, from any to a named tool nothing does."""
    asked: dict[str, Any] = {
        "system": [text(1500), POINT],
        "messages": [user(text(600, "history"), POINT, {"text": "What?"})],
    }

    def read(choice: dict[str, Any]) -> int:
        config = {"tools": [WEATHER], "toolChoice": choice}
        return counters(runtime.converse(modelId=CLAUDE, toolConfig=config, **asked))[0]

    assert read({"auto": {}}) == 0
    everything = read({"auto": {}})
    system_only = read({"any": {}})
    assert 1500 < system_only < everything
    assert read({"tool": {"name": "weather"}}) > everything - 200


def test_another_tool_choice_is_another_prompt_on_nova(runtime: Any) -> None:
    """Nova writes the whole prefix again when toolChoice changes, as recorded."""
    asked = {"system": [text(1500), POINT], "messages": [question()]}
    for choice in ({"auto": {}}, {"tool": {"name": "weather"}}):
        config = {"tools": [WEATHER], "toolChoice": choice}
        assert counters(runtime.converse(modelId=NOVA, toolConfig=config, **asked))[0] == 0


@pytest.mark.parametrize(
    ("fields", "hits"),
    [
        ({"thinking": {"type": "disabled"}}, True),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, False),
        ({"output_config": {"effort": "high"}}, True),
        ({"output_config": {"effort": "low"}}, False),
    ],
)
def test_thinking_and_low_effort_make_another_prompt_on_claude(
    runtime: Any, fields: dict[str, Any], hits: bool
) -> None:
    """Switching thinking on or lowering the effort misses; naming the default does not."""
    asked = {"system": [text(1500), POINT], "messages": [question()]}
    runtime.converse(modelId=CLAUDE, **asked)
    reply = runtime.converse(modelId=CLAUDE, additionalModelRequestFields=fields, **asked)
    assert (counters(reply)[0] > 0) is hits


def test_temperature_and_length_do_not_change_the_prefix(runtime: Any) -> None:
    """Settings that do not stand in the prompt leave the cache warm."""
    asked = {"system": [text(1500), POINT], "messages": [question()]}
    runtime.converse(modelId=CLAUDE, **asked)
    reply = runtime.converse(modelId=CLAUDE, inferenceConfig={"temperature": 0.3, "maxTokens": 50}, **asked)
    assert counters(reply)[0] > 0


def test_failed_call_writes_nothing(bedrock: LocalBedrock, runtime: Any) -> None:
    """A call that was refused leaves the cache cold."""
    asked: dict[str, Any] = {"system": [text(1500), POINT], "messages": [question()]}
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.converse(modelId=NOVA, toolConfig={"tools": [WEATHER, POINT]}, **asked)
    assert counters(runtime.converse(modelId=NOVA, **asked))[0] == 0
    bedrock.clear_caches()
    assert counters(runtime.converse(modelId=NOVA, **asked))[0] == 0


def test_settings_replace_lookback_and_enforce_the_documented_maximum() -> None:
    """Lookback can be set, and Nova's documented maximum of 20K tokens can be enforced."""
    with LocalBedrock(answers=FixedAnswer(ANSWER), lookback=2, capped=True) as bedrock:
        client = bedrock.client()
        client.converse(modelId=NOVA, messages=[user(text(1500), POINT, {"text": "What?"})])
        reply = client.converse(modelId=NOVA, messages=[user(text(1500), {"text": "more"}, POINT)])
        assert counters(reply)[0] > 0
        long = client.converse(modelId=NOVA, messages=[user(text(21_000), POINT)])
        assert counters(long) == (0, 0)


def test_model_that_only_the_server_knows_caches_by_its_own_rules() -> None:
    """A test can add a model that the catalog does not list, with or without caching."""
    rules = CacheRules(min_tokens=100, sections=frozenset({"system", "messages"}), lookback=20)
    facts = ModelFacts(id="acme.thinker", cache=rules)
    with LocalBedrock(answers=FixedAnswer(ANSWER), extra_models=[facts]) as bedrock:
        client = bedrock.client()
        asked = {"modelId": "acme.thinker-v1:0", "system": [text(200), POINT], "messages": [question()]}
        assert counters(client.converse(**asked))[1] > 100
        assert counters(client.converse(**asked))[0] > 100
