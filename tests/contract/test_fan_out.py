"""Many calls at once, as each framework makes them: every document is written once per model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.runnables import RunnableParallel
from llama_index.core.llms import ChatMessage

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_routing import fanout, remember_documents
from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = ("us.amazon.nova-pro-v1:0", "us.amazon.nova-lite-v1:0")
QUESTIONS = [f"Which page is number {number}?" for number in range(24)]
TEXTS = [
    "\n".join(f"{subject} chapter {number}: {number * 7} careful pages." for number in range(200))
    for subject in ("Tides", "Bridges")
]

Replies = list[tuple[str, Mapping[str, Any]]]
Settings = Mapping[str, Any]


def _langchain(model: str, where: Settings) -> tuple[ChatBedrockRouter, list[Any]]:
    prompts = [
        [SystemMessage(TEXTS[number % 2]), HumanMessage(question)]
        for number, question in enumerate(QUESTIONS)
    ]
    return ChatBedrockRouter(model=model, **where), prompts


def _of_messages(messages: list[Any]) -> Replies:
    return [(each.text, each.response_metadata["bedrock_routing"]) for each in messages]


def batch(model: str, where: Settings) -> Replies:
    """Ask with LangChain's `batch`."""
    llm, prompts = _langchain(model, where)
    return _of_messages(llm.batch(prompts, config={"max_concurrency": len(prompts)}))


def abatch(model: str, where: Settings) -> Replies:
    """Ask with LangChain's `abatch`."""
    llm, prompts = _langchain(model, where)
    return _of_messages(asyncio.run(llm.abatch(prompts)))


def parallel(model: str, where: Settings) -> Replies:
    """Ask with one LangChain `RunnableParallel`."""
    llm, prompts = _langchain(model, where)
    steps = {
        str(number): (lambda _, prompt=prompt: llm.invoke(prompt)) for number, prompt in enumerate(prompts)
    }
    answers = RunnableParallel(steps).invoke("", config={"max_concurrency": len(prompts)})  # type: ignore[arg-type]
    return _of_messages([answers[number] for number in steps])


def gather(model: str, where: Settings) -> Replies:
    """Ask with LlamaIndex, all in one event loop."""
    llm = BedrockRouter(model=model, **where)

    async def ask(number: int) -> tuple[str, Mapping[str, Any]]:
        messages = [
            ChatMessage(role="system", content=TEXTS[number % 2]),
            ChatMessage(role="user", content=QUESTIONS[number]),
        ]
        response = await llm.achat(messages)
        return response.message.content or "", response.additional_kwargs["bedrock_routing"]

    async def all_of_them() -> Replies:
        return list(await asyncio.gather(*(ask(number) for number in range(len(QUESTIONS)))))

    return asyncio.run(all_of_them())


WAYS: tuple[Callable[[str, Settings], Replies], ...] = (batch, abatch, parallel, gather)


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the others time to arrive, however busy the machine is."""
    monkeypatch.setattr(fanout, "_LOOK_AROUND", 0.2)


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    """Serve a Bedrock that repeats the question, after a moment."""
    with LocalBedrock(
        answers=FixedAnswer("{question}"), latency=0.3, tokens="fast", routing="alternate"
    ) as served:
        yield served


@pytest.fixture
def where(bedrock: LocalBedrock) -> Settings:
    """Return what both frameworks' models need to find it."""
    remember_documents(TEXTS)
    return {"endpoint_url": bedrock.endpoint_url, "region_name": "us-east-1", "max_retries": 0}


def writers(bedrock: LocalBedrock) -> list[tuple[str, str]]:
    """Return model and document of each call that wrote."""
    return [
        (str(each.invoked_model), each.body["system"][0]["text"][:5])
        for each in bedrock.requests
        if each.usage and each.usage.get("cacheWriteInputTokens")
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("models", [(CLAUDE,), NOVA], ids=["one Claude", "Nova router"])
def test_each_document_is_written_once_per_model(
    bedrock: LocalBedrock, where: Settings, models: tuple[str, ...], way: Callable[[str, Settings], Replies]
) -> None:
    """Twenty-four questions over two documents: one write per model and document, answers in their order."""
    model = models[0] if len(models) == 1 else bedrock.create_router("nova", list(models))
    replies = way(model, where)
    assert [text for text, _ in replies] == QUESTIONS
    assert all(receipt["cache"]["read"] or receipt["cache"]["write"] for _, receipt in replies)
    assert len(writers(bedrock)) == len(set(writers(bedrock))) == len(models) * len(TEXTS)


def test_an_error_stays_with_its_question(bedrock: LocalBedrock, where: Settings) -> None:
    """One question of a batch is throttled; the others are answered, in their places."""
    bedrock.fail(Fault.throttling(), operation="ConverseStream")
    llm, prompts = _langchain(CLAUDE, where)
    answers: list[Any] = llm.batch(prompts, config={"max_concurrency": len(prompts)}, return_exceptions=True)
    failed = [number for number, each in enumerate(answers) if isinstance(each, Exception)]
    assert len(failed) == 1
    assert all(each.text == QUESTIONS[number] for number, each in enumerate(answers) if number not in failed)
    assert len(writers(bedrock)) == len(TEXTS)
