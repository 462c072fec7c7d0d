"""Who asks again after an error: the middleware, with_retry, with_fallbacks; and after what nobody does."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware
from langchain_core.exceptions import ModelError, ModelPermissionDeniedError, ModelRateLimitError
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessageChunk
from langchain_support import LITE

from bedrock_local import Fault, LocalBedrock
from bedrock_routing import IncompleteStreamError
from langchain_bedrock_routing import ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]


def agent_of(llm: ChatBedrockRouter, **settings: Any) -> Any:
    retry = ModelRetryMiddleware(initial_delay=0, on_failure="error", **settings)
    return create_agent(llm, tools=[], middleware=[retry])


ASKED: Any = {"messages": [{"role": "user", "content": "Hello there"}]}


def test_the_middleware_retries_throttling(make_llm: Make, bedrock: LocalBedrock) -> None:
    """ModelRetryMiddleware, with no setting of its own, asks again after a throttled call."""
    bedrock.fail(Fault.throttling())
    answer = agent_of(make_llm(LITE, max_retries=0)).invoke(ASKED)
    assert answer["messages"][-1].text == "This is a fixed answer."
    assert len(bedrock.requests) == 2


@pytest.mark.parametrize(
    "name", ["AccessDeniedException", "ValidationException", "ResourceNotFoundException"]
)
def test_the_middleware_retries_nothing_in_vain(make_llm: Make, bedrock: LocalBedrock, name: str) -> None:
    """What would fail again is sent once, and the agent raises it."""
    bedrock.fail(Fault.error(name), times=5, operation="Converse")
    with pytest.raises(ModelError):
        agent_of(make_llm(LITE, max_retries=0)).invoke(ASKED)
    assert sum(each.operation == "Converse" for each in bedrock.requests) == 1


def tokens_of(agent: Any) -> list[str]:
    """Stream an agent and return the texts that its reader saw, also where it fails."""
    seen: list[str] = []
    try:
        for message, _ in agent.stream(ASKED, stream_mode="messages"):
            if isinstance(message, AIMessageChunk) and message.text:
                seen.append(message.text)
    except ModelError as error:
        seen.append(type(error).__name__)
    return seen


def test_no_retry_after_the_first_token(make_llm: Make, bedrock: LocalBedrock) -> None:
    """An agent whose stream breaks off after a token raises: a retry would show the token twice."""
    bedrock.fail(Fault.exception_in_stream(after_events=3))
    seen = tokens_of(agent_of(make_llm(LITE, max_retries=0)))
    assert seen[-1] == "EventStreamError"
    assert len(seen) >= 2
    assert sum(each.operation == "ConverseStream" for each in bedrock.requests) == 1


def test_a_retry_before_the_first_token(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A stream that fails with its first event has shown nothing, and is asked again."""
    bedrock.fail(Fault.exception_in_stream(after_events=0))
    seen = tokens_of(agent_of(make_llm(LITE, max_retries=0)))
    assert "".join(seen) == "This is a fixed answer."
    assert sum(each.operation == "ConverseStream" for each in bedrock.requests) == 2


def test_a_retry_after_the_first_token_for_those_who_ask(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Naming the class asks for the retry all the same; the reader sees the beginning twice."""
    bedrock.fail(Fault.exception_in_stream(after_events=3))
    seen = tokens_of(agent_of(make_llm(LITE, max_retries=0), retry_on=(ModelRateLimitError,)))
    assert "".join(seen).endswith("This is a fixed answer.")
    assert len("".join(seen)) > len("This is a fixed answer.")


@pytest.mark.parametrize("bound", [False, True])
def test_with_retry_retries_what_may_help(make_llm: Make, bedrock: LocalBedrock, bound: bool) -> None:
    """with_retry sends a throttled call again and a forbidden one not, also with tools bound."""
    llm: Any = make_llm(LITE, max_retries=0)
    llm = (llm.bind_tools([]) if bound else llm).with_retry(wait_exponential_jitter=False)
    bedrock.fail(Fault.throttling(), operation="Converse")
    assert llm.invoke("Hello there").text == "This is a fixed answer."
    bedrock.clear()
    bedrock.fail(Fault.error("AccessDeniedException"), times=5, operation="Converse")
    with pytest.raises(ModelPermissionDeniedError):
        llm.invoke("Hello there")
    assert len(bedrock.requests) == 1


def test_with_retry_says_otherwise(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A caller who names classes gets those retried, and no others."""
    llm = make_llm(LITE, max_retries=0).with_retry(
        retry_if_exception_type=(ModelPermissionDeniedError,), wait_exponential_jitter=False
    )
    bedrock.fail(Fault.error("AccessDeniedException"), operation="Converse")
    assert llm.invoke("Hello there").text == "This is a fixed answer."


async def test_fallbacks_take_the_kinds_they_name(make_llm: Make, bedrock: LocalBedrock) -> None:
    """with_fallbacks over a kind takes throttling of every path, and raises what is of another kind."""
    other = FakeListChatModel(responses=["from elsewhere"])
    llm: Any = make_llm(LITE, max_retries=0).with_fallbacks(
        [other], exceptions_to_handle=(ModelRateLimitError,)
    )
    bedrock.fail(Fault.throttling(), times=4)
    assert llm.invoke("Hi").text == "from elsewhere"
    assert "".join(each.text for each in llm.stream("Hi")) == "from elsewhere"
    assert (await llm.ainvoke("Hi")).text == "from elsewhere"
    assert "".join([each.text async for each in llm.astream("Hi")]) == "from elsewhere"
    bedrock.fail(Fault.error("AccessDeniedException"))
    with pytest.raises(ModelPermissionDeniedError):
        llm.invoke("Hi")


def test_no_fallback_after_the_first_token(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A stream that is cut after a token is not continued by another model."""
    other = FakeListChatModel(responses=["from elsewhere"])
    bedrock.fail(Fault.cut(after_events=3))
    seen: list[str] = []
    with pytest.raises(IncompleteStreamError):
        seen.extend(each.text for each in make_llm(LITE).with_fallbacks([other]).stream("Hi"))
    assert "from elsewhere" not in "".join(seen)


def test_a_timeout_that_is_not_given_stays_the_services(make_llm: Make) -> None:
    """max_retries alone takes no time limit away; with timeout= both limits are set."""
    config = make_llm(LITE, max_retries=1).client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (60, 60)
    config = make_llm(LITE, max_retries=1, timeout=7).client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (7, 7)
    assert config.retries["total_max_attempts"] == 2
