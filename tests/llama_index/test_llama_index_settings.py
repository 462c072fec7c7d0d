"""How the LLM is configured, stored and copied; which errors it makes of wrong settings."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import NoRegionError
from llama_index.core.llms import ChatMessage
from llama_index_support import CLAUDE, LITE, NOVA
from pydantic import ValidationError

from bedrock_local import LocalBedrock
from bedrock_routing import ConfigurationError, RoutedClient, RouterNotFoundError
from llama_index_bedrock_routing import AffinityPolicy, BedrockRouter, CachePolicy

Make = Callable[..., BedrockRouter]
HELLO = [ChatMessage(role="user", content="Hello")]
SECRET = "a-very-secret-key"


def stored(llm: BedrockRouter) -> BedrockRouter:
    return BedrockRouter.from_dict(json.loads(json.dumps(llm.to_dict())))


def as_json(llm: BedrockRouter) -> BedrockRouter:
    return BedrockRouter.from_json(llm.to_json())


def pickled(llm: BedrockRouter) -> BedrockRouter:
    return pickle.loads(pickle.dumps(llm))


@pytest.mark.parametrize("copied", [stored, as_json, pickled, copy.deepcopy, copy.copy])
@pytest.mark.parametrize("used", [False, True])
def test_copies_work(
    make_llm: Make,
    bedrock: LocalBedrock,
    caplog: pytest.LogCaptureFixture,
    copied: Callable[[BedrockRouter], BedrockRouter],
    used: bool,
) -> None:
    """A copy, also of one in use, keeps Region, router, policy and settings, and answers."""
    policy = CachePolicy(ttl="1h", tools=False)
    affinity = AffinityPolicy(kind="cost", asking=0.2, quality={LITE: 1.0})
    llm = make_llm(
        cache=policy, affinity=affinity, router_models=NOVA, temperature=0.2, region_name="eu-west-1"
    )
    if used:
        llm.chat(HELLO)
    with caplog.at_level(logging.WARNING):
        twin = copied(llm)
    assert caplog.records == []
    kept = ("model", "cache", "router_models", "temperature", "region_name", "endpoint_url")
    assert [getattr(twin, name) for name in kept] == [getattr(llm, name) for name in kept]
    assert (twin.cache, twin.affinity) == (policy, affinity)
    assert twin.chat(HELLO).message.content == "This is a fixed answer."
    assert "eu-west-1" in bedrock.requests[-1].headers["authorization"]


def test_no_secret_leaves_the_object(make_llm: Make) -> None:
    """Neither what is stored nor what is printed nor what is traced holds a credential."""
    llm = make_llm(aws_access_key_id="AKIASECRETID", aws_secret_access_key=SECRET, aws_session_token=SECRET)
    llm.chat(HELLO)
    shown = (llm.to_json(), str(llm.to_payload()), repr(llm), str(llm), repr(pickle.dumps(llm)))
    assert [text for text in shown if SECRET in text or "AKIASECRETID" in text] == []


@pytest.mark.parametrize("used", [False, True])
def test_credentials_that_are_given_are_used(make_llm: Make, bedrock: LocalBedrock, used: bool) -> None:
    """Given keys sign the requests, also those of a deep copy."""
    llm = make_llm(aws_access_key_id="AKIAGIVEN", aws_secret_access_key=SECRET)
    if used:
        llm.chat(HELLO)
    copy.deepcopy(llm).chat(HELLO)
    assert "AKIAGIVEN" in bedrock.requests[-1].headers["authorization"]


def test_construction_makes_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of boto3, and so of the network, before the first call."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a session was made")

    monkeypatch.setattr(boto3, "Session", refuse)
    llm = BedrockRouter(model="amazon.nova:1")
    assert llm.metadata.model_name == "amazon.nova:1"
    assert llm.to_payload()["class_name"] == "BedrockRouter"
    with pytest.raises(AssertionError, match="a session was made"):
        llm.chat(HELLO)


def test_a_region_is_taken_from_the_arn(bedrock: LocalBedrock, custom_arn: str) -> None:
    """Where nobody names a Region, the router's own is used."""
    BedrockRouter(model=custom_arn, endpoint_url=bedrock.endpoint_url).chat(HELLO)
    assert "us-east-1" in bedrock.requests[-1].headers["authorization"]


