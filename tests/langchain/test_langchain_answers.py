"""Every way to ask, for every way to name a router or a model."""

import json
from collections.abc import Callable, Generator
from typing import cast

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_support import LITE, MICRO, NOVA, PRO

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import IncompleteStreamError, RouterNotFoundError
from langchain_bedrock_routing import ChatBedrockRouter, routing_usage

ANSWER = "This is a fixed answer."
Make = Callable[..., ChatBedrockRouter]


@pytest.fixture(params=["default ARN", "custom ARN", "name", "short form", "model id", "profile"])
def model(request: pytest.FixtureRequest, bedrock: LocalBedrock, custom_arn: str) -> str:
    forms = {
        "default ARN": bedrock.router_arn("amazon.nova:1"),
        "custom ARN": custom_arn,
        "name": "Nova Prompt Router",
        "short form": "amazon.nova:1",
        "model id": LITE,
        "profile": f"us.{LITE}",
    }
    return forms[request.param]


def check(message: BaseMessage) -> None:
    """Check what every answer must carry."""
    assert message.text == ANSWER
    receipt = message.response_metadata["bedrock_routing"]
    assert json.loads(json.dumps(receipt)) == receipt
    assert receipt["model"] == message.response_metadata["model_name"] == LITE
    assert message.response_metadata["model_provider"] == "bedrock_converse"
    assert isinstance(message, AIMessage)
    assert message.usage_metadata
    assert receipt["output_tokens"] == message.usage_metadata["output_tokens"]


def test_invoke(make_llm: Make, model: str) -> None:
    """An answer names the model that wrote it and carries its receipt."""
    check(make_llm(model).invoke("Hello"))


async def test_ainvoke(make_llm: Make, model: str) -> None:
    """An awaited answer carries the same as one that was waited for."""
    check(await make_llm(model).ainvoke("Hello"))


def test_stream(make_llm: Make, model: str, bedrock: LocalBedrock) -> None:
    """A stream is a real stream for every form, and exactly one chunk carries usage, receipt and model."""
    chunks = list(make_llm(model).stream("Hello"))
    check_stream(chunks)
    assert bedrock.requests[-1].operation == "ConverseStream"


async def test_astream(make_llm: Make, model: str, bedrock: LocalBedrock) -> None:
    """An async stream is like one that is not."""
    check_stream([chunk async for chunk in make_llm(model).astream("Hello")])
    assert bedrock.requests[-1].operation == "ConverseStream"


def check_stream(chunks: list[AIMessageChunk]) -> None:
    """Check the chunks and their sum."""
    with_receipt = [chunk for chunk in chunks if "bedrock_routing" in chunk.response_metadata]
    assert len(with_receipt) == 1
    assert [chunk for chunk in chunks if chunk.usage_metadata] == with_receipt
    first, *rest = chunks
    whole = sum(rest, first)
    check(whole)
    assert whole.response_metadata["bedrock_routing"] == with_receipt[0].response_metadata["bedrock_routing"]


def test_batch(make_llm: Make, model: str) -> None:
    """Each answer of a batch carries its own receipt."""
    answers = make_llm(model).batch(["Hello", "Good evening"])
    assert len(answers) == 2
    for each in answers:
        check(each)


async def test_abatch(make_llm: Make, model: str) -> None:
    """Each answer of an awaited batch carries its own receipt."""
    answers = await make_llm(model).abatch(["Hello", "Good evening"])
    assert len(answers) == 2
    for each in answers:
        check(each)


def test_streaming_flag(make_llm: Make, custom_arn: str, bedrock: LocalBedrock) -> None:
    """A model with streaming=True streams in invoke, and the merged answer still has one whole receipt."""
    check(make_llm(custom_arn, streaming=True).invoke("Hello"))
    assert bedrock.requests[-1].operation == "ConverseStream"


def test_usage_per_real_model(make_llm: Make) -> None:
    """LangChain's own usage callback counts each model apart, although one router was asked."""
    with LocalBedrock(answers=FixedAnswer(), routing="alternate") as bedrock:
        llm = make_llm("amazon.nova:1", endpoint_url=bedrock.endpoint_url)
        with get_usage_metadata_callback() as usage:
            llm.invoke("Hello")
            list(llm.stream("Hello"))
    assert set(usage.usage_metadata) == {LITE, PRO}


def test_model_override(make_llm: Make, bedrock: LocalBedrock) -> None:
    """model= at call time asks that model once and leaves the configured one as it was."""
    llm = make_llm("amazon.nova:1")
    assert llm.invoke("Hello", model=MICRO).response_metadata["model_name"] == MICRO
    streamed = [each.response_metadata.get("model_name") for each in llm.stream("Hello", model=MICRO)]
    assert [name for name in streamed if name] == [MICRO]
    assert llm._get_ls_params(model=MICRO).get("ls_model_name") == MICRO
    assert llm.invoke("Hello").response_metadata["model_name"] == LITE
    assert llm.model == "amazon.nova:1"
    asked = [each.model_id for each in bedrock.requests if each.operation.startswith("Converse")]
    assert asked == [MICRO, MICRO, bedrock.router_arn("amazon.nova:1")]


