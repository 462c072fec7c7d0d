"""One-line construction, fields that a call may change, and what is stored: models, chains, checkpoints."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.prompts.chat import HumanMessagePromptTemplate
from langchain_core.prompts.prompt import PromptTemplate
from langchain_core.runnables import RunnableSequence
from langchain_support import LITE, PRO

from bedrock_local import LocalBedrock
from bedrock_routing import ConfigurationError
from langchain_bedrock_routing import ChatBedrockRouter, init_router_model

Make = Callable[..., Any]
TEXT = "\n".join(f"Glaciers chapter {number}: the keeper wrote {number * 7} pages." for number in range(200))
CACHED = [("human", [{"type": "text", "text": TEXT}, {"type": "text", "text": "Why?"}])]


@pytest.fixture
def init(bedrock: LocalBedrock) -> Make:
    def make(model: str = "amazon.nova:1", **settings: Any) -> Any:
        return init_router_model(
            model, region_name="us-east-1", endpoint_url=bedrock.endpoint_url, **settings
        )

    return make


def conversations(bedrock: LocalBedrock) -> list[Any]:
    return [each for each in bedrock.requests if each.operation == "Converse"]


@pytest.mark.parametrize("model", ["amazon.nova:1", "Nova Prompt Router", LITE])
@pytest.mark.parametrize("prefix", ["", "bedrock_routing:"])
def test_one_line(init: Make, model: str, prefix: str) -> None:
    """A model is made of any name, with and without a provider in front, and answers."""
    llm = init(f"{prefix}{model}", temperature=0.5)
    assert (type(llm), llm.model, llm.temperature) == (ChatBedrockRouter, model, 0.5)
    assert llm.invoke("Hello").response_metadata["model_name"] == LITE


def test_fields_change_per_call(init: Make, bedrock: LocalBedrock) -> None:
    """A call's configuration changes the fields that were named, and no other."""
    llm = init(configurable_fields=["model", "temperature"], temperature=0.5, max_tokens=7)
    llm.invoke("Hello")
    llm.invoke("Hello", {"configurable": {"model": PRO, "temperature": 0.25, "max_tokens": 9}})
    llm.with_config(configurable={"model": f"bedrock_routing:{PRO}"}).invoke("Hello")
    sent = [(each.invoked_model, each.body["inferenceConfig"]) for each in conversations(bedrock)]
    assert sent == [
        (LITE, {"maxTokens": 7, "temperature": 0.5}),
        (PRO, {"maxTokens": 7, "temperature": 0.25}),
        (PRO, {"maxTokens": 7, "temperature": 0.5}),
    ]


def test_a_prefix_tells_models_apart(init: Make, bedrock: LocalBedrock) -> None:
    """With a prefix, a chain's configuration can speak to one of its models."""
    llm = init(configurable_fields=("model",), config_prefix="writer")
    llm.invoke("Hello", {"configurable": {"model": PRO}})
    llm.invoke("Hello", {"configurable": {"writer_model": PRO}})
    assert [each.invoked_model for each in conversations(bedrock)] == [LITE, PRO]


def test_where_points_go_can_change_per_call(init: Make, bedrock: LocalBedrock) -> None:
    """`cache` as a configurable field is obeyed: the client of the model before is not used on."""
    llm = init(configurable_fields=["cache"], cache=False)
    asked = [
        llm.invoke(CACHED, {"configurable": config}) for config in ({}, {"cache": True}, {"cache": False})
    ]
    assert [bool(each.response_metadata["bedrock_routing"]["cache"]["points"]) for each in asked] == [
        False,
        True,
        False,
    ]


