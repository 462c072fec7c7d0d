from __future__ import annotations

from typing import Any

import pytest

from bedrock_routing import CachePolicy, CacheState, Catalog, Common, PricePolicy, Target, parse
from bedrock_routing.documents import DocumentMemory
from bedrock_routing.engine import Engine
from bedrock_routing.turn import Turn

Params = dict[str, Any]

RENT = " ".join(f"Clause {number}: the tenant pays rent." for number in range(150))
HEAT = " ".join(f"Clause {number}: the landlord heats the house." for number in range(150))
SONNET, NOVA = "anthropic.claude-sonnet-5", "amazon.nova-lite-v1:0"
TOOL = {"toolSpec": {"name": "t", "description": "A tool. " * 700, "inputSchema": {"json": {}}}}
POINT = {"cachePoint": {"type": "default"}}


def point(ttl: str) -> Params:
    return {"cachePoint": {"type": "default", "ttl": ttl}}


def file(kind: str, size: int) -> Params:
    return {"document": {"name": "d", "format": kind, "source": {"bytes": b"x" * size}}}


def begin(
    params: Params, *models: str, policy: CachePolicy | None = None, state: CacheState | None = None
) -> Turn:
    memory = DocumentMemory()
    memory.remember([RENT, HEAT])
    refs = tuple(parse(each) for each in models or (SONNET,))
    engine = Engine(
        cache=policy or CachePolicy(), prices=PricePolicy(), state=state or CacheState(), documents=memory
    )
    common: Common = Catalog.default().common(refs)
    return engine.begin(params, Target(ref=refs[0], models=refs, common=common), 0.0)


def user(*blocks: Params | str) -> Params:
    return {
        "role": "user",
        "content": [{"text": block} if isinstance(block, str) else block for block in blocks],
    }


def test_claude_gets_points_after_system_and_documents() -> None:
    """The system prompt, which is likelier to come again than the documents, ends with a point of its own."""
    params = {
        "toolConfig": {"tools": [TOOL]},
        "system": [{"text": "Be kind. " * 700}],
        "messages": [user(f"{RENT}\n\n{HEAT}\n\nWho pays?")],
    }
    assert begin(params).points[:2] == ("system.1", "messages.0.content.1")


def test_tools_end_with_a_point_where_nothing_else_is_worth_one() -> None:
    """Tools alone, with a short question, are cached behind the last of them."""
    params = {"toolConfig": {"tools": [TOOL]}, "messages": [user("Who?")]}
    policy = CachePolicy(history=False)
    assert begin(params, policy=policy).params["toolConfig"]["tools"] == [TOOL, POINT]


def test_nova_gets_no_point_in_tools() -> None:
    """Nova refuses points in tools; one in system covers the tools too."""
    params = {
        "toolConfig": {"tools": [TOOL]},
        "system": [{"text": "Be kind. " * 700}],
        "messages": [user("Who?")],
    }
    turn = begin(params, NOVA)
    assert turn.points[0] == "system.1"
    assert ("toolConfig.tools.0", "these models take no cache point in tools") in [
        (each.path, each.reason) for each in turn.plan.skipped
    ]


def test_a_section_that_is_switched_off_gets_none() -> None:
    """`CachePolicy` keeps automatic points out of a section, and leaves those of the caller there."""
    params = {"system": [{"text": "Be kind. " * 700}], "messages": [user("Who?")]}
    policy = CachePolicy(system=False, history=False)
    assert begin(params, policy=policy).points == ()
    by_hand = {**params, "system": [*params["system"], POINT]}
    assert begin(by_hand, policy=policy).points == ("system.1",)


def test_an_hour_is_asked_only_where_every_model_offers_it() -> None:
    """`ttl='1h'` goes out to Claude Sonnet 5 and falls back to the default for Nova."""
    params = {"system": [{"text": "Be kind. " * 900}], "messages": [user("Who?")]}
    hour = CachePolicy(ttl="1h")
    assert begin(params, policy=hour).params["system"][1] == point("1h")
    assert begin(params, NOVA, policy=hour).params["system"][1] == POINT


def test_a_short_prompt_gets_no_point_and_a_reason() -> None:
    """Far below the minimum a point would do nothing, and the receipt says so."""
    turn = begin({"system": [{"text": "Be kind."}], "messages": [user("Who?")]})
    assert turn.points == ()
    assert [
        each
        for each in turn.plan.skipped
        if "below the minimum of 1024" in each.reason and each.path == "system.0"
    ]


def test_a_document_block_ends_with_a_point() -> None:
    """A PDF before the question needs no memory to be recognised, a plain text file takes no point."""
    pdf, txt = (
        {"document": {"name": "d", "format": how, "source": {"bytes": b"x" * 400_000}}}
        for how in ("pdf", "txt")
    )
    assert begin({"messages": [user(pdf, "Who pays?")]}).points == ("messages.0.content.1",)
    assert begin({"messages": [user(txt, "Who pays?")]}).points == ()


