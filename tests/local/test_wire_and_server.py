"""What stands on the wire, and how the server behaves under many connections."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from local_support import ANSWER, CLAUDE, NOVA, POINT, question, raw, raw_converse, text

from bedrock_local import FixedAnswer, LocalBedrock, Pace

ROOT = Path(__file__).resolve().parents[2]
ROUTER = "arn:aws:bedrock:us-east-1:123412341234:default-prompt-router/amazon.nova:1"
BODY = {"messages": [question()]}


@pytest.mark.parametrize("safe", ["", ":", "/", ":/"])
def test_router_arn_in_the_path_may_be_encoded_or_bare(bedrock: LocalBedrock, safe: str) -> None:
    """The path is split before it is decoded, so the slash of an ARN does no harm either way."""
    status, _, body = raw(bedrock, "POST", f"/model/{quote(ROUTER, safe=safe)}/converse", BODY)
    assert status == 200
    assert "promptRouter" in json.loads(body)["trace"]
    assert bedrock.requests[-1].model_id == ROUTER


def test_error_reply_has_the_services_headers_and_body(bedrock: LocalBedrock) -> None:
    """An error names its type in a header and its text under `message`."""
    status, headers, body = raw(bedrock, "POST", "/model/does-not-exist/converse", BODY)
    assert status == 400
    assert headers["x-amzn-errortype"] == (
        "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"
    )
    assert len(headers["x-amzn-requestid"]) == 36
    assert json.loads(body) == {"message": "The provided model identifier is invalid."}


@pytest.mark.parametrize(
    ("request_line", "sent", "status", "words"),
    [
        ("GET /nowhere", None, 404, "does not serve GET /nowhere"),
        (f"POST /model/{NOVA}/invoke", {}, 400, "does not serve InvokeModel"),
        (f"POST /model/{NOVA}/converse", b"{", 400, "not valid JSON"),
        (f"POST /model/{NOVA}/converse", b"[1]", 400, "not a JSON object"),
    ],
)
def test_what_is_not_served_is_said_so(
    bedrock: LocalBedrock, request_line: str, sent: Any, status: int, words: str
) -> None:
    """An unknown route, an operation that is not imitated and a broken body get a clear error."""
    got, _, body = raw(bedrock, *request_line.split(), sent)
    assert got == status
    assert words in json.loads(body)["message"]


def test_chunked_request_body_is_read(bedrock: LocalBedrock) -> None:
    """A body without a length is put together from its chunks."""
    connection = http.client.HTTPConnection(bedrock.endpoint_url.removeprefix("http://"), timeout=5)
    sent = json.dumps(BODY).encode()
    connection.request(
        "POST", f"/model/{NOVA}/converse", body=iter([sent[:9], sent[9:]]), encode_chunked=True
    )
    assert connection.getresponse().status == 200
    connection.close()


def test_connection_is_kept_alive(bedrock: LocalBedrock) -> None:
    """Several calls use one connection."""
    connection = http.client.HTTPConnection(bedrock.endpoint_url.removeprefix("http://"), timeout=5)
    connection.connect()
    used = connection.sock
    for _ in range(3):
        connection.request("POST", f"/model/{NOVA}/converse", body=json.dumps(BODY))
        assert connection.getresponse().read()
        assert connection.sock is used
    connection.close()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"messages": [{"role": "bot", "content": []}]}, "enum value set"),
        ({"messages": [{"role": "user"}]}, "Missing required parameter"),
        ({"messages": [{"role": "user", "content": [{"txt": "x"}]}]}, "txt"),
        ({**BODY, "inferenceConfig": {"temperature": 1.5}}, "less than or equal to 1"),
        ({**BODY, "inferenceConfig": {"maxTokens": 0}}, "maxTokens"),
        ({**BODY, "surprise": True}, "surprise"),
        ({**BODY, "system": [{"text": "x"}, {"cachePoint": {}}]}, "type"),
        ({**BODY, "system": [{"text": "x"}, {"cachePoint": {"type": "other"}}]}, "enum value set"),
        ({**BODY, "system": [{"text": "x"}, {"cachePoint": {"type": "default", "ttl": "9m"}}]}, "enum"),
    ],
)
def test_request_outside_the_service_model_is_refused(
    bedrock: LocalBedrock, body: dict[str, Any], words: str
) -> None:
    """Missing and unknown members, wrong enums and values out of range are validation errors."""
    status, headers, reply = raw(bedrock, "POST", f"/model/{NOVA}/converse", body)
    assert status == 400
    assert headers["x-amzn-errortype"].startswith("ValidationException:")
    assert words in json.loads(reply)["message"]


def test_two_hundred_connections_at_once(bedrock: LocalBedrock) -> None:
    """Two hundred clients that connect in the same moment all get their answer."""
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(raw(bedrock, "POST", f"/model/{NOVA}/converse", BODY)[0])

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert statuses == [200] * 200
    assert len(bedrock.requests) == 200


def test_requests_are_recorded_with_what_became_of_them(bedrock: LocalBedrock, runtime: Any) -> None:
    """Each call leaves its operation, model, body, headers, usage and error."""
    runtime.converse(modelId=ROUTER, messages=[question("Hello?")])
    with pytest.raises(runtime.exceptions.ValidationException):
        runtime.converse_stream(modelId="nobody.knows", messages=[question()])
    done, failed = bedrock.requests
    assert (done.operation, done.model_id, done.invoked_model) == ("Converse", ROUTER, NOVA)
    assert done.body == {"messages": [question("Hello?")]}
    assert done.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=local/")
    assert (done.usage or {})["inputTokens"] > 0
    assert (failed.operation, failed.error, failed.usage) == ("ConverseStream", "ValidationException", None)
    bedrock.clear()
    assert bedrock.requests == []


def test_record_keeps_the_latest_calls_only() -> None:
    """The record is bounded."""
    with LocalBedrock(answers=FixedAnswer(), keep_requests=2) as bedrock:
        for number in range(4):
            raw_converse(bedrock, NOVA, [question(str(number))])
        kept = [request.body["messages"][0]["content"][0]["text"] for request in bedrock.requests]
        assert kept == ["2", "3"]


def test_client_signs_even_where_a_bearer_token_is_set(
    bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Botocore would refuse a bearer token over plain http, so the client forces SigV4."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "secret")
    bedrock.client().converse(modelId=NOVA, messages=[question()])
    assert bedrock.requests[-1].headers["authorization"].startswith("AWS4-HMAC-SHA256")


def test_simulated_pace_spares_the_time_of_cached_tokens(clock: Any) -> None:
    """A prefix that is read from the cache takes no prompt time; the reply says the simulated latency."""
    pace = Pace(prompt_tokens_per_second=1000, output_tokens_per_second=10, first_token_seconds=0.5)
    with LocalBedrock(answers=FixedAnswer(ANSWER), pace=pace, clock=clock) as bedrock:
        client = bedrock.client()
        asked = {"modelId": CLAUDE, "system": [text(3000), POINT], "messages": [question()]}
        cold, warm = (client.converse(**asked) for _ in range(2))
        writing = cold["usage"]["outputTokens"] / 10
        prompt = (cold["usage"]["inputTokens"] + cold["usage"]["cacheWriteInputTokens"]) / 1000
        assert cold["metrics"]["latencyMs"] == pytest.approx((0.5 + prompt + writing) * 1000, abs=2)
        fresh = warm["usage"]["inputTokens"] / 1000
        assert warm["metrics"]["latencyMs"] == pytest.approx((0.5 + fresh + writing) * 1000, abs=2)
        before = clock.now()
        *_, last = client.converse_stream(**asked)["stream"]
        assert clock.now() - before == pytest.approx(0.5 + fresh + writing, abs=0.01)
        assert last["metadata"]["metrics"]["latencyMs"] == pytest.approx(
            (0.5 + fresh + writing) * 1000, abs=2
        )


def test_latency_is_added_to_every_call(clock: Any) -> None:
    """A fixed latency passes once per call."""
    with LocalBedrock(answers=FixedAnswer(), latency=2.5, clock=clock) as bedrock:
        for _ in range(2):
            raw_converse(bedrock, NOVA, [question()])
    assert clock.now() == 5.0


def test_module_serves_on_a_port_until_it_is_ended() -> None:
    """`python -m bedrock_local 0` prints its address and answers there."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "bedrock_local", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().removeprefix("http://")
            connection = http.client.HTTPConnection(address, timeout=5)
            connection.request("GET", "/prompt-routers")
            assert b"Nova Prompt Router" in connection.getresponse().read()
            connection.close()
        finally:
            process.terminate()


def test_fixture_points_botocore_at_the_server(tmp_path: Path) -> None:
    """The plugin's fixture serves, and clients without any endpoint reach it."""
    (tmp_path / "test_it.py").write_text(
        """
import boto3

def test_it(local_bedrock):
    reply = boto3.Session().client("bedrock-runtime").converse(
        modelId=local_bedrock.router_arn("amazon.nova:1"),
        messages=[{"role": "user", "content": [{"text": "Hello?"}]}],
    )
    assert reply["output"]["message"]["content"] == [{"text": "This is a fixed answer."}]
    assert len(local_bedrock.requests) == 1
""",
        encoding="utf-8",
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "bedrock_local.pytest_plugin",
        "-p",
        "no:cacheprovider",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
