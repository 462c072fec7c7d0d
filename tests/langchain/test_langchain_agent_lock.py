"""The model between a tool call and its result: the one that made the call, not the router's next choice."""

import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_support import LITE, PRO, converses

from bedrock_local import Fault, LocalBedrock
from bedrock_routing import AffinityPolicy, CacheState, RoutedClient

pytest.importorskip("langchain.agents")

from agent_support import CLAUDE, FIRST, HAIKU, PAIR, SECOND, SYSTEM, Serve, agent_of, look, model_of, talk
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRequest
from langgraph.checkpoint.memory import InMemorySaver

from langchain_bedrock_routing import BedrockRoutingMiddleware


def models_asked(bedrock: LocalBedrock) -> list[str]:
    """Return who was asked, call by call."""
    asked = [each for each in bedrock.requests if each.operation.startswith("Converse")]
    return ["router" if "prompt-router" in each.model_id else each.model_id.split("/")[-1] for each in asked]


def test_the_model_that_called_a_tool_gets_its_result(serve: Serve) -> None:
    """A router that would change its mind is asked for each question, and not for a tool's result."""
    bedrock = serve(1, 2, routing="alternate")
    arn = bedrock.create_router("pair", PAIR)
    messages, receipts = talk(agent_of(model_of(bedrock, arn)), FIRST, SECOND)
    assert models_asked(bedrock) == ["router", CLAUDE, CLAUDE, "router", HAIKU, HAIKU]
    assert {each.router_arn for each in receipts} == {arn}
    assert [each.router_choice is None for each in receipts] == [False, True, True, False, True, True]
    told = [each.response_metadata["bedrock_routing"] for each in messages if isinstance(each, AIMessage)]
    deciders = [each["decided_by"].partition(":")[0] for each in told]
    assert deciders == ["router", "tool lock", "tool lock"] * 2


def test_the_lock_keeps_the_cache(serve: Serve) -> None:
    """Under a router that takes turns, a loop with the lock reads the cache, and one without it less."""
    fresh: list[int] = []
    for locks in (True, False):
        bedrock = serve(1, 30, 2, routing="alternate")
        arn = bedrock.create_router("pair", PAIR)
        agent = agent_of(model_of(bedrock, arn), middleware=BedrockRoutingMiddleware(lock_tool_calls=locks))
        _, receipts = talk(agent, FIRST)
        assert set(models_asked(bedrock)) == ({"router", CLAUDE} if locks else {"router"})
        fresh.append(sum(each.usage.fresh + each.usage.write for each in receipts if each.usage))
    assert fresh[0] < 0.6 * fresh[1]


