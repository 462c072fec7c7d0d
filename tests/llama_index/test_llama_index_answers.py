"""What an answer carries: text, tokens, the model that answered, the receipt; whole and streamed."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.prompts import PromptTemplate
from llama_index_support import CLAUDE, LITE, NOVA, text_about

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import IncompleteStreamError, remember_documents
from llama_index_bedrock_routing import BedrockRouter

Make = Callable[..., BedrockRouter]
TEXT = "This is a fixed answer."
HELLO = [ChatMessage(role="user", content="Hello")]
REFUSES_SAMPLING = "us.anthropic.claude-opus-4-8"
SAMPLING = {"maxTokens": 50, "temperature": 0.5, "topP": 0.9}


async def whole(llm: BedrockRouter, messages: list[ChatMessage]) -> ChatResponse:
    return llm.chat(messages)


async def whole_async(llm: BedrockRouter, messages: list[ChatMessage]) -> ChatResponse:
    return await llm.achat(messages)


async def stream(llm: BedrockRouter, messages: list[ChatMessage]) -> ChatResponse:
    return list(llm.stream_chat(messages))[-1]


async def stream_async(llm: BedrockRouter, messages: list[ChatMessage]) -> ChatResponse:
    return [each async for each in await llm.astream_chat(messages)][-1]


async def completed(llm: BedrockRouter, messages: list[ChatMessage]) -> Any:
    return llm.complete(messages[0].content or "")


async def stream_completed(llm: BedrockRouter, messages: list[ChatMessage]) -> Any:
    return [each async for each in await llm.astream_complete(messages[0].content or "")][-1]


WAYS = [whole, whole_async, stream, stream_async, completed, stream_completed]


@pytest.mark.parametrize("way", WAYS)
async def test_metadata_in_every_mode(make_llm: Make, custom_arn: str, way: Callable[..., Any]) -> None:
    """Each mode says the tokens, with the whole prompt as prompt_tokens, the model and the receipt."""
    llm, document = make_llm(custom_arn), "\n".join(map(text_about, ("Tides", "Bridges", "Lanterns")))
    remember_documents([document])
    messages = [ChatMessage(role="user", content=f"{document}\n\nHow many pages?")]
    await way(llm, messages)
    response = await way(llm, messages)
    usage, counts = response.raw["usage"], response.additional_kwargs
    assert usage["cacheReadInputTokens"] > 1_000
    prompt = usage["inputTokens"] + usage["cacheReadInputTokens"]
    expected = {
        "prompt_tokens": prompt,
        "completion_tokens": usage["outputTokens"],
        "total_tokens": prompt + usage["outputTokens"],
        "cache_read_input_tokens": usage["cacheReadInputTokens"],
        "cache_creation_input_tokens": 0,
    }
    assert {name: usage[name] for name in expected} == expected
    assert {name: counts[name] for name in expected} == expected
    assert usage["prompt_tokens_details"] == {"cached_tokens": usage["cacheReadInputTokens"]}
    assert response.raw["model"] in NOVA
    receipt = counts["bedrock_routing"]
    assert receipt["router_arn"] == custom_arn
    assert receipt["model"] == response.raw["model"]
    assert receipt["cache"]["read"] == usage["cacheReadInputTokens"]
    assert response.raw["stopReason"] == receipt["stop_reason"] == "end_turn"


def test_a_stream_has_one_last_item(make_llm: Make) -> None:
    """Every text delta makes one item that holds the text so far; one more has no delta but the metadata."""
    items = list(make_llm().stream_chat(HELLO))
    assert [bool(each.delta) for each in items] == [True] * (len(items) - 1) + [False]
    assert "".join(each.delta or "" for each in items) == TEXT
    assert [each.message.content for each in items[-2:]] == [TEXT, TEXT]
    assert ["bedrock_routing" in each.additional_kwargs for each in items] == [False] * (len(items) - 1) + [
        True
    ]
    assert "metadata" in items[-1].raw  # type: ignore[operator]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_token_counter_reads_true_numbers(make_llm: Make, streamed: bool) -> None:
    """LlamaIndex's TokenCountingHandler counts what the service counted, not an estimate of its own."""
    counter = TokenCountingHandler(tokenizer=lambda text: ["never"] * 7_777)
    llm = make_llm(callback_manager=CallbackManager([counter]))
    response = list(llm.stream_chat(HELLO))[-1] if streamed else llm.chat(HELLO)
    usage: Any = response.raw["usage"]  # type: ignore[index]
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (
        usage["inputTokens"],
        usage["outputTokens"],
    )


