from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index_support import NOVA

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing.documents import process_memory
from llama_index_bedrock_routing import BedrockRouter, callbacks


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
    callbacks._newest.clear()


@pytest.fixture
def bedrock() -> Iterator[LocalBedrock]:
    with LocalBedrock(answers=FixedAnswer()) as local:
        yield local


@pytest.fixture
def custom_arn(bedrock: LocalBedrock) -> str:
    """Return the ARN of a router that says nothing about its models."""
    return bedrock.create_router("team-router", NOVA)


@pytest.fixture
def make_llm(bedrock: LocalBedrock) -> Callable[..., BedrockRouter]:
    def make(model: str = "amazon.nova:1", **settings: Any) -> BedrockRouter:
        return BedrockRouter(
            model=model, **{"region_name": "us-east-1", "endpoint_url": bedrock.endpoint_url, **settings}
        )

    return make


@pytest.fixture
def only_llm(make_llm: Callable[..., BedrockRouter], custom_arn: str) -> Iterator[None]:
    """Replace `Settings.llm`, and nothing else."""
    before = Settings._llm
    Settings.llm = make_llm(custom_arn)
    yield
    Settings._llm = before