def without_points(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request without the cache points, which stand where they pay."""
    text = json.dumps(body)
    bare = re.sub(r', {"cachePoint": {"type": "default"}}', "", text)
    return json.loads(bare)


@pytest.mark.parametrize("model", ["amazon.nova:1", "pair"])
def test_direct_calls_send_what_the_router_would_get(serve: Serve, model: str) -> None:
    """Tools, system prompt and earlier turns have the same bytes, whoever is asked."""
    bedrock = serve(1, 1)
    bedrock.create_router("pair", PAIR)
    settings = {"temperature": 0.1, "max_tokens": 99, "stop": ["###"]}
    talk(agent_of(model_of(bedrock, model, **settings)), FIRST)
    first, *others = map(without_points, converses(bedrock))
    for body in others:
        assert body["toolConfig"] == first["toolConfig"]
        assert body["system"] == first["system"]
        assert body["inferenceConfig"] == first["inferenceConfig"]
        assert body["messages"][0] == first["messages"][0]
        assert set(body) == set(first)


def test_reasoning_effort_is_the_same_for_both(serve: Serve) -> None:
    """What follows from reasoning_effort goes to the model as it went to the router."""
    bedrock = serve(1)
    bedrock.create_router("thinkers", ["anthropic.claude-sonnet-4-6", "anthropic.claude-opus-4-6-v1"])
    talk(agent_of(model_of(bedrock, "thinkers", reasoning_effort="low")), FIRST)
    fields = [each["additionalModelRequestFields"] for each in converses(bedrock)]
    assert models_asked(bedrock)[1].endswith("claude-sonnet-4-6")
    assert fields[0] == fields[1]
    assert fields[0]["output_config"] == {"effort": "low"}


def test_a_model_that_may_not_be_asked_is_left_to_the_router(serve: Serve) -> None:
    """Where only the router may be asked, it is, and the forbidden model is not tried again for a while."""
    bedrock = serve(1, 1, 1, routing=[CLAUDE])
    arn = bedrock.create_router("pair", PAIR)
    looked: list[str] = []

    @tool("look")
    def look_and_deny(query: str) -> str:
        """Look at a page, while the rights are taken away."""
        if not looked:
            bedrock.fail(Fault.denied("InvokeModel", CLAUDE), operation="Converse")
        looked.append(query)
        return f"{query}: nothing"

    messages, receipts = talk(agent_of(model_of(bedrock, arn), [look_and_deny]), FIRST)
    assert models_asked(bedrock) == ["router", CLAUDE, "router", "router", "router"]
    assert [each.router_arn for each in receipts] == [arn] * 4
    assert "may not be asked directly" in receipts[1].decided_by
    assert messages[-1].text.startswith("The pages say")


async def test_a_denied_model_is_left_to_the_router_in_async(serve: Serve) -> None:
    """Asked with ainvoke, an agent falls back to the router as it does with invoke."""
    bedrock = serve(1)

    @tool("look")
    async def look_and_deny(query: str) -> str:
        """Look at a page, while the rights are taken away."""
        bedrock.fail(Fault.denied("InvokeModel", LITE), operation="Converse")
        return f"{query}: nothing"

    agent = agent_of(model_of(bedrock, "amazon.nova:1"), [look_and_deny])
    done = await agent.ainvoke({"messages": [HumanMessage(FIRST)]})
    assert [each == "router" for each in models_asked(bedrock)] == [True, False, True]
    assert done["messages"][-1].text.startswith("The pages say")


def test_other_errors_are_not_swallowed(serve: Serve) -> None:
    """A direct call that fails for another reason fails, and the router is not asked in its place."""
    bedrock = serve(1)

    @tool("look")
    def look_and_break(query: str) -> str:
        """Look at a page, and break the service."""
        bedrock.fail(Fault.error("ThrottlingException", "Too many."), operation="Converse")
        return f"{query}: nothing"

    with pytest.raises(ClientError, match="Too many"):
        talk(agent_of(model_of(bedrock, "amazon.nova:1"), [look_and_break]), FIRST)
    assert [each == "router" for each in models_asked(bedrock)] == [True, False]


def deny_looking_up(bedrock: LocalBedrock, arn: str) -> None:
    """Let nobody see what stands behind a router."""
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        bedrock.fail(Fault.denied(operation, arn), times=50, operation=operation)


def test_a_router_that_may_not_be_looked_up_is_locked_too(serve: Serve) -> None:
    """Where the models behind a router are not known, one that it has just invoked is."""
    bedrock = serve(1, 1, routing="alternate")
    arn = bedrock.create_router("pair", PAIR)
    deny_looking_up(bedrock, arn)
    talk(agent_of(model_of(bedrock, arn)), FIRST)
    assert models_asked(bedrock) == ["router", CLAUDE, CLAUDE]


@pytest.mark.parametrize("listed", [True, False])
def test_the_lock_survives_a_restart(serve: Serve, listed: bool) -> None:
    """An agent that goes on from a checkpoint, in a process that saw nothing, knows who called the tool."""
    bedrock = serve(1, routing="alternate")
    arn = bedrock.create_router("pair", PAIR)
    if not listed:
        deny_looking_up(bedrock, arn)
    saver, thread = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    for given in ({"messages": [HumanMessage(FIRST)]}, None):
        client = RoutedClient(bedrock.client(), model=arn, state=CacheState())
        llm = model_of(bedrock, arn, client=client)
        agent = agent_of(llm, checkpointer=saver, interrupt_before=["tools"])
        done = agent.invoke(given, thread)
    assert models_asked(bedrock) == ["router", CLAUDE]
    assert done["messages"][-1].response_metadata["bedrock_routing"]["decided_by"].startswith("tool lock: ")


@pytest.mark.parametrize("affinity", ["sticky", AffinityPolicy(kind="cost", asking=0.0)])
def test_another_policy_of_the_model_stays(serve: Serve, affinity: Any) -> None:
    """What the model's own affinity says of questions holds with the lock as it does without."""
    bedrock = serve(1, routing="alternate")
    llm = model_of(bedrock, bedrock.create_router("pair", PAIR), affinity=affinity)
    _, receipts = talk(agent_of(llm), FIRST, SECOND)
    kind = affinity if isinstance(affinity, str) else affinity.kind
    assert models_asked(bedrock) == ["router", CLAUDE, CLAUDE, CLAUDE]
    assert receipts[2].decided_by.startswith(f"{kind}: ")


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_of_ones_own_loop_is_locked_without_the_middleware(serve: Serve, stream: bool) -> None:
    """With `lock_tools` in its affinity the model alone reads from a receipt who made the tool call."""
    bedrock = serve()
    llm = model_of(bedrock, "amazon.nova:1", affinity=AffinityPolicy(lock_tools=True)).bind_tools([look])
    messages = history(f"us.{PRO}")
    if stream:
        list(llm.stream(messages))
    else:
        llm.invoke(messages)
    assert models_asked(bedrock) == [f"us.{PRO}"]


def history(invoked: str | None, **metadata: Any) -> list[BaseMessage]:
    """Return a conversation that ends in a tool's result, with such a receipt."""
    receipt = {"router_arn": None, "invoked_model_id": invoked, **metadata}
    call = {"name": "look", "args": {"query": "1"}, "id": "1", "type": "tool_call"}
    asked = AIMessage("", tool_calls=[call], response_metadata={"bedrock_routing": receipt})
    return [HumanMessage(FIRST), asked, ToolMessage("Page 1", tool_call_id="1")]


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        (history(f"us.{PRO}"), f"us.{PRO}"),
        ([*history(f"us.{PRO}"), HumanMessage(SECOND)], f"us.{PRO}"),
        ([*history(f"us.{PRO}"), AIMessage("Page 1."), HumanMessage(SECOND)], "router"),
        (history(CLAUDE), "router"),
        (history("no model at all: /"), "router"),
        (history(None), "router"),
        ([*history(f"us.{PRO}")[:1], AIMessage("Hm."), HumanMessage(SECOND)], "router"),
    ],
    ids=["one of its own", "with words", "a new question", "another's", "nonsense", "unknown", "no call"],
)
def test_only_a_model_of_this_router_is_kept(serve: Serve, messages: list[BaseMessage], asked: str) -> None:
    """The router is asked unless the call brings what a tool call of one of its own models waits for."""
    bedrock = serve()
    agent_of(model_of(bedrock, "amazon.nova:1")).invoke({"messages": messages})
    assert models_asked(bedrock)[:1] == [asked]


