from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
import pytest
from langchain_support import NOVA, ToolRounds

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing.documents import process_memory
from langchain_bedrock_routing import ChatBedrockRouter


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give boto3 credentials that no service knows, and nothing of the machine's own settings."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def _no_remembered_documents() -> None:
    """Let no test find documents that another one retrieved."""
    process_memory().clear()


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    with LocalBedrock(answers=FixedAnswer()) as local:
        yield local


@pytest.fixture
def custom_arn(bedrock: LocalBedrock) -> str:
    """Return the ARN of a router that says nothing about its models."""
    return bedrock.create_router("team-router", NOVA)


@pytest.fixture
def make_llm(bedrock: LocalBedrock) -> Callable[..., ChatBedrockRouter]:
    def make(model: str = "amazon.nova:1", **settings: Any) -> ChatBedrockRouter:
        return ChatBedrockRouter(
            model=model, **{"region_name": "us-east-1", "endpoint_url": bedrock.endpoint_url, **settings}
        )

    return make


@pytest.fixture
def serve() -> Iterator[Callable[..., LocalBedrock]]:
    """Return a function that starts a local Bedrock whose answers call tools, for the length of the test."""
    running: list[LocalBedrock] = []

    def start(*widths: int, say: str = "", tools: Sequence[str] = ("look",), **settings: Any) -> LocalBedrock:
        answers = ToolRounds(*widths, say=say, tools=tools)
        running.append(LocalBedrock(answers=answers, **settings).start())
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what boto3 clients are made of, as they are made."""
    clients: list[dict[str, Any]] = []
    original = boto3.session.Session.client

    def client(self: Any, service_name: str, **settings: Any) -> Any:
        clients.append({"service": service_name, **settings})
        return original(self, service_name, **settings)

    monkeypatch.setattr(boto3.session.Session, "client", client)
    return clients
