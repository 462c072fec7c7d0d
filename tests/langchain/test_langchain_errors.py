"""Errors as LangChain knows them: the table of docs/langchain.md, row by row, and what stays of each."""

import copy
import pickle
import re
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from langchain_aws.chat_models.bedrock_converse import BedrockContextOverflowError
from langchain_core import exceptions as kinds
from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langchain_support import LITE

from bedrock_local import Fault, LocalBedrock
from bedrock_routing import IncompleteStreamError
from langchain_bedrock_routing import (
    BedrockModelError,
    ChatBedrockRouter,
    is_retryable,
    routing_usage,
)
from langchain_bedrock_routing.errors import as_model_error

Make = Callable[..., ChatBedrockRouter]
DOCS = Path(__file__).parents[2] / "docs" / "langchain.md"
TOO_LONG = "Input is too long for requested model."
RETIRED = "a router whose model is retired"
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What goes wrong, in the words of the table, and how to provoke it."""

    says: str
    fault: Fault | None = None
    stream: bool = False
    model: str = "amazon.nova:1"
    settings: dict[str, Any] | None = None


def error(name: str, says: str | None = None, message: str | None = None) -> Case:
    return Case(says=says or f"`{name}`", fault=Fault.error(name, message))


def in_stream(name: str, says: str | None = None, *, after: int = 2, message: str | None = None) -> Case:
    fault = Fault.exception_in_stream(name, message, after_events=after)
    return Case(says=says or f"`{name}` in a stream", fault=fault, stream=True)


CASES = [
    error("ThrottlingException"),
    error("ModelNotReadyException"),
    error("ServiceQuotaExceededException"),
    error("AccessDeniedException"),
    error("ExpiredTokenException"),
    error("ResourceNotFoundException", "`ResourceNotFoundException`: a wrong model or ARN"),
    Case(says=RETIRED, model="anthropic.claude:1"),
    Case(says="a router's name that nobody has", model="Nobody Router"),
    Case(says="a model id that nobody has", model="nobody.model-v1:0"),
    error("ValidationException"),
    error("ValidationException", "a prompt that is too long", TOO_LONG),
    error("ModelTimeoutException"),
    error("ModelErrorException"),
    error("InternalServerException"),
    error("ServiceUnavailableException"),
    Case(says="no reply in time", fault=Fault.timeout(1), settings={"read_timeout": 0.2}),
    Case(says="a connection that is reset", fault=Fault.reset()),
    Case(says="an endpoint that cannot be reached", model=LITE, settings={"endpoint_url": NOWHERE}),
    in_stream("ThrottlingException", "`throttlingException` as the first event of a stream", after=0),
    in_stream("ThrottlingException"),
    in_stream("ModelStreamErrorException"),
    in_stream("InternalServerException"),
    in_stream("ServiceUnavailableException"),
    in_stream("ValidationException"),
    in_stream("ValidationException", "a prompt that is too long, said in the stream", message=TOO_LONG),
    Case(says="an unknown error in a stream", fault=Fault.error_in_stream("odd", "odd"), stream=True),
    Case(says="a stream that ends early", fault=Fault.cut(), stream=True),
    Case(says="a stream whose connection is reset", fault=Fault.cut(reset=True), stream=True),
    Case(says="a damaged event in a stream", fault=Fault.bad_crc(), stream=True),
    Case(says="no event in time", fault=Fault.drip(1), stream=True, settings={"read_timeout": 0.2}),
]


@pytest.fixture(autouse=True)
def _botocore_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore send again at once."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=time.time))


def llm_for(bedrock: LocalBedrock, case: Case) -> ChatBedrockRouter:
    settings = dict(case.settings or {})
    endpoint = settings.pop("endpoint_url", bedrock.endpoint_url)
    return ChatBedrockRouter(
        model=case.model,
        region_name="us-east-1",
        endpoint_url=endpoint,
        config=Config(**settings),
    )


def provoke(bedrock: LocalBedrock, case: Case) -> tuple[Exception, int, list[Any]]:
    """Return the error, how often the call was sent, and the receipts of it."""
    llm = llm_for(bedrock, case)
    operation = "ConverseStream" if case.stream else "Converse"
    if case.fault is not None:
        bedrock.fail(case.fault, times=9, operation=operation)
    sent: list[str] = []
    llm.client.meta.events.register("before-send.bedrock-runtime", lambda **_: sent.append(operation))
    ask = llm.stream if case.stream else llm.invoke
    with routing_usage() as usage, pytest.raises(Exception) as caught:  # noqa: PT011 - any: it is the result
        list(ask("Hello there"))
    return caught.value, len(sent), list(usage.receipts)


def own_class(raised: Exception) -> type[BaseException]:
    return next(each for each in type(raised).__mro__[1:] if each is not BedrockModelError)


def row_of(case: Case, raised: Exception, sent: int, receipts: Sequence[Any]) -> str:
    """Write what was seen as a row of the table."""
    kind = next(each for each in type(raised).__mro__ if each.__module__ == kinds.__name__)
    retryable = "yes" if is_retryable(raised) else "no"
    held = "none" if not receipts else "incomplete" if receipts[0].usage is None else "whole"
    names = f"`{own_class(raised).__name__}` | `{kind.__name__}`"
    return f"| {case.says} | {names} | {sent} | {retryable} | {held} |"


def rows_of_docs() -> list[str]:
    section = DOCS.read_text(encoding="utf-8").split("## Errors")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_the_table_of_errors(bedrock: LocalBedrock, case: Case) -> None:
    """Each row of the documentation's table says what the fault, provoked on the wire, really does."""
    raised, sent, receipts = provoke(bedrock, case)
    assert isinstance(raised, BedrockModelError)
    assert raised.receipt == (receipts[0].to_dict() if receipts else None)
    assert row_of(case, raised, sent, receipts) in rows_of_docs()


