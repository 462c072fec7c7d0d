"""An agent's tools: those that come and go keep their places, and what a retriever tool finds is cached."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.tools import StructuredTool, create_retriever_tool
from langchain_support import DOCUMENTS, SUBJECTS, ListRetriever, converses, kinds, make_document

from bedrock_local import LocalBedrock
from bedrock_routing import ConfigurationError
from bedrock_routing.documents import process_memory
from langchain_bedrock_routing import CachePolicy
from langchain_bedrock_routing.stable_tools import StableTools

pytest.importorskip("langchain.agents")

from agent_support import (
    CLAUDE,
    FIRST,
    PAIR,
    SECOND,
    SYSTEM,
    Serve,
    admire,
    agent_of,
    fetch,
    look,
    model_of,
    talk,
    usages,
)
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest
from langchain_aws.middleware import BedrockPromptCachingMiddleware

from langchain_bedrock_routing import BedrockRoutingMiddleware


class Selecting(AgentMiddleware):
    """Offer other tools, in another order, at every step."""

    def __init__(self, *choices: Sequence[Any]) -> None:
        super().__init__()
        self._choices = iter(choices)

    def wrap_model_call(self, request: ModelRequest, handler: Any) -> Any:
        """Offer the next choice."""
        return handler(request.override(tools=[*next(self._choices)]))


def offered(bedrock: LocalBedrock) -> list[list[str]]:
    return [
        [each["toolSpec"]["name"] for each in body["toolConfig"]["tools"] if "toolSpec" in each]
        for body in converses(bedrock)
    ]


STEPS = ([look, fetch], [fetch, look, admire], [admire, look], [admire, fetch, look])


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("seen", [["look", "fetch"], ["look", "fetch", "admire"], ["look", "admire"]]),
        ("name", [["fetch", "look"], ["admire", "fetch", "look"], ["admire", "look"]]),
        ("given", [["look", "fetch"], ["fetch", "look", "admire"], ["admire", "look"]]),
    ],
)
def test_tools_keep_their_places(serve: Serve, order: Any, expected: list[list[str]]) -> None:
    """Tools that come and go are sent in the order that was chosen; what comes back has the same bytes."""
    bedrock = serve(1, 1, 1)
    ours = BedrockRoutingMiddleware(tool_order=order)
    agent = agent_of(model_of(bedrock, CLAUDE), [look, fetch, admire], Selecting(*STEPS), middleware=ours)
    talk(agent, FIRST)
    assert offered(bedrock)[:3] == expected
    specs = [each["toolConfig"]["tools"] for each in converses(bedrock)]
    if order != "given":
        bare = [[tool for tool in tools if "toolSpec" in tool] for tools in specs]
        assert json.dumps(bare[1]) == json.dumps(bare[3])


def test_reordered_tools_cost_nothing(serve: Serve) -> None:
    """The same tools in another order read all that was cached."""
    bedrock = serve(1, 1)
    steps = ([look, fetch, admire], [admire, look, fetch], [fetch, admire, look])
    _, receipts = talk(agent_of(model_of(bedrock, CLAUDE), steps[0], Selecting(*steps)), FIRST)
    seen = usages(receipts)
    assert [later[0] for _, later in pairwise(seen)] == [held for _, held in seen[:-1]]


def schema(*names: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": name} for name in names},
        "required": ["far"],
    }


@pytest.mark.parametrize("as_dict", [True, False])
def test_equal_schemas_have_equal_bytes(serve: Serve, as_dict: bool) -> None:
    """A schema whose keys are put together in another order is sent as it was first sent."""

    def make(*names: str) -> Any:
        if as_dict:
            return {"name": "walk", "description": "Walk.", "input_schema": schema(*names)}
        return StructuredTool(
            name="walk", description="Walk.", args_schema=schema(*names), func=lambda **_: "Walked."
        )

    bedrock = serve(1, 1)
    given = make("fast", "far")
    before = json.dumps(schema("fast", "far"))
    steps = ([look, make("far", "fast")], [given, look], [look, make("far", "fast", "high")])
    talk(agent_of(model_of(bedrock, CLAUDE), [look, given], Selecting(*steps)), FIRST)
    first, second, third = (
        json.dumps([each for each in body["toolConfig"]["tools"] if "toolSpec" in each])
        for body in converses(bedrock)
    )
    assert first == second != third
    assert json.dumps(given["input_schema"] if as_dict else given.args_schema) == before


def test_a_point_among_the_tools_leaves_them_in_place() -> None:
    """Tools between which the caller placed a point by hand are sent as they are."""
    stable = StableTools("name")
    tools = [look, {"cachePoint": {"type": "default"}}, fetch]
    assert stable.arranged(tools) == tools
    assert stable.arranged([look, fetch]) == [fetch, look]


def test_an_unknown_order_is_an_error() -> None:
    """An order that does not exist is refused, and the error names those that do."""
    with pytest.raises(ConfigurationError, match="'seen', 'name' or 'given'"):
        BedrockRoutingMiddleware(tool_order="random")  # type: ignore[arg-type]


# Documents of a retriever tool


@pytest.mark.parametrize("model", [CLAUDE, "pair"])
def test_documents_of_a_retriever_tool_are_cached_at_once(serve: Serve, model: str) -> None:
    """A retriever tool's documents are known, and the point after its result caches them."""
    bedrock = serve(1, 1, tools=("search",))
    bedrock.create_router("pair", PAIR)
    documents = [make_document(subject, lines=90) for subject in SUBJECTS[:3]]
    retriever = ListRetriever(answers=[documents, [make_document("Kites")]])
    search = create_retriever_tool(retriever, "search", "Search the pages.")
    _, receipts = talk(agent_of(model_of(bedrock, model), [search]), FIRST)
    bodies = converses(bedrock)
    found = bodies[1]["messages"][-1]["content"][0]["toolResult"]["content"][0]["text"]
    assert found == "\n\n".join(each.page_content for each in documents)
    assert len(process_memory().find(found)) == 3
    assert kinds(bodies[1])[-1] == ["toolResult", "cachePoint"]
    assert receipts[2].usage
    assert receipts[2].usage.read > len(found) // 5