def test_configurations_share_a_connection(init: Make, made: list[dict[str, Any]]) -> None:
    """However often a model is configured, one client per plane is made; another endpoint has its own."""
    llm = init(configurable_fields=["model", "temperature", "endpoint_url"])
    for model in (LITE, PRO, "Nova Prompt Router", "amazon.nova:1"):
        llm.invoke("Hello", {"configurable": {"model": model}})
    assert [each["service"] for each in made] == ["bedrock-runtime", "bedrock"]
    with LocalBedrock() as other:
        llm.invoke("Hello", {"configurable": {"model": LITE, "endpoint_url": other.endpoint_url}})
        assert len(other.requests) == 1


def test_a_given_client_is_kept(bedrock: LocalBedrock) -> None:
    """A configured model uses the boto3 client that its original was given."""
    client = bedrock.client()
    llm = init_router_model(LITE, client=client, configurable_fields=["model"])
    llm.invoke("Hello", {"configurable": {"model": PRO}})
    assert [each.invoked_model for each in conversations(bedrock)] == [PRO]


def test_fields_must_be_named(init: Make) -> None:
    """Neither every field nor one that does not exist can be made configurable."""
    with pytest.raises(ConfigurationError, match="name the settings"):
        init(configurable_fields="any")
    with pytest.raises(ConfigurationError, match="no setting"):
        init(configurable_fields=["modell"])


def test_a_chain_is_stored_and_loaded(init: Make) -> None:
    """A chain that holds the model comes back from storage and answers."""
    chain = ChatPromptTemplate.from_messages([("human", "{x}")]) | init()
    allowed: list[Any] = [
        ChatBedrockRouter,
        ChatPromptTemplate,
        HumanMessagePromptTemplate,
        PromptTemplate,
        RunnableSequence,
    ]
    loaded = loads(dumps(chain), allowed_objects=allowed, valid_namespaces=["langchain_bedrock_routing"])
    assert loaded.invoke({"x": "Hello"}).response_metadata["model_name"] == LITE


def test_a_bound_model_is_pickled(init: Make, bedrock: LocalBedrock) -> None:
    """A model with tools and a configuration survives a pickle."""
    tool = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
    bound = init().bind_tools([tool]).with_config(tags=["one"])
    pickle.loads(pickle.dumps(bound)).invoke("Hello")
    assert conversations(bedrock)[-1].body["toolConfig"]["tools"]


def test_a_checkpoint_holds_the_answer(init: Make, bedrock: LocalBedrock) -> None:
    """A checkpoint gives messages back as they were, receipt and counts; cache points are not in them."""
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    graphs = pytest.importorskip("langgraph.graph")
    llm = init()

    def answer(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [llm.invoke(state["messages"])]}

    nodes = graphs.StateGraph(graphs.MessagesState).add_node("answer", answer)
    graph = nodes.add_edge(graphs.START, "answer").compile(memory.InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    first = graph.invoke({"messages": CACHED}, config)["messages"][-1]
    graph.invoke({"messages": [("human", "And then?")]}, config)
    stored = graph.get_state(config).values["messages"]
    assert isinstance(first, AIMessage)
    assert stored[1] == first
    assert stored[1].response_metadata["bedrock_routing"]["model"] == LITE
    assert stored[1].usage_metadata == first.usage_metadata
    assert "cachePoint" not in str([each.content for each in stored])
    assert "cachePoint" in str(conversations(bedrock)[-1].body)


def test_tools_are_bound_to_the_model_that_a_call_configures(init: Make, bedrock: LocalBedrock) -> None:
    """Tools and schemas bound before a call's configuration is known go to the model that it names."""
    number = {"n": {"type": "integer"}}
    schema = {"title": "Page", "description": "A page.", "type": "object", "properties": number}
    llm = init(configurable_fields=["model"])
    config: Any = {"configurable": {"model": PRO}}
    llm.bind_tools([schema]).invoke("Page 7?", config)
    llm.with_structured_output(schema).invoke("Page 7?", config)
    llm.bind_tools([schema]).invoke("Page 7?")
    sent = [(each.invoked_model, "toolConfig" in each.body) for each in conversations(bedrock)]
    assert sent == [(PRO, True), (PRO, True), (LITE, True)]
