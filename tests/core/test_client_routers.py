from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, NoCredentialsError, SSLError
from botocore.parsers import ResponseParserError

from bedrock_local import Fault, LocalBedrock
from bedrock_routing import RetiredModelError, RoutedClient, RouterNotFoundError

Connect = Callable[..., RoutedClient]
Serve = Callable[..., LocalBedrock]
NOVA = ["amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"]
HELLO = [{"role": "user", "content": [{"text": "Hello?"}]}]


def deny(bedrock: LocalBedrock, *operations: str) -> None:
    for operation in operations:
        bedrock.fail(Fault.denied(operation, "*"), times=1_000, operation=operation)


def operations(bedrock: LocalBedrock) -> Counter[str]:
    return Counter(each.operation for each in bedrock.requests)


def points(reply: dict[str, Any]) -> list[str]:
    return reply["bedrock_routing"]["cache"]["points"]


def test_a_router_is_looked_up_once_from_twenty_threads(bedrock: LocalBedrock, connect: Connect) -> None:
    """However many threads begin at once, and however many clients they have, the service is asked once."""
    start = threading.Barrier(20)
    clients = [connect(bedrock, "amazon.nova:1") for _ in range(4)]

    def call(number: int) -> str:
        start.wait()
        return clients[number % 4].converse(messages=HELLO)["stopReason"]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(call, range(20)))
    assert answers == ["end_turn"] * 20
    assert operations(bedrock) == {"ListPromptRouters": 1, "Converse": 20}


def test_a_plain_model_asks_nothing_of_the_control_plane(bedrock: LocalBedrock, connect: Connect) -> None:
    """A model needs no look-up, so that no right is needed for it either."""
    connect(bedrock, "amazon.nova-lite-v1:0").converse(messages=HELLO)
    assert operations(bedrock) == {"Converse": 1}


