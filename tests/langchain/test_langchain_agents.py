"""Agents: caches over many steps, and a state that knows nothing of them; also in a graph of one's own."""

import json
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_support import ToolRounds, converses, kinds

import langchain_bedrock_routing
from bedrock_local import LocalBedrock
from bedrock_local.answers.base import Prompt, Reply, ToolCall

pytest.importorskip("langchain.agents")

from agent_support import CLAUDE, FIRST, PAIR, SECOND, SYSTEM, Serve, agent_of, look, model_of, talk, usages
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition


@pytest.mark.parametrize("width", [1, 10, 30])
@pytest.mark.parametrize("model", [CLAUDE, "pair"])
def test_no_step_loses_what_the_step_before_cached(serve: Serve, model: str, width: int) -> None:
    """However many tools a step calls at once, the next one reads all that was cached before it."""
    bedrock = serve(2, width, 1, width)
    bedrock.create_router("pair", PAIR)
    _, receipts = talk(agent_of(model_of(bedrock, model)), FIRST, SECOND)
    seen = usages(receipts)
    assert len(seen) == 10
    assert [later[0] for _, later in pairwise(seen)] == [held for _, held in seen[:-1]]
    assert all(len(each.points) <= 4 for each in receipts)


def test_the_point_moves_with_the_newest_results(serve: Serve) -> None:
    """On Claude a point stands after the last result of the newest step, never inside one."""
    bedrock = serve(1, 30)
    talk(agent_of(model_of(bedrock, CLAUDE)), FIRST)
    _, one, thirty = map(kinds, converses(bedrock))
    assert one[-1] == ["toolResult", "cachePoint"]
    assert thirty[-1] == ["toolResult"] * 30 + ["cachePoint"]
    assert "cachePoint" in thirty[-3]
    results = [block["toolResult"] for block in converses(bedrock)[-1]["messages"][-1]["content"][:-1]]
    assert "cachePoint" not in str(results)


def test_nova_takes_points_after_words_only(serve: Serve) -> None:
    """Behind the Nova router what a step brought is cached as soon as words stand behind it."""
    bedrock = serve(1, 30, say="I look at the pages.")
    _, receipts = talk(agent_of(model_of(bedrock, "amazon.nova:1")), FIRST, SECOND)
    for body in converses(bedrock):
        assert [block for message in kinds(body) for block in message].count("cachePoint") <= 4
        for message in kinds(body):
            assert all(before == "text" for before, after in pairwise(message) if after == "cachePoint")
    seen = usages(receipts)
    assert [later[0] for _, later in pairwise(seen)] == [held for _, held in seen[:-1]]
    assert seen[3][1] > seen[2][1] + 4_000  # the second question stands behind the thirty results


def test_results_of_silent_nova_are_cached_with_the_next_question(serve: Serve) -> None:
    """A model that says nothing before its calls leaves no place for a point until the next question."""
    bedrock = serve(1, 30)
    _, receipts = talk(agent_of(model_of(bedrock, "amazon.nova:1")), FIRST, SECOND)
    seen = usages(receipts)
    assert seen[2][1] == seen[0][1]
    assert seen[3][1] > seen[2][1] + 4_000
    assert seen[4][0] == seen[3][1]


def test_nothing_of_caching_enters_the_state(serve: Serve) -> None:
    """What a checkpointer keeps holds messages and receipts, and no trace of points or lifetimes."""
    bedrock = serve(1, 3)
    saver = InMemorySaver()
    agent = agent_of(model_of(bedrock, CLAUDE), checkpointer=saver)
    config = {"configurable": {"thread_id": "one"}}
    for question in (FIRST, SECOND):
        agent.invoke({"messages": [HumanMessage(question)]}, config)
    assert any("cachePoint" in message for body in converses(bedrock) for message in kinds(body))
    assert len(list(saver.list(None))) > 8
    for saved in saver.list(None):
        state = saved.checkpoint["channel_values"]
        assert all(name.startswith(("messages", "branch:", "__")) for name in state), state.keys()
        for message in state.get("messages", ()):
            data = message.model_dump()
            data.pop("response_metadata"), data.pop("usage_metadata", None)
            assert "cache" not in json.dumps(data, default=str).lower()