def test_documents_of_a_retriever_tool_behind_nova(serve: Serve) -> None:
    """Nova takes no point after a result: the documents are cached with the question that follows them."""
    bedrock = serve(1, tools=("search",))
    retriever = ListRetriever(answers=[DOCUMENTS[:3]])
    search = create_retriever_tool(
        retriever, "search", "Search the pages.", response_format="content_and_artifact"
    )
    _, receipts = talk(agent_of(model_of(bedrock, "amazon.nova:1"), [search]), FIRST, SECOND)
    assert ["cachePoint" in each[-1] for each in map(kinds, converses(bedrock))] == [True, False, True, False]
    assert receipts[3].usage
    assert receipts[3].usage.read > len(DOCUMENTS[0].page_content) // 2


# Beside langchain-aws's own middleware, and points by hand


def legal(body: Mapping[str, Any]) -> list[Any]:
    """Check the points of a request, and return their lifetimes in order."""
    tools = body.get("toolConfig", {}).get("tools", [])
    lists = [tools, body["system"], *(message["content"] for message in body["messages"])]
    for blocks in lists:
        assert not blocks or "cachePoint" not in blocks[0]
        assert not any("cachePoint" in one and "cachePoint" in other for one, other in pairwise(blocks))
    points = [block["cachePoint"] for blocks in lists for block in blocks if "cachePoint" in block]
    assert len(points) <= 4
    ttls = [point.get("ttl", "5m") for point in points]
    assert ttls == sorted(ttls)  # "1h" before "5m"
    return ttls


@pytest.mark.parametrize("model", [CLAUDE, "amazon.nova:1", "pair"])
@pytest.mark.parametrize("ours_first", [True, False])
def test_beside_the_middleware_of_langchain_aws(serve: Serve, model: str, ours_first: bool) -> None:
    """Its wish adds no second set of points: the wire is as without it, and the receipt says so."""
    bodies: list[Any] = []
    messages: list[BaseMessage] = []
    for beside in (False, True):
        bedrock = serve(1, 3)
        bedrock.create_router("pair", PAIR)
        theirs = BedrockPromptCachingMiddleware(ttl="1h", unsupported_model_behavior="ignore")
        both = [BedrockRoutingMiddleware(), *([theirs] if beside else [])]
        settings = {"system_prompt": SYSTEM, "middleware": both if ours_first else both[::-1]}
        agent = create_agent(model_of(bedrock, model), [look], **settings)
        messages, _ = talk(agent, FIRST, SECOND)
        bodies.append([(kinds(each), legal(each)) for each in converses(bedrock)])
    assert bodies[0] == bodies[1]
    receipt = next(each for each in messages if isinstance(each, AIMessage)).response_metadata
    said = [each["reason"] for each in receipt["bedrock_routing"]["cache"]["skipped"]]
    known = model != "pair"  # it takes a router's name for an unsupported model
    assert any("cache_control" in each for each in said) is known


@pytest.mark.parametrize("stream", [True, False])
def test_cache_control_of_a_call_is_not_followed_and_said(serve: Serve, stream: bool) -> None:
    """A cache_control given to a call of the model is left to the planner; the receipt lists it once."""
    bedrock = serve()
    llm = model_of(bedrock, CLAUDE)
    prompt, wish = [SystemMessage(SYSTEM), HumanMessage(FIRST)], {"type": "ephemeral", "ttl": "1h"}
    if stream:
        first, *rest = llm.stream(prompt, cache_control=wish)
        answer: Any = sum(rest, first)
    else:
        answer = llm.invoke(prompt, cache_control=wish)
    skipped = answer.response_metadata["bedrock_routing"]["cache"]["skipped"]
    assert [each["path"] for each in skipped if "cache_control" in each["reason"]] == ["*"]
    assert legal(converses(bedrock)[-1]) == ["5m", "5m"]
    again = llm.invoke(prompt).response_metadata["bedrock_routing"]["cache"]["skipped"]
    assert not any("cache_control" in each["reason"] for each in again)


def test_with_our_points_switched_off_theirs_go_out(serve: Serve) -> None:
    """prompt_cache=False leaves the field to langchain-aws: its points, and none of ours."""
    bedrock = serve(1)
    llm = model_of(bedrock, CLAUDE, cache=False)
    talk(agent_of(llm, [look], BedrockPromptCachingMiddleware()), FIRST)
    assert [legal(each) for each in converses(bedrock)] == [["5m"] * 3, ["5m"] * 4]


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_points_by_hand_beside_both(serve: Serve, ttl: str) -> None:
    """Points that the caller placed stay, within the four and in the order of lifetimes."""
    bedrock = serve(1, 2)
    point = {"cachePoint": {"type": "default", **({"ttl": ttl} if ttl == "1h" else {})}}
    middleware = [BedrockPromptCachingMiddleware(ttl="1h"), BedrockRoutingMiddleware()]
    prompt = SystemMessage([{"type": "text", "text": SYSTEM}, point])
    agent = create_agent(
        model_of(bedrock, CLAUDE, cache=CachePolicy(ttl="5m")),
        [look],
        system_prompt=prompt,
        middleware=middleware,
    )
    talk(agent, FIRST, SECOND)
    for body in converses(bedrock):
        assert legal(body)[0] == ttl
        assert body["system"][1] == point
    assert len(bedrock.requests) == 6
