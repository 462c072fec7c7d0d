"""Structured answers of models that can, and cannot, be forced to call a tool: an object or an error."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from bedrock_local import FixedAnswer, LocalBedrock
from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter

NOVA = ["amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"]
LLAMA = ["meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-70b-instruct-v1:0"]
GOOD = '{"kind": true, "reason": "It thanks."}'


class Verdict(BaseModel):
    """Say whether a text is kind."""

    kind: bool
    reason: str


def langchain(endpoint: str, model: str, *, forced: bool, stream: bool) -> Any:
    """Ask LangChain for a verdict, by the method that the models allow."""
    llm = ChatBedrockRouter(model=model, region_name="us-east-1", endpoint_url=endpoint)
    method = "function_calling" if forced else "json_mode"
    structured = llm.with_structured_output(Verdict, method=method)
    return list(structured.stream("Well done!"))[-1] if stream else structured.invoke("Well done!")


def llama_index(endpoint: str, model: str, *, forced: bool, stream: bool) -> Any:
    """Ask LlamaIndex for a verdict; it sees for itself what the models allow."""
    llm = BedrockRouter(model=model, region_name="us-east-1", endpoint_url=endpoint)
    prompt = PromptTemplate("Judge this: {text}")
    if stream:
        return list(llm.stream_structured_predict(Verdict, prompt, text="Well done!"))[-1]
    return llm.structured_predict(Verdict, prompt, text="Well done!")


Ask = Callable[..., Any]


@pytest.fixture(params=[langchain, llama_index], ids=lambda ask: ask.__name__)
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param


@pytest.fixture
def service() -> Iterator[Callable[[str], LocalBedrock]]:
    running: list[LocalBedrock] = []

    def start(text: str) -> LocalBedrock:
        calls = {"Verdict": json.loads(text)} if text == GOOD else None
        running.append(LocalBedrock(answers=FixedAnswer(text, tool_calls=calls), revive=LLAMA).start())
        return running[-1]

    yield start
    for each in running:
        each.stop()


Service = Callable[[str], LocalBedrock]


@pytest.mark.parametrize("stream", [False, True])
def test_a_router_that_can_be_forced(ask: Ask, service: Service, stream: bool) -> None:
    """Over a router whose models can all be forced, a tool call is, and the answer is an object."""
    bedrock = service("Prose.")
    answer = ask(bedrock.endpoint_url, bedrock.create_router("pair", NOVA), forced=True, stream=stream)
    assert isinstance(answer, Verdict)
    assert set(bedrock.requests[-1].body["toolConfig"]["toolChoice"]) <= {"any", "tool"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_router_that_cannot_be_forced(ask: Ask, service: Service, stream: bool) -> None:
    """Where no call can be forced, none is: LangChain asks for JSON, LlamaIndex offers the tool."""
    bedrock = service(GOOD)
    answer = ask(bedrock.endpoint_url, bedrock.create_router("llamas", LLAMA), forced=False, stream=stream)
    assert answer.model_dump() == json.loads(GOOD)
    assert "toolChoice" not in json.dumps(bedrock.requests[-1].body)


def test_prose_is_an_error(ask: Ask, service: Service) -> None:
    """Prose from a model that could not be forced raises; it never becomes None."""
    bedrock = service("I would rather talk.")
    with pytest.raises(ValueError, match=r"(?i)json|tool call"):
        ask(bedrock.endpoint_url, bedrock.create_router("llamas", LLAMA), forced=False, stream=False)
