"""Staying with a warm model, through both frameworks: the same calls to the same models."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from llama_index.core.llms import ChatMessage

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import AffinityPolicy, CacheState, RoutedClient, parse, remember_documents
from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter

OPUS, SONNET = "anthropic.claude-opus-4-8", "anthropic.claude-sonnet-4-6"
TEXT = "\n".join(f"Tides chapter {number}: {number * 7} careful pages." for number in range(400))
TOOL = {"name": "look", "description": "Look.", "inputSchema": {"json": {"type": "object", "properties": {}}}}
POLICIES = {
    "router": "router",
    "sticky": AffinityPolicy(kind="sticky", asking=0.0),
    "cost": AffinityPolicy(kind="cost", asking=0.0),
}


class LangChain:
    """Talk with LangChain."""

    def __init__(self, endpoint: str, **settings: Any) -> None:
        llm = ChatBedrockRouter(
            model="pair", region_name="us-east-1", endpoint_url=endpoint, max_retries=0, **settings
        )
        self.llm = llm.bind_tools([{"toolSpec": TOOL}])
        self.messages: list[BaseMessage] = [SystemMessage(f"Answer from this:\n{TEXT}")]

    def ask(self, question: str, *, stream: bool = False) -> Mapping[str, Any]:
        """Ask, bring what tools the answer calls, and return the last receipt."""
        self.messages.append(HumanMessage(question))
        answer = self._answer(stream=stream)
        if answer.tool_calls:
            self.messages += [ToolMessage("A page.", tool_call_id=each["id"]) for each in answer.tool_calls]
            answer = self._answer(stream=stream)
        return answer.response_metadata["bedrock_routing"]

    def _answer(self, *, stream: bool) -> AIMessage:
        if not stream:
            answer = self.llm.invoke(self.messages)
        else:
            first, *rest = self.llm.stream(self.messages)
            answer = sum(rest, first)
        self.messages.append(answer)
        assert isinstance(answer, AIMessage)
        return answer


class LlamaIndex:
    """Talk with LlamaIndex."""

    def __init__(self, endpoint: str, **settings: Any) -> None:
        self.llm = BedrockRouter(
            model="pair", region_name="us-east-1", endpoint_url=endpoint, max_retries=0, **settings
        )
        self.messages = [ChatMessage(role="system", content=f"Answer from this:\n{TEXT}")]

    def ask(self, question: str, *, stream: bool = False) -> Mapping[str, Any]:
        """Ask, bring what tools the answer calls, and return the last receipt."""
        self.messages.append(ChatMessage(role="user", content=question))
        answer = self._answer(stream=stream)
        calls = self.llm.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        if calls:
            self.messages += [
                ChatMessage(role="tool", content="A page.", additional_kwargs={"tool_call_id": each.tool_id})
                for each in calls
            ]
            answer = self._answer(stream=stream)
        return answer.additional_kwargs["bedrock_routing"]

    def _answer(self, *, stream: bool) -> Any:
        tools = {"tools": [{"toolSpec": TOOL}]}
        if stream:
            answer = list(self.llm.stream_chat(self.messages, tools=tools))[-1]
        else:
            answer = self.llm.chat(self.messages, tools=tools)
        self.messages.append(answer.message)
        return answer


FRAMEWORKS: tuple[type[Any], ...] = (LangChain, LlamaIndex)


@pytest.fixture
def pairs() -> Iterator[Callable[..., LocalBedrock]]:
    """Give each framework a service of its own, with a Claude pair under a router that alternates."""
    running: list[LocalBedrock] = []

    def start(**tool_calls: Any) -> LocalBedrock:
        bedrock = LocalBedrock(answers=FixedAnswer(tool_calls=tool_calls), routing="alternate").start()
        running.append(bedrock)
        bedrock.create_router("pair", (f"us.{OPUS}", f"us.{SONNET}"))
        return bedrock

    yield start
    for each in running:
        each.stop()


Start = Callable[..., LocalBedrock]


def asked(bedrock: LocalBedrock) -> list[str]:
    calls = [each.model_id or "" for each in bedrock.requests if each.operation.startswith("Converse")]
    return ["router" if parse(each).is_router else "opus" if OPUS in each else "sonnet" for each in calls]


def told(receipt: Mapping[str, Any]) -> dict[str, Any]:
    names = ("model", "decided_by", "router_choice", "cost_usd", "cache", "strongest_cost_usd")
    return {name: receipt[name] for name in names}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("router", ["router", "router", "router"]),
        ("sticky", ["router", "opus", "opus"]),
        ("cost", ["router", "opus", "opus"]),
    ],
)
def test_a_conversation(pairs: Start, policy: str, expected: list[str], stream: bool) -> None:
    """The same turns go to the same models, with the same receipts."""
    receipts: list[Any] = []
    for framework in FRAMEWORKS:
        bedrock = pairs()
        remember_documents([TEXT])
        talk = framework(bedrock.endpoint_url, affinity=POLICIES[policy])
        found = [talk.ask(each, stream=stream) for each in ("How many?", "Who wrote them?", "Where?")]
        assert asked(bedrock) == expected
        assert all(each["router_arn"].endswith(talk_router(bedrock)) for each in found)
        receipts.append([told(each) for each in found])
    assert receipts[0] == receipts[1]
    assert [each["router_choice"] for each in receipts[0]] == (
        [OPUS, SONNET, OPUS] if policy == "router" else [OPUS, None, None]
    )


def talk_router(bedrock: LocalBedrock) -> str:
    return bedrock.router_arn("pair").rpartition("/")[2]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_tool_loop_under_the_router(pairs: Start, framework: type[Any], stream: bool) -> None:
    """With `lock_tools` a result goes to the model that called; the next question is the router's again."""
    bedrock = pairs(look={})
    talk = framework(bedrock.endpoint_url, affinity=AffinityPolicy(lock_tools=True))
    receipts = [talk.ask("Look.", stream=stream), talk.ask("Look again.", stream=stream)]
    assert asked(bedrock) == ["router", "opus", "router", "sonnet"]
    assert {each["decided_by"].partition(":")[0] for each in receipts} == {"tool lock"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_tool_loop_of_another_process(pairs: Start, framework: type[Any], stream: bool) -> None:
    """The messages alone, stored and read back, say who made the tool call that waits."""
    bedrock = pairs(look={})
    lock = AffinityPolicy(lock_tools=True)

    def process() -> Any:
        client = RoutedClient(bedrock.client(), model="pair", affinity=lock, state=CacheState())
        return framework(bedrock.endpoint_url, client=client)

    talk = process()
    talk.ask("Look.", stream=stream)
    later = process()
    later.messages = [type(each).model_validate_json(each.model_dump_json()) for each in talk.messages[:-1]]
    later._answer(stream=stream)
    assert asked(bedrock) == ["router", "opus", "opus"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_wrong_policy_is_refused(framework: type[Any]) -> None:
    """A kind that there is not is an error where the model is made."""
    with pytest.raises(ValueError, match="router"):
        framework("http://localhost:9", affinity="best")