def test_a_small_pdf_is_a_doubtful_size_not_a_short_one() -> None:
    """30 KB of PDF can hold far more than 4,096 tokens, so a point that the caller placed after it stays."""
    turn = begin(
        {"messages": [user(file("pdf", 30_000), POINT, "Who pays?")]},
        "anthropic.claude-haiku-4-5-20251001-v1:0",
    )
    assert turn.points == ("messages.0.content.1",)


@pytest.mark.parametrize("documents", [[RENT, HEAT], [f"{RENT} Who knows?", HEAT]], ids=["plain", "with a ?"])
def test_documents_in_blocks_of_their_own_end_with_a_point(documents: list[str]) -> None:
    """Documents before the question get a point after the last one, also when a document asks something."""
    params = {"messages": [user(*documents, "Who pays?")]}
    content = begin(params).params["messages"][0]["content"]
    assert content[-3:] == [{"text": HEAT}, POINT, {"text": "Who pays?"}]


def test_documents_behind_the_question_get_no_point() -> None:
    """What follows a question is asked once, so writing it to the cache would only cost."""
    assert begin({"messages": [user(f"Who pays the rent? Use this:\n\n{RENT}\n\n{HEAT}")]}).points == ()


def test_two_documents_of_which_one_was_shared_get_two_points() -> None:
    """When only the first document came before, a point after it reads what is warm."""
    state = CacheState()
    reply = {
        "usage": {"inputTokens": 9, "outputTokens": 1, "totalTokens": 3_010, "cacheWriteInputTokens": 3_000}
    }
    begin({"messages": [user(f"{RENT}\n\nWho pays?")]}, state=state).finish(reply, 0.0)
    turn = begin({"messages": [user(f"{RENT}\n\n{HEAT}\n\nWho heats?")]}, state=state)
    assert turn.params["messages"][0]["content"][:2] == [{"text": RENT}, POINT]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([POINT, {"text": RENT * 2}], "nothing before it in its list"),
        ([{"text": RENT * 2}, POINT, POINT, {"text": "Who?"}], "not right after another cache point"),
        (
            [
                {"document": {"name": "d", "format": "txt", "source": {"bytes": b"x" * 90_000}}},
                POINT,
                {"text": "Who?"},
            ],
            "not right after a document that is neither a PDF nor cited",
        ),
        ([{"text": "short"}, POINT, {"text": "Who?"}], "about 2 tokens, below the minimum of 1024"),
    ],
)
def test_an_illegal_point_of_the_caller_is_dropped_with_a_reason(content: list[Params], reason: str) -> None:
    """What would fail the call, or do nothing, does not go out, and the receipt says why."""
    turn = begin({"messages": [user(*content)]})
    assert reason in [each.reason for each in turn.plan.skipped]


def test_five_points_of_the_caller_are_cut_to_four() -> None:
    """Over the limit the oldest point in messages gives way, with a reason."""
    texts = [block for number in range(5) for block in ({"text": f"{number} {RENT}"}, POINT)]
    turn = begin({"messages": [user(*texts, "Who?")]})
    assert turn.points == (
        "messages.0.content.2",
        "messages.0.content.4",
        "messages.0.content.6",
        "messages.0.content.8",
    )
    assert ("messages.0.content.1", "at most 4 cache points") in [
        (s.path, s.reason) for s in turn.plan.skipped
    ]


def test_a_point_that_cannot_stand_does_not_crowd_out_one_that_can() -> None:
    """Four legal points of the caller stay although a fifth one, which is illegal, was written too."""
    texts = [block for number in range(4) for block in ({"text": f"{number} {RENT}"}, POINT)]
    answer = {
        "role": "assistant",
        "content": [{"reasoningContent": {"reasoningText": {"text": "so"}}}, POINT, {"text": "Yes."}],
    }
    turn = begin({"messages": [user(*texts, "Who?"), answer, user("And?")]})
    assert turn.points[:4] == tuple(f"messages.0.content.{index}" for index in (1, 3, 5, 7))


def test_lifetimes_of_the_caller_are_put_in_order() -> None:
    """An hour that was written after five minutes would be refused, so it becomes five minutes."""
    params = {
        "system": [{"text": "Be kind. " * 900}, point("5m")],
        "messages": [user(RENT, point("1h"), "Who?")],
    }
    turn = begin(params)
    assert (turn.params["system"][1], turn.params["messages"][0]["content"][1]) == (POINT, POINT)


def test_a_point_of_the_caller_after_the_question_does_not_replace_the_one_after_the_documents() -> None:
    """Each new question makes the caller's prefix a new one; only a point before it is ever read."""
    params = {"system": [{"text": f"Use:\n{RENT}"}], "messages": [user("Who pays the rent?", POINT)]}
    assert begin(params).points == ("system.1", "messages.0.content.1")


def test_tools_that_hold_nothing_but_a_point_do_not_go_out_with_it() -> None:
    """A point in an otherwise empty list of tools would fail the call, so it is dropped as elsewhere."""
    params = {"toolConfig": {"tools": [POINT]}, "messages": [user("Who?")]}
    assert POINT not in begin(params).params.get("toolConfig", {}).get("tools", [])