def test_the_table_has_a_case_for_each_row() -> None:
    """No row of the table goes unprovoked."""
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows_of_docs()] == [each.says for each in CASES]


# What an error is

PATHS = ("invoke", "ainvoke", "stream", "astream")


async def call(llm: Any, path: str) -> None:
    if path == "ainvoke":
        await llm.ainvoke("Hello there")
    elif path == "astream":
        async for _ in llm.astream("Hello there"):
            pass
    elif path == "stream":
        list(llm.stream("Hello there"))
    else:
        llm.invoke("Hello there")


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_raises_all_classes(make_llm: Make, bedrock: LocalBedrock, path: str) -> None:
    """Whole or streamed, sync or async: botocore's class, the client's and LangChain's are caught."""
    llm = make_llm(LITE, max_retries=0)
    bedrock.fail(Fault.throttling())
    with pytest.raises(ModelRateLimitError) as caught:
        await call(llm, path)
    for each in (ClientError, llm.client.exceptions.ThrottlingException, BedrockModelError, ModelError):
        assert isinstance(caught.value, each)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert caught.value.operation_name in {"Converse", "ConverseStream"}


def test_what_was_known_of_an_error_stays(make_llm: Make, bedrock: LocalBedrock) -> None:
    """The advice is there once, the traceback reaches where it happened, and no second error is shown."""
    bedrock.fail(
        Fault.denied("InvokeModel", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0")
    )
    with pytest.raises(ModelPermissionDeniedError, match="not authorized") as caught:
        make_llm(LITE).invoke("Hello there")
    text = "".join(traceback.format_exception(caught.value))
    assert len(re.findall("needs bedrock:InvokeModel", text)) == 1
    assert "_make_api_call" in text
    assert "another exception occurred" not in text


def test_a_cut_stream_keeps_its_cause_and_receipt(make_llm: Make, bedrock: LocalBedrock) -> None:
    """A stream that was reset is still an IncompleteStreamError with its cause, and holds its receipt."""
    bedrock.fail(Fault.cut(reset=True))
    with pytest.raises(IncompleteStreamError, match="cut off") as caught:
        list(make_llm(LITE).stream("Hello there"))
    assert isinstance(caught.value, ModelConnectionError | ConnectionError)
    assert type(caught.value.__cause__).__name__ == "ProtocolError"
    assert caught.value.receipt is not None
    assert caught.value.receipt["complete"] is False


def test_an_overflow_stays_the_one_of_langchain_aws(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Code that catches langchain-aws's own class of a prompt that is too long still does."""
    llm = make_llm(LITE)
    bedrock.fail(Fault.error("ValidationException", TOO_LONG))
    with pytest.raises(BedrockContextOverflowError) as caught:
        llm.invoke("Hello there")
    assert isinstance(caught.value, ContextOverflowError)
    assert isinstance(caught.value, llm.client.exceptions.ValidationException)


def test_an_overflow_is_seen_without_langchain_aws() -> None:
    """An error that does not pass through langchain-aws is read by the same words."""
    reply = {"Error": {"Code": "validationException", "Message": "prompt is too long: 9 tokens > 8 maximum"}}
    assert isinstance(as_model_error(EventStreamError(reply, "ConverseStream")), BedrockContextOverflowError)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("Odd", 401, kinds.ModelAuthenticationError),
        ("Odd", 403, ModelPermissionDeniedError),
        ("Odd", 404, ModelNotFoundError),
        ("Odd", 408, ModelTimeoutError),
        ("Odd", 429, ModelRateLimitError),
        ("Odd", 418, ModelInvalidRequestError),
        ("Odd", 502, ModelAPIError),
        ("UnrecognizedClientException", 403, kinds.ModelAuthenticationError),
    ],
)
def test_a_name_that_is_not_known_goes_by_its_status(code: str, status: int, kind: type[ModelError]) -> None:
    """An error of an unknown name is of the kind of its HTTP status; a known name comes first."""
    reply: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    assert isinstance(as_model_error(ClientError(reply, "Converse")), kind)