def test_application_profile(make_llm: Make, bedrock: LocalBedrock) -> None:
    """An application profile answers under the name of the model behind it, streamed or not."""
    llm = make_llm(bedrock.create_application_profile(PRO))
    assert llm.invoke("Hello").response_metadata["model_name"] == PRO
    first, *rest = llm.stream("Hello")
    assert sum(rest, first).response_metadata["model_name"] == PRO


def test_token_count_needs_no_tokenizer(make_llm: Make, custom_arn: str) -> None:
    """Messages are counted for models that the service does not count for, with no further package."""
    assert 100 < make_llm(custom_arn).get_num_tokens_from_messages([HumanMessage("word " * 200)]) < 400


def test_a_stream_left_early_is_closed(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A reader who stops reading closes the stream; its receipt says that it is not complete."""
    with routing_usage() as usage:
        stream = make_llm().stream("Hello")
        next(stream)
        cast("Generator[object]", stream).close()
    (receipt,) = usage.receipts
    assert receipt.complete is False


def test_inline_reasoning_of_nova(make_llm: Make, custom_arn: str, bedrock: LocalBedrock) -> None:
    """What Nova thinks aloud is told from its answer, although a custom ARN does not say Nova."""
    with LocalBedrock(answers=FixedAnswer("<thinking>Easy.</thinking>Four.")) as thinking:
        arn = thinking.create_router("team-router", NOVA)
        answer = make_llm(arn, endpoint_url=thinking.endpoint_url).invoke("Two and two?")
    assert answer.text == "Four."
    assert [block["type"] for block in answer.content if isinstance(block, dict)] == [
        "reasoning_content",
        "text",
    ]


def test_unknown_router_name(make_llm: Make) -> None:
    """A name that no router has is an error that names those that exist."""
    with pytest.raises(RouterNotFoundError, match="Nova Prompt Router"):
        make_llm("No Such Router").invoke("Hello")


def test_no_permission_to_look_behind(make_llm: Make, custom_arn: str, bedrock: LocalBedrock) -> None:
    """A caller who may not read the router is answered all the same, and told by the trace who answered."""
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        bedrock.fail(Fault.denied(operation, custom_arn), operation=operation)
    check(make_llm(custom_arn).invoke("Hello"))


def test_router_models_stand_in_for_the_permission(
    make_llm: Make, custom_arn: str, bedrock: LocalBedrock
) -> None:
    """router_models= says what may not be looked up, so provider and profile are known."""
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        bedrock.fail(Fault.denied(operation, custom_arn), operation=operation)
    llm = make_llm(custom_arn, router_models=NOVA)
    check(llm.invoke("Hello"))
    assert llm.profile
    assert llm.profile.get("max_input_tokens") == 300_000


def test_cut_stream(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A stream that the service cuts is an error that carries the receipt of what is known."""
    bedrock.fail(Fault.cut())
    with pytest.raises(IncompleteStreamError) as error:
        list(make_llm().stream("Hello"))
    assert error.value.receipt is not None
    assert error.value.receipt["complete"] is False


def test_service_errors_pass(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Botocore's errors arrive as they are."""
    llm = make_llm(max_retries=0)
    bedrock.fail(Fault.throttling(), operation="Converse")
    with pytest.raises(llm.client.exceptions.ThrottlingException):
        llm.invoke("Hello")


def test_messages_stay_as_they_were(make_llm: Make) -> None:
    """Neither the caller's messages nor their blocks are changed, not even trailing white space."""
    messages: list[BaseMessage] = [
        HumanMessage([{"type": "text", "text": "Say a word. "}]),
        AIMessage([{"type": "text", "text": "Word and space "}]),
    ]
    before = [message.model_copy(deep=True) for message in messages]
    make_llm().invoke(messages)
    assert messages == before


def test_raw_blocks_stay_as_they_were(make_llm: Make, bedrock: LocalBedrock) -> None:
    """raw_blocks do not collect cache points, even where langchain-aws places them."""
    raw = [{"role": "user", "content": [{"text": "Hello"}]}]
    llm = make_llm(raw_blocks=raw, cache=False)
    for _ in range(2):
        llm.invoke("not sent", cache_control={"type": "ephemeral"})
    assert llm.raw_blocks == [{"role": "user", "content": [{"text": "Hello"}]}]
    assert bedrock.requests[-1].body["messages"][0]["content"].count({"cachePoint": {"type": "default"}}) == 1
