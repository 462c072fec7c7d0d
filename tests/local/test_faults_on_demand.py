"""Faults that tests ask for, seen through unmodified boto3."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.eventstream import ChecksumMismatch
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EventStreamError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from local_support import ANSWER, NOVA, question
from urllib3.exceptions import ProtocolError

from bedrock_local import Fault, FixedAnswer, LocalBedrock
from bedrock_local.errors import STATUSES

ASKED: dict[str, Any] = {"modelId": NOVA, "messages": [question()]}
EXCEPTIONS = [
    "ValidationException",
    "ServiceQuotaExceededException",
    "AccessDeniedException",
    "ResourceNotFoundException",
    "ModelTimeoutException",
    "ModelErrorException",
    "ThrottlingException",
    "ModelNotReadyException",
    "InternalServerException",
    "ServiceUnavailableException",
]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exception_has_its_status_and_type(bedrock: LocalBedrock, runtime: Any, name: str) -> None:
    """boto3 raises the class of each exception with the service's status."""
    bedrock.fail(Fault.error(name))
    with pytest.raises(getattr(runtime.exceptions, name)) as caught:
        runtime.converse(**ASKED)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == STATUSES[name]
    assert caught.value.response["Error"]["Message"]
    assert runtime.converse(**ASKED)["stopReason"] == "end_turn"


def test_model_error_carries_what_stands_beside_its_message(bedrock: LocalBedrock, runtime: Any) -> None:
    """The original status and the resource of a model error reach the caller."""
    bedrock.fail(Fault.error("ModelErrorException", "it broke"))
    with pytest.raises(runtime.exceptions.ModelErrorException, match="it broke") as caught:
        runtime.converse(**ASKED)
    assert caught.value.response["originalStatusCode"] == 500
    assert caught.value.response["resourceName"] == "model"


@pytest.mark.parametrize("name", ["ConflictException", "TooManyTagsException", "ResourceInUseException"])
def test_control_plane_exceptions(bedrock: LocalBedrock, control: Any, name: str) -> None:
    """The control plane's own exceptions are known by name too."""
    bedrock.fail(Fault.error(name), operation="ListPromptRouters")
    with pytest.raises(ClientError) as caught:
        control.list_prompt_routers()
    assert caught.value.response["Error"]["Code"] == name


@pytest.mark.parametrize(("times", "attempts", "fails"), [(2, 3, False), (3, 3, True)])
def test_throttling_is_retried_by_boto3(
    bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch, times: int, attempts: int, fails: bool
) -> None:
    """Two throttled attempts are retried away, the third is raised."""
    impatient = SimpleNamespace(sleep=lambda _seconds: None, time=time.time)
    monkeypatch.setattr("botocore.endpoint.time", impatient)
    client = bedrock.client(retries={"mode": "standard", "total_max_attempts": attempts})
    bedrock.fail(Fault.throttling(), times=times)
    if fails:
        with pytest.raises(client.exceptions.ThrottlingException, match="reached max retries: 2"):
            client.converse(**ASKED)
    else:
        assert client.converse(**ASKED)["ResponseMetadata"]["RetryAttempts"] == 2
    assert [request.error for request in bedrock.requests].count("ThrottlingException") == times


def test_denied_permission_hits_one_operation_only(bedrock: LocalBedrock, runtime: Any, control: Any) -> None:
    """An identity without GetPromptRouter may still converse."""
    arn = bedrock.router_arn("amazon.nova:1")
    bedrock.fail(Fault.denied("GetPromptRouter", arn), times=2, operation="GetPromptRouter")
    for _ in range(2):
        with pytest.raises(
            control.exceptions.AccessDeniedException,
            match=r"not authorized to perform: bedrock:GetPromptRouter",
        ):
            control.get_prompt_router(promptRouterArn=arn)
        runtime.converse(**ASKED)
    assert control.get_prompt_router(promptRouterArn=arn)["promptRouterArn"] == arn


def test_dead_model_behind_a_router_that_lists_as_available(bedrock: LocalBedrock, runtime: Any) -> None:
    """The default Anthropic router fails on the call, and so does a router on demand."""
    for model, fault in ((bedrock.router_arn("anthropic.claude:1"), None), (NOVA, Fault.dead_model())):
        if fault:
            bedrock.fail(fault)
        with pytest.raises(runtime.exceptions.ResourceNotFoundException, match="reached the end of its life"):
            runtime.converse(modelId=model, messages=[question()])