async def test_async_steps_are_the_same(serve: Serve) -> None:
    """Asked with ainvoke, an agent sends what it sends with invoke, and locks the model too."""
    bodies: list[Any] = []
    for is_async in (False, True):
        bedrock = serve(1, 2, routing="alternate")
        bedrock.create_router("pair", PAIR)
        agent = agent_of(model_of(bedrock, "pair"))
        question = {"messages": [HumanMessage(FIRST)]}
        (await agent.ainvoke(question)) if is_async else agent.invoke(question)
        bodies.append([(kinds(each), each["toolConfig"]) for each in converses(bedrock)])
    assert bodies[0] == bodies[1]


def test_streamed_steps_are_locked(serve: Serve) -> None:
    """An agent whose tokens are streamed asks the model that called the tool, too."""
    bedrock = serve(1, routing="alternate")
    agent = agent_of(model_of(bedrock, bedrock.create_router("pair", PAIR)))
    for _ in agent.stream({"messages": [HumanMessage(FIRST)]}, stream_mode="messages"):
        pass
    calls = [each for each in bedrock.requests if each.operation == "ConverseStream"]
    assert ["prompt-router" in each.model_id for each in calls] == [True, False]


# Plain LangGraph


@pytest.mark.parametrize("model", [CLAUDE, "amazon.nova:1", "pair"])
def test_a_graph_of_ones_own(serve: Serve, model: str) -> None:
    """A StateGraph that calls the bound model keeps its cache with no middleware, and its state clean."""
    bedrock = serve(1, 30, say="I look at the pages.")
    bedrock.create_router("pair", PAIR)
    llm = model_of(bedrock, model).bind_tools([look])

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [llm.invoke([SystemMessage(SYSTEM), *state["messages"]])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode([look]))
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", tools_condition, ["tools", END])
    graph.add_edge("tools", "ask")
    messages, receipts = talk(graph.compile(), FIRST, SECOND)
    seen = usages(receipts)
    assert [later[0] for _, later in pairwise(seen)] == [held for _, held in seen[:-1]]
    assert seen[-1][0] > 4_000
    assert not any("cachePoint" in str(each.content) for each in messages)


# Without the package langchain


def test_the_rest_works_without_langchain() -> None:
    """Without langchain everything else can be imported; the middleware says which command installs it."""
    code = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("langchain", "langgraph"):
            raise ImportError(f"blocked: {name}")

sys.meta_path.insert(0, Blocker())
from langchain_bedrock_routing import *
assert ChatBedrockRouter and "langchain" not in sys.modules
try:
    from langchain_bedrock_routing import BedrockRoutingMiddleware
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.stderr == ""
    assert run.stdout.startswith("MissingExtraError BedrockRoutingMiddleware needs")
    assert "pip install 'bedrock-routing[agents]'" in run.stdout


def test_an_unknown_name_is_no_missing_package() -> None:
    """A name that the package does not have is an AttributeError."""
    with pytest.raises(AttributeError, match="Nothing"):
        langchain_bedrock_routing.Nothing  # noqa: B018


class TwoLooksThenCity(ToolRounds):
    """Look twice, then answer in the form that is asked for."""

    def reply(self, prompt: Prompt) -> Reply:
        """Call the tool, and at the end the one that stands for the answer, if there is one."""
        if sum(bool(turn.tool_results) for turn in prompt.turns) < 2:
            return super().reply(prompt)
        if any(each.name == "City" for each in prompt.tools):
            return Reply(text="", tool_calls=(ToolCall(name="City", input={"name": "Ostend"}),))
        return Reply(text=json.dumps({"name": "Ostend"}))


@pytest.mark.parametrize("ours", [False, True], ids=["bare", "with our middleware"])
def test_a_structured_answer_is_asked_for_in_one_way(ours: bool) -> None:
    """What the model can do looks the same to an agent at each step, so that no prefix changes on the way."""
    middleware = [langchain_bedrock_routing.BedrockRoutingMiddleware()] if ours else []
    schema = {"title": "City", "type": "object", "properties": {"name": {"type": "string"}}}
    with LocalBedrock(answers=TwoLooksThenCity(1, 1)) as bedrock:
        llm = model_of(bedrock, bedrock.create_application_profile(CLAUDE))
        agent = create_agent(llm, [look], system_prompt=SYSTEM, middleware=middleware, response_format=schema)
        done = agent.invoke({"messages": [HumanMessage(FIRST)]}, {"recursion_limit": 9})
        sent = converses(bedrock)
        usages = [each.usage or {} for each in bedrock.requests if each.operation.startswith("Converse")]
    assert done["structured_response"] == {"name": "Ostend"}
    assert len({"outputConfig" in each for each in sent}) == 1
    assert [each["cacheReadInputTokens"] > 0 for each in usages] == [False, True, True]