def test_a_plain_model_is_asked_as_it_is(serve: Serve) -> None:
    """Without a router there is nothing to lock: the caller has named the model."""
    messages, _ = talk(agent_of(model_of(serve(1), CLAUDE)), FIRST)
    receipts = [each.response_metadata["bedrock_routing"] for each in messages if isinstance(each, AIMessage)]
    assert [each["decided_by"] for each in receipts] == ["caller: the model was named"] * 2


def test_a_fallback_model_gets_nothing_of_ours(serve: Serve) -> None:
    """A model that another middleware falls back to is asked as it was made, in spite of the lock."""
    bedrock = serve(1)
    fallback = FakeMessagesListChatModel(responses=[AIMessage("Somebody else.")])

    @tool("look")
    def look_and_break(query: str) -> str:
        """Look at a page, and break the service."""
        bedrock.fail(Fault.error("ThrottlingException", "Too many."), operation="Converse")
        return f"{query}: nothing"

    class Fallback(ModelFallbackMiddleware):
        """Fall back, binding no tools: the stand-in has none."""

        def wrap_model_call(self, request: ModelRequest, handler: Any) -> Any:
            """Ask the fallback where the model fails."""
            try:
                return handler(request)
            except ClientError:
                return handler(request.override(model=fallback, tools=[]))

    settings = {"system_prompt": SYSTEM, "middleware": [BedrockRoutingMiddleware(), Fallback(fallback)]}
    agent = create_agent(model_of(bedrock, "amazon.nova:1"), [look_and_break], **settings)
    messages, _ = talk(agent, FIRST)
    assert messages[-1].text == "Somebody else."
    assert messages[-1].response_metadata == {}
