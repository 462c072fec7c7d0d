from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bedrock_local import FixedAnswer, LocalBedrock, ManualClock
from bedrock_routing import RoutedClient, cautions, remember_documents
from bedrock_routing.documents import process_memory


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test as a new process starts: nothing warned of, nothing remembered, no settings outside."""
    monkeypatch.setattr(cautions, "_warned", set())
    process_memory().clear()
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def clock() -> ManualClock:
    """Return the clock that the local Bedrock and the clients of a test share."""
    return ManualClock()


@pytest.fixture
def serve(clock: ManualClock) -> Iterator[Callable[..., LocalBedrock]]:
    """Return a function that starts a local Bedrock with the given settings, for the length of the test."""
    with ExitStack() as stack:

        def start(**settings: Any) -> LocalBedrock:
            chosen = {"answers": FixedAnswer(), "clock": clock, "tokens": "fast", **settings}
            return stack.enter_context(LocalBedrock(**chosen))

        yield start


@pytest.fixture
def bedrock(serve: Callable[..., LocalBedrock]) -> LocalBedrock:
    """Serve a local Bedrock with a fixed answer and a standing clock."""
    return serve()


@pytest.fixture
def connect(clock: ManualClock) -> Callable[..., RoutedClient]:
    """Return a function that makes a routed client of a local Bedrock; nothing is retried."""

    def make(bedrock: LocalBedrock, model: str | None = None, **settings: Any) -> RoutedClient:
        runtime = bedrock.client(retries={"total_max_attempts": 1})
        return RoutedClient(runtime, model=model, **{"clock": clock.now, **settings})

    return make


@pytest.fixture
def document() -> str:
    """Return a retrieved document of about 2,900 tokens that the process remembers."""
    text = " ".join(
        f"Clause {number} says that the tenant pays before the month ends." for number in range(200)
    )
    remember_documents([text])
    return text