def test_predict_says_the_system_prompt(make_llm: Make, bedrock: LocalBedrock) -> None:
    """As with every LLM of LlamaIndex, system_prompt goes out with predict."""
    answer = make_llm(system_prompt="Be brief.").predict(PromptTemplate("Say {what}."), what="hello")
    assert answer == TEXT
    assert bedrock.requests[-1].body["system"] == [{"text": "Be brief."}]


def test_settings_reach_the_wire(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Settings, additional_kwargs and a call's arguments go where Converse has them; the last one wins."""
    llm = make_llm(
        temperature=0.3,
        max_tokens=77,
        additional_kwargs={"top_p": 0.8, "requestMetadata": {"team": "blue"}},
        guardrail_identifier="guard",
        guardrail_version="1",
        guardrail_stream_processing_mode="async",
    )
    llm.chat(HELLO, temperature=0.5, stop=["END"], inferenceConfig={"maxTokens": 88})
    body = bedrock.requests[-1].body
    expected = {"temperature": 0.5, "maxTokens": 88, "topP": 0.8, "stopSequences": ["END"]}
    assert body["inferenceConfig"] == expected
    assert body["requestMetadata"] == {"team": "blue"}
    assert body["guardrailConfig"] == {"guardrailIdentifier": "guard", "guardrailVersion": "1"}
    assert llm.additional_kwargs == {"top_p": 0.8, "requestMetadata": {"team": "blue"}}


def test_nothing_is_sent_unasked(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Without settings the models behind the router decide temperature and length."""
    make_llm().chat(HELLO)
    assert set(bedrock.requests[-1].body) == {"messages"}


@pytest.mark.parametrize(
    ("model", "sent"), [(REFUSES_SAMPLING, {"maxTokens": 50}), ("us.anthropic.claude-sonnet-4-6", SAMPLING)]
)
def test_sampling_where_a_model_rejects_it(
    make_llm: Make, bedrock: LocalBedrock, model: str, sent: dict[str, Any]
) -> None:
    """Temperature and top_p are left out, with a warning, where a model that may answer rejects them."""
    llm = make_llm(bedrock.create_router("pair", [CLAUDE, model]), temperature=0.5, max_tokens=50)
    expected = contextlib.nullcontext() if sent is SAMPLING else pytest.warns(UserWarning, match="rejects")
    with expected:
        llm.chat(HELLO, top_p=0.9)
    assert bedrock.requests[-1].body["inferenceConfig"] == sent


def test_thinking_leaves_the_temperature_out(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A model that thinks rejects a temperature, so none is sent."""
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    make_llm(CLAUDE, thinking=thinking, temperature=0.3, max_tokens=4_000).chat(HELLO)
    body = bedrock.requests[-1].body
    assert body["inferenceConfig"] == {"maxTokens": 4_000}
    assert body["additionalModelRequestFields"] == {"thinking": thinking}


def test_another_model_for_one_call(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A call may name another model."""
    response = make_llm().chat(HELLO, model=LITE)
    assert bedrock.requests[-1].model_id == LITE
    assert response.additional_kwargs["bedrock_routing"]["router_arn"] is None


@pytest.mark.parametrize("way", WAYS)
async def test_errors_pass_through(make_llm: Make, bedrock: LocalBedrock, way: Callable[..., Any]) -> None:
    """Errors of botocore reach the caller, after one request: nothing but botocore retries."""
    bedrock.fail(Fault.throttling(), times=5)
    with pytest.raises(ClientError) as caught:
        await way(make_llm(LITE, max_retries=0), HELLO)
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    assert len([each for each in bedrock.requests if each.error]) == 1


@pytest.mark.parametrize("way", [stream, stream_async, stream_completed])
async def test_a_cut_stream(make_llm: Make, bedrock: LocalBedrock, way: Callable[..., Any]) -> None:
    """A stream that ends early is an error, not a short answer."""
    bedrock.fail(Fault(kind="cut"), operation="ConverseStream")
    with pytest.raises(IncompleteStreamError):
        await way(make_llm(), HELLO)


def test_a_long_answer_in_pieces() -> None:
    """Each item of a stream holds the whole text so far, and no item changes when the next one comes."""
    text = " ".join(f"word{number}" for number in range(60))
    with LocalBedrock(answers=FixedAnswer(text)) as bedrock:
        llm = BedrockRouter(model=LITE, region_name="us-east-1", endpoint_url=bedrock.endpoint_url)
        items = list(llm.stream_chat(HELLO))
    so_far = ""
    for each in items:
        so_far += each.delta or ""
        assert each.message.content == so_far
    assert so_far == text
