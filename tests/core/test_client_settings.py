from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError, ParamValidationError

from bedrock_local import Fault, LocalBedrock
from bedrock_routing import CachePolicy, ConfigurationError, Ledger, Receipt, RoutedClient, engine
from bedrock_routing.turn import Turn

Connect = Callable[..., RoutedClient]
POINT = {"cachePoint": {"type": "default"}}
LLAMA = "meta.llama3-1-8b-instruct-v1:0"


def user(text: str = "Hello?") -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text}]}


def notes(error: BaseException) -> str:
    return " ".join(getattr(error, "__notes__", []))


def test_without_caching_a_request_is_untouched(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """`cache=False` sends what was written, also the caller's own points, and still accounts."""
    client = connect(bedrock, "amazon.nova:1", cache=False)
    request = {"system": [{"text": document}, POINT], "messages": [user()]}
    receipt = client.converse(**request)["bedrock_routing"]
    assert bedrock.requests[-1].body == request
    assert (receipt["cache"]["points"], receipt["cache"]["write"] > 2_000) == (["system.1"], True)
    client.converse(system=[{"text": document}], messages=[user()])
    assert bedrock.requests[-1].body == {"system": [{"text": document}], "messages": [user()]}


def test_points_of_the_caller_are_kept(bedrock: LocalBedrock, connect: Connect, document: str) -> None:
    """A legal point that the caller placed goes out where it was, beside the automatic ones."""
    client = connect(bedrock, "amazon.nova:1")
    receipt = client.converse(system=[{"text": document}, POINT, {"text": "Be brief."}], messages=[user()])
    assert bedrock.requests[-1].body["system"] == [{"text": document}, POINT, {"text": "Be brief."}]
    assert receipt["bedrock_routing"]["cache"]["points"] == ["system.1"]


def test_illegal_points_of_the_caller_are_dropped_with_a_reason(
    bedrock: LocalBedrock, connect: Connect, document: str
) -> None:
    """A point that the service would refuse does not go out; the receipt says why."""
    client = connect(bedrock, "amazon.nova:1")
    tool = {"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}
    reply = client.converse(
        toolConfig={"tools": [tool, POINT]},
        system=[POINT, {"text": document}],
        messages=[user()],
    )
    sent = bedrock.requests[-1].body
    assert sent["toolConfig"] == {"tools": [tool]}
    assert sent["system"][0] == {"text": document}
    reasons = {(each["path"], each["reason"]) for each in reply["bedrock_routing"]["cache"]["skipped"]}
    assert {
        ("system.0", "nothing before it in its list"),
        ("toolConfig.tools.0", "these models take no cache point in tools"),
    } <= reasons


@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
def test_a_failing_planner_breaks_no_call(
    bedrock: LocalBedrock, connect: Connect, monkeypatch: pytest.MonkeyPatch, operation: str, document: str
) -> None:
    """When planning raises, the request goes out as it was written, and the receipt says so."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no plan")

    monkeypatch.setattr(engine, "choose_points", broken)
    ledger = Ledger()
    reply = getattr(connect(bedrock, "amazon.nova:1", ledger=ledger), operation)(
        system=[{"text": document}, POINT], messages=[user()]
    )
    list(reply.get("stream", ()))
    assert bedrock.requests[-1].body["system"] == [{"text": document}, POINT]
    (receipt,) = ledger.receipts
    assert [each.reason for each in receipt.skipped] == ["planning failed; see the log"]


def test_failing_accounts_break_no_call(
    bedrock: LocalBedrock, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When accounting or a ledger raises, the answer still comes back."""

    class Broken(Ledger):
        def add(self, receipt: Receipt) -> None:
            raise RuntimeError("no ledger")

    assert connect(bedrock, "amazon.nova:1", ledger=Broken()).converse(messages=[user()])["stopReason"]

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no receipt")

    monkeypatch.setattr(Turn, "finish", broken)
    reply = connect(bedrock, "amazon.nova:1").converse(messages=[user()])
    assert (reply["stopReason"], reply["bedrock_routing"]["model"]) == ("end_turn", None)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("messages", ["Hello?", ["Hello?"], [None], 7, [{"role": "user", "content": 7}]])
def test_a_malformed_request_is_botocores_to_refuse(
    bedrock: LocalBedrock, connect: Connect, messages: Any, cache: bool
) -> None:
    """What boto3 calls a wrong parameter stays boto3's error, not one of reading the request."""
    with pytest.raises(ParamValidationError):
        connect(bedrock, "amazon.nova-lite-v1:0", cache=cache).converse(messages=messages)


def test_no_model_at_all_is_a_configuration_error(bedrock: LocalBedrock, connect: Connect) -> None:
    """A call that names no model, through a client that has none, says how to give one."""
    with pytest.raises(ConfigurationError, match="modelId="):
        connect(bedrock).converse(messages=[user()])


def test_the_model_of_a_call_goes_before_that_of_the_client(bedrock: LocalBedrock, connect: Connect) -> None:
    """`modelId=` of one call overrides the client's `model=`."""
    connect(bedrock, "amazon.nova:1").converse(modelId="amazon.nova-pro-v1:0", messages=[user()])
    assert bedrock.requests[-1].model_id == "amazon.nova-pro-v1:0"


def test_a_model_without_caching_can_be_an_error(bedrock: LocalBedrock, connect: Connect) -> None:
    """`on_unsupported='raise'` stops the call and says which model and how to go on."""
    client = connect(bedrock, LLAMA, cache=CachePolicy(on_unsupported="raise"))
    with pytest.raises(ConfigurationError, match="Set on_unsupported='ignore' to call it without"):
        client.converse(messages=[user()])
    assert bedrock.requests == []


def test_a_model_without_caching_can_be_warned_of_once(bedrock: LocalBedrock, connect: Connect) -> None:
    """`on_unsupported='warn'` warns once per target, at the line of the caller."""
    client = connect(bedrock, LLAMA, cache=CachePolicy(on_unsupported="warn"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.converse(messages=[user()])
        client.converse(messages=[user()])
    assert ["takes no cache points" in str(each.message) for each in caught] == [True]
    assert caught[0].filename == __file__


def test_another_script_is_warned_of_once_per_process(bedrock: LocalBedrock, connect: Connect) -> None:
    """Routers are tuned for English; a prompt in Cyrillic says so once, a model of one's own never."""
    prompt = user("Сколько платит арендатор в конце каждого месяца, и кому он платит?")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connect(bedrock, "amazon.nova-lite-v1:0").converse(messages=[prompt])
        assert caught == []
        threads = [
            threading.Thread(target=connect(bedrock, "amazon.nova:1").converse, kwargs={"messages": [prompt]})
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ["CYRILLIC" in str(each.message) for each in caught] == [True]


def test_a_missing_region_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore's own error carries a note with the setting."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "no-such-file")
    client = RoutedClient(lambda: boto3.Session().client("bedrock-runtime"), model="amazon.nova-lite-v1:0")
    with pytest.raises(NoRegionError) as caught:
        client.converse(messages=[user()])
    assert "region_name=" in notes(caught.value)


def test_missing_credentials_say_what_to_do(bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore's own error carries a note that names the ways."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "no-such-file")
    runtime = boto3.Session().client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=bedrock.endpoint_url
    )
    with pytest.raises(NoCredentialsError) as caught:
        RoutedClient(runtime, model="amazon.nova-lite-v1:0").converse(messages=[user()])
    assert "credentials" in notes(caught.value)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        (Fault.denied("InvokeModel", "*"), "every model behind it"),
        (Fault.throttling(), "quota"),
        (Fault.dead_model(), "Region and account"),
    ],
    ids=["denied", "throttled", "not found"],
)
def test_errors_of_the_service_say_what_to_do(
    bedrock: LocalBedrock, connect: Connect, fault: Fault, word: str
) -> None:
    """The error stays botocore's own and carries one note."""
    bedrock.fail(fault, operation="Converse")
    with pytest.raises(ClientError, match="when calling the Converse operation") as caught:
        connect(bedrock, "amazon.nova-lite-v1:0").converse(messages=[user()])
    assert word in notes(caught.value)
    assert len(caught.value.__notes__) == 1
