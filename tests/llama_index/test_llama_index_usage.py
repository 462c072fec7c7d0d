"""Receipts of calls that engines and workflows make: by context, by handler, by run."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.dispatcher import instrument_tags
from llama_index_support import NOVA, make_index

from bedrock_local import LocalBedrock
from llama_index_bedrock_routing import BedrockRouter, BedrockRoutingHandler, routing_usage
from llama_index_bedrock_routing.callbacks import watch_retrievers

Make = Callable[..., BedrockRouter]
HELLO = [ChatMessage(role="user", content="Hello")]


@pytest.fixture
def handler() -> Iterator[BedrockRoutingHandler]:
    added = BedrockRoutingHandler()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(added)
    yield added
    dispatcher.event_handlers.remove(added)


@pytest.mark.usefixtures("only_llm")
def test_calls_of_a_query_engine(handler: BedrockRoutingHandler, bedrock: LocalBedrock) -> None:
    """Each call inside an engine is counted once, with what the service counted."""
    with routing_usage() as usage:
        make_index().as_query_engine(similarity_top_k=4, response_mode="refine").query("How many?")
    calls = [each for each in bedrock.requests if each.operation == "Converse"]
    read = sum((each.usage or {}).get("inputTokens", 0) for each in calls)
    assert usage.total.calls == handler.ledger.total.calls == len(calls) == 4
    assert usage.total.fresh == handler.ledger.total.fresh == read
    assert set(handler.ledger.per_model) <= set(NOVA)
    assert handler.last == usage.receipts[-1]


def test_completions_and_streams_count_once(handler: BedrockRoutingHandler, make_llm: Make) -> None:
    """A completion is one call, although LlamaIndex reports it twice; a stream is one when it ended."""
    llm = make_llm()
    llm.complete("Hello")
    list(llm.stream_complete("Hello"))
    list(llm.stream_chat(HELLO))
    assert len(handler.receipts) == 3


def test_a_new_handler_is_empty() -> None:
    """Before any call there is no receipt."""
    handler = BedrockRoutingHandler()
    assert (handler.last, handler.receipts) == (None, ())


async def test_runs_are_told_apart(handler: BedrockRoutingHandler, make_llm: Make) -> None:
    """Calls that carry a workflow's run id are also counted for that run alone."""
    llm = make_llm()
    for run_id, calls in (("run-1", 1), ("run-2", 2)):
        with instrument_tags({"llamaindex.run_id": run_id}):
            for _ in range(calls):
                await llm.achat(HELLO)
    assert [handler.run(each).total.calls for each in ("run-1", "run-2", "run-3")] == [1, 2, 0]
    assert handler.ledger.total.calls == 3


async def test_an_agent_is_a_run(handler: BedrockRoutingHandler, make_llm: Make) -> None:
    """The calls of an agent stand under the id of its run."""

    def look() -> str:
        """Look around."""
        return "Nothing."

    running = FunctionAgent(tools=[look], llm=make_llm()).run("What do you see?")
    await asyncio.wait_for(running, 30)
    run_id = next(iter(handler._runs))
    assert handler.run(run_id).total.calls == handler.ledger.total.calls == 1


def test_watching_twice_changes_nothing() -> None:
    """Importing the package again adds no second watcher."""
    before = len(get_dispatcher().event_handlers)
    watch_retrievers()
    assert len(get_dispatcher().event_handlers) == before