def test_models_may_be_given_where_looking_up_is_not_allowed(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """Without `bedrock:GetPromptRouter` the caller's `models=` make caching possible from the first call."""
    deny(bedrock, "GetPromptRouter", "ListPromptRouters")
    client = connect(bedrock, bedrock.router_arn("amazon.nova:1"), models=NOVA)
    reply = client.converse(system=[{"text": document}], messages=HELLO)
    assert points(reply) == ["system.1"]


def test_models_are_learned_from_traces_where_looking_up_is_not_allowed(
    serve: Serve, connect: Connect, document: str
) -> None:
    """Once both models have answered, they are known, and points go out."""
    bedrock = serve(routing="alternate")
    deny(bedrock, "GetPromptRouter", "ListPromptRouters")
    client = connect(bedrock, bedrock.router_arn("amazon.nova:1"))
    replies = [client.converse(system=[{"text": document}], messages=HELLO) for _ in range(4)]
    assert [bool(points(reply)) for reply in replies] == [False, False, True, True]
    assert "bedrock:GetPromptRouter is not allowed" in str(replies[0]["bedrock_routing"]["cache"]["skipped"])
    assert operations(bedrock)["GetPromptRouter"] == 1


def test_one_model_that_always_answers_is_taken_for_the_router(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """After five answers of one model alone, its rules are used."""
    deny(bedrock, "GetPromptRouter", "ListPromptRouters")
    client = connect(bedrock, bedrock.router_arn("amazon.nova:1"))
    replies = [client.converse(system=[{"text": document}], messages=HELLO) for _ in range(6)]
    assert [bool(points(reply)) for reply in replies] == [False] * 5 + [True]


def test_listing_serves_where_only_that_is_allowed(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """Who may list routers but not get one is still told the models."""
    deny(bedrock, "GetPromptRouter")
    client = connect(bedrock, bedrock.router_arn("amazon.nova:1"))
    assert points(client.converse(system=[{"text": document}], messages=HELLO)) == ["system.1"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault.throttling(),
        Fault.error("InternalServerException"),
        Fault.error("ServiceUnavailableException"),
        Fault.error("ValidationException", "Not here."),
        Fault.error("ExpiredTokenException", "The security token included in the request is expired"),
        Fault.reset(),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.name}",
)
def test_trouble_on_the_control_plane_does_not_fail_a_call(
    bedrock: LocalBedrock, connect: Connect, fault: Fault
) -> None:
    """A router that is named by its ARN can be called whatever the look-up says."""
    for operation in ("GetPromptRouter", "ListPromptRouters"):
        bedrock.fail(fault, times=1_000, operation=operation)
    control = bedrock.client("bedrock", retries={"total_max_attempts": 1})
    client = connect(bedrock, bedrock.router_arn("amazon.nova:1"), control=control)
    assert client.converse(messages=HELLO)["stopReason"] == "end_turn"


def test_a_passing_trouble_on_the_control_plane_is_not_remembered(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """When the look-up failed once, a later call asks again."""
    control = bedrock.client("bedrock", retries={"total_max_attempts": 1})
    client = connect(bedrock, "amazon.nova:1", control=control)
    bedrock.fail(Fault.error("InternalServerException"), operation="ListPromptRouters")
    with pytest.raises(ClientError):
        client.converse(messages=HELLO)
    assert points(client.converse(system=[{"text": document}], messages=HELLO)) == ["system.1"]


def test_a_router_that_does_not_exist_is_named_with_those_that_do(
    bedrock: LocalBedrock, connect: Connect
) -> None:
    """A wrong name is an error that says which routers there are, also as a `LookupError`."""
    with pytest.raises(RouterNotFoundError, match="Nova Prompt Router") as caught:
        connect(bedrock, "Nova Rooter").converse(messages=HELLO)
    assert isinstance(caught.value, LookupError)
    assert bedrock.router_arn("meta.llama:1") in str(caught.value)
    assert "Converse" not in operations(bedrock)


def test_an_arn_that_does_not_exist_is_named_too(bedrock: LocalBedrock, connect: Connect) -> None:
    """The ARN of a router that is gone is found out before the call."""
    arn = "arn:aws:bedrock:us-east-1:123412341234:prompt-router/abcd1234efgh"
    with pytest.raises(RouterNotFoundError, match="Nova Prompt Router"):
        connect(bedrock, arn).converse(messages=HELLO)


def test_an_unknown_arn_is_not_taken_for_a_router_with_a_dead_model(
    bedrock: LocalBedrock, connect: Connect
) -> None:
    """Where the look-up is not allowed, a 404 of the call makes no claim about models."""
    deny(bedrock, "GetPromptRouter", "ListPromptRouters")
    arn = "arn:aws:bedrock:us-east-1:123412341234:prompt-router/abcd1234efgh"
    client = connect(bedrock, arn)
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.converse(messages=HELLO)
    assert "a model behind it is gone" not in str(caught.value)


@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
def test_a_router_with_dead_models_says_which(
    bedrock: LocalBedrock, connect: Connect, operation: str
) -> None:
    """The error names the models and the date, and is also botocore's own `ResourceNotFoundException`."""
    client = connect(bedrock, "anthropic.claude:1")
    gone = "claude-3-haiku-20240307 reached its end of life on 2026-09-10"
    with pytest.raises(RetiredModelError, match=gone) as caught:
        getattr(client, operation)(messages=HELLO)
    assert isinstance(caught.value, client.exceptions.ResourceNotFoundException)
    assert isinstance(caught.value, ClientError)
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert caught.value.router_arn == bedrock.router_arn("anthropic.claude:1")


def test_the_error_of_a_dead_router_keeps_its_cause(bedrock: LocalBedrock, connect: Connect) -> None:
    """The service's own error stands behind the one that explains it."""
    with pytest.raises(RetiredModelError) as caught:
        connect(bedrock, "anthropic.claude:1").converse(messages=HELLO)
    assert isinstance(caught.value.__cause__, ClientError)


def test_other_credentials_look_up_for_themselves(bedrock: LocalBedrock, connect: Connect) -> None:
    """A router's name stands for another ARN in another account, so what one account learned is its own."""
    connect(bedrock, "amazon.nova:1").converse(messages=HELLO)
    session = boto3.Session(aws_access_key_id="other", aws_secret_access_key="other")
    runtime = session.client("bedrock-runtime", region_name="us-east-1", endpoint_url=bedrock.endpoint_url)
    RoutedClient(runtime, model="amazon.nova:1").converse(messages=HELLO)
    assert operations(bedrock)["ListPromptRouters"] == 2


def test_the_control_plane_is_asked_with_the_clients_credentials(
    bedrock: LocalBedrock, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client with a profile or keys of its own resolves routers as itself, not as the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody-else")
    connect(bedrock, "amazon.nova:1").converse(messages=HELLO)
    assert ["Credential=local/" in each.headers["authorization"] for each in bedrock.requests] == [True] * 2


@pytest.mark.parametrize(
    "error",
    [ResponseParserError("<html>"), NoCredentialsError(), SSLError(endpoint_url="https://x", error="x")],
    ids=lambda error: type(error).__name__,
)
def test_a_control_plane_that_speaks_another_language_does_not_fail_a_call(
    bedrock: LocalBedrock, connect: Connect, error: Exception
) -> None:
    """A gateway that serves only the runtime answers look-ups with pages of its own; calls by ARN go on."""

    class Gateway:
        def __getattr__(self, name: str) -> Any:
            raise error

    client = connect(bedrock, bedrock.router_arn("amazon.nova:1"), control=Gateway())
    assert client.converse(messages=HELLO)["stopReason"] == "end_turn"


def test_an_unreachable_control_plane_is_waited_for_once(bedrock: LocalBedrock, connect: Connect) -> None:
    """In a network that only reaches the runtime, not every call waits for the look-up's timeouts."""
    asked: list[str] = []

    class Unreachable:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise ConnectTimeoutError(endpoint_url="https://bedrock.us-east-1.amazonaws.com")

    client = connect(bedrock, bedrock.router_arn("amazon.nova:1"), control=Unreachable())
    client.converse(messages=HELLO)
    waited = len(asked)
    for _ in range(3):
        client.converse(messages=HELLO)
    assert (len(asked), waited) == (waited, 1)