def test_errors_of_others_pass_as_they_are() -> None:
    """What is nothing of the service's is not touched, nor is what is known already."""
    strange = KeyError("mine")
    assert as_model_error(strange) is strange
    known = as_model_error(ClientError({"Error": {"Code": "ThrottlingException"}}, "Converse"))
    assert as_model_error(known) is known


def test_credentials_that_langchain_aws_reports(make_llm: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """langchain-aws says ValueError where there is no such profile: it is that, and of LangChain's kind."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    llm = make_llm("amazon.nova-lite-v1:0", credentials_profile_name="nobody")
    with pytest.raises(kinds.ModelAuthenticationError, match="nobody") as caught:
        llm.invoke("Hello there")
    assert isinstance(caught.value, ValueError)


PICKLED = [
    RETIRED,
    "`ThrottlingException`",
    "a prompt that is too long, said in the stream",
    "a stream whose connection is reset",
    "no event in time",
]


@pytest.mark.parametrize("case", [each for each in CASES if each.says in PICKLED], ids=lambda case: case.says)
def test_an_error_survives_the_way_to_another_process(bedrock: LocalBedrock, case: Case) -> None:
    """Pools pickle errors: kind, text, notes, receipt and retryability arrive; boto3's own classes cannot."""
    raised, *_ = provoke(bedrock, case)
    assert isinstance(raised, BedrockModelError)
    for again in (pickle.loads(pickle.dumps(raised)), copy.copy(raised)):
        assert isinstance(again, BedrockModelError)
        assert str(again) == str(raised)
        assert (again.receipt, again.is_retryable) == (raised.receipt, raised.is_retryable)
        assert getattr(again, "__notes__", []) == getattr(raised, "__notes__", [])
        for each in (ClientError, ModelError, BedrockContextOverflowError, IncompleteStreamError, OSError):
            assert isinstance(again, each) == isinstance(raised, each) or case.says == RETIRED
        assert pickle.dumps(again)


def test_the_classes_are_made_once(make_llm: Make, bedrock: LocalBedrock) -> None:
    """Two errors of one client and kind have one class."""
    llm = make_llm(LITE, max_retries=0)
    bedrock.fail(Fault.throttling(), times=2)
    with pytest.raises(ModelRateLimitError) as first:
        llm.invoke("Hello there")
    with pytest.raises(ModelRateLimitError) as second:
        llm.invoke("Hello there")
    assert type(first.value) is type(second.value)