def test_no_region_at_all() -> None:
    """Without any Region the error says how to name one."""
    with pytest.raises(NoRegionError) as caught:
        BedrockRouter(model=LITE).chat(HELLO)
    assert "region_name" in caught.value.__notes__[0]


def test_endpoints_of_the_environment(monkeypatch: pytest.MonkeyPatch, bedrock: LocalBedrock) -> None:
    """boto3's own variables name the endpoints of both planes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", bedrock.endpoint_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", bedrock.endpoint_url)
    BedrockRouter(model="Nova Prompt Router", region_name="us-east-1").chat(HELLO)
    assert {each.operation for each in bedrock.requests} >= {"Converse"}


@pytest.mark.parametrize("routed", [False, True])
def test_a_client_of_the_caller(bedrock: LocalBedrock, routed: bool) -> None:
    """A given client is used as it is."""
    client = bedrock.client()
    llm = BedrockRouter(model="amazon.nova:1", client=RoutedClient(client) if routed else client)
    receipt = llm.chat(HELLO).additional_kwargs["bedrock_routing"]
    assert receipt["model"] in NOVA


@pytest.mark.parametrize("model", ["amazon.nova:1", "Nova Prompt Router", None])
def test_router_says_the_same_as_model(bedrock: LocalBedrock, model: str | None) -> None:
    """Every form that names a router is taken, under both names."""
    name = model or bedrock.router_arn("amazon.nova:1")
    llm = BedrockRouter(router=name, region_name="us-east-1", endpoint_url=bedrock.endpoint_url)
    llm.chat(HELLO)
    assert bedrock.requests[-1].model_id == bedrock.router_arn("amazon.nova:1")


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, ConfigurationError),
        ({"model": "a.b", "router": "amazon.nova:1"}, ConfigurationError),
        ({"model": "no/such;thing"}, ConfigurationError),
        ({"model": LITE, "temprature": 0.5}, ValidationError),
        ({"model": LITE, "max_concurrency": 0}, ValidationError),
    ],
)
def test_wrong_settings(settings: dict[str, Any], error: type[Exception]) -> None:
    """A setting that cannot be is an error at construction, a misspelt one too."""
    with pytest.raises(error):
        BedrockRouter(**settings)


def test_names_of_the_other_class() -> None:
    """Settings of BedrockConverse that have another name here are an error that says which."""
    with pytest.raises(ConfigurationError, match=r"CachePolicy\(tools"):
        BedrockRouter(model=LITE, tool_caching=True, cache=False)
    with pytest.raises(ConfigurationError, match=r"CachePolicy\(system"):
        BedrockRouter(model=LITE, system_prompt_caching=False)


def test_caching_asked_for_by_the_other_class() -> None:
    """BedrockConverse's caching flags ask for what is the default here, so they are taken."""
    assert BedrockRouter(model=LITE, system_prompt_caching=True, tool_caching=True).cache is True


def test_settings_that_say_nothing(make_llm: Make) -> None:
    """None stands for the default, as in BedrockConverse's own signature."""
    llm = make_llm(max_retries=None, timeout=None, callback_manager=None)
    assert (llm.max_retries, llm.timeout) == (10, 60.0)
    assert llm.chat(HELLO).message.content


def test_a_router_that_does_not_exist(make_llm: Make) -> None:
    """The error names the routers that exist."""
    with pytest.raises(RouterNotFoundError, match="Nova Prompt Router"):
        make_llm("No Such Router").chat(HELLO)


def test_the_context_window(make_llm: Make, custom_arn: str) -> None:
    """It is the least of the models' once they are known, a safe one before, and the caller's if given."""
    llm = make_llm(custom_arn)
    assert llm.metadata.context_window == 128_000
    llm.chat([ChatMessage(role="user", content="Hello")])
    assert llm.metadata.context_window == 300_000
    assert make_llm(custom_arn, router_models=[CLAUDE, *NOVA]).metadata.context_window == 200_000
    assert make_llm(custom_arn, router_models=["vendor.unheard-of", *NOVA]).metadata.context_window == 128_000
    assert make_llm(custom_arn, context_window=5_000).metadata.context_window == 5_000