def test_silent_server_times_out(bedrock: LocalBedrock) -> None:
    """A server that never answers ends in botocore's read timeout."""
    client = bedrock.client(read_timeout=0.1, retries={"total_max_attempts": 1})
    bedrock.fail(Fault.timeout(0.4))
    with pytest.raises(ReadTimeoutError):
        client.converse(**ASKED)


def test_reset_connection(bedrock: LocalBedrock, runtime: Any) -> None:
    """A connection that breaks without a reply is botocore's connection error."""
    bedrock.fail(Fault.reset())
    with pytest.raises((ConnectionClosedError, ConnectionError)):
        runtime.converse(**ASKED)


def test_stopped_server_refuses_connections() -> None:
    """After the `with` block nobody listens any more."""
    with LocalBedrock(answers=FixedAnswer()) as bedrock:
        client = bedrock.client(retries={"total_max_attempts": 1})
        client.converse(**ASKED)
    with pytest.raises(Exception, match=r"(?i)connect|closed"):
        client.converse(**ASKED)


def test_cut_stream_ends_without_an_error(bedrock: LocalBedrock, runtime: Any) -> None:
    """Botocore takes a stream that ends early for a whole one: no messageStop, no exception."""
    bedrock.fail(Fault.cut(after_events=2))
    events = list(runtime.converse_stream(**ASKED)["stream"])
    assert [next(iter(event)) for event in events] == ["messageStart", "contentBlockDelta"]


def test_reset_stream_raises(bedrock: LocalBedrock, runtime: Any) -> None:
    """A connection that breaks in the middle of an event is an error of the stream."""
    bedrock.fail(Fault.cut(after_events=2, reset=True))
    stream = runtime.converse_stream(**ASKED)["stream"]
    with pytest.raises((ResponseStreamingError, ProtocolError)):
        list(stream)


@pytest.mark.parametrize(
    "name",
    [
        "InternalServerException",
        "ModelStreamErrorException",
        "ValidationException",
        "ThrottlingException",
        "ServiceUnavailableException",
    ],
)
def test_exception_in_a_stream_has_a_camel_case_code(bedrock: LocalBedrock, runtime: Any, name: str) -> None:
    """In a stream the code begins with a small letter, as botocore reads it off the wire."""
    bedrock.fail(Fault.exception_in_stream(name, "too much", after_events=1))
    stream = runtime.converse_stream(**ASKED)["stream"]
    with pytest.raises(EventStreamError, match="too much") as caught:
        list(stream)
    assert caught.value.response["Error"]["Code"] == name[0].lower() + name[1:]


def test_unmodelled_error_in_a_stream(bedrock: LocalBedrock, runtime: Any) -> None:
    """An error that the model does not know is raised with its code and text."""
    bedrock.fail(Fault.error_in_stream("Strange", "something else", after_events=0))
    with pytest.raises(EventStreamError, match="something else"):
        list(runtime.converse_stream(**ASKED)["stream"])


def test_wrong_checksum(bedrock: LocalBedrock, runtime: Any) -> None:
    """A damaged event is noticed by botocore."""
    bedrock.fail(Fault.bad_crc(after_events=1))
    with pytest.raises(ChecksumMismatch):
        list(runtime.converse_stream(**ASKED)["stream"])


def test_drip_waits_before_each_event(bedrock: LocalBedrock, runtime: Any, clock: Any) -> None:
    """A slow stream is whole, and takes the time that was asked for."""
    bedrock.fail(Fault.drip(10))
    events = list(runtime.converse_stream(**ASKED)["stream"])
    assert "metadata" in events[-1]
    assert clock.now() == 10 * len(events)


def test_stream_faults_wait_for_a_stream(bedrock: LocalBedrock, runtime: Any) -> None:
    """A plain call leaves a queued stream fault for the next stream."""
    bedrock.fail(Fault.cut(after_events=0))
    assert runtime.converse(**ASKED)["output"]["message"]["content"] == [{"text": ANSWER}]
    assert list(runtime.converse_stream(**ASKED)["stream"]) == []
