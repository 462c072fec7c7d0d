"""Construction, clients, copies and storage of the chat model."""

import copy
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import NoRegionError
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumps, loads
from langchain_support import LITE

from bedrock_local import LocalBedrock
from bedrock_routing import AffinityPolicy, CachePolicy
from langchain_bedrock_routing import ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]
ARN = "arn:aws:bedrock:us-east-1:123412341234:default-prompt-router/amazon.nova:1"


@pytest.mark.parametrize("model", [ARN, "amazon.nova:1", "Nova Prompt Router", LITE])
def test_construction_makes_no_client(model: str, made: list[dict[str, Any]]) -> None:
    """Constructing makes no client, so it needs no Region, no credentials and no network."""
    ChatBedrockRouter(model=model)
    assert made == []


def test_clients_are_made_once(make_llm: Make, made: list[dict[str, Any]]) -> None:
    """The first call makes one client per plane; the pool holds as many connections as calls at once."""
    llm = make_llm(max_concurrency=33, timeout=7, max_retries=1)
    for _ in range(2):
        llm.invoke("Hello")
    assert [each["service"] for each in made] == ["bedrock-runtime", "bedrock"]
    config = made[0]["config"]
    assert (config.max_pool_connections, config.read_timeout) == (33, 7)
    assert config.retries["total_max_attempts"] == 2


def test_own_pool_size_wins(make_llm: Make, made: list[dict[str, Any]]) -> None:
    """A pool size in the caller's config is kept."""
    make_llm(config=Config(max_pool_connections=5)).invoke("Hello")
    assert made[0]["config"].max_pool_connections == 5


def test_router_says_the_same_as_model(make_llm: Make, bedrock: LocalBedrock) -> None:
    """router= may be written for model=; two different ones are refused."""
    llm = ChatBedrockRouter(
        router="amazon.nova:1", region_name="us-east-1", endpoint_url=bedrock.endpoint_url
    )  # pyright: ignore[reportCallIssue]
    assert llm.model == "amazon.nova:1"
    assert llm.invoke("Hello").response_metadata["model_name"] == LITE
    with pytest.raises(ValueError, match="give one"):
        make_llm("amazon.nova:1", router=LITE)


def test_not_a_model() -> None:
    """A string that can be no model is refused at once, with the forms that can."""
    with pytest.raises(ValueError, match="default router ARN"):
        ChatBedrockRouter(model="what?!")


def test_environment_endpoints(bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoints of both planes are taken from boto3's own environment variables."""
    for plane in ("BEDROCK", "BEDROCK_RUNTIME"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{plane}", bedrock.endpoint_url)
    llm = ChatBedrockRouter(model="Nova Prompt Router", region_name="us-east-1")
    assert llm.invoke("Hello").response_metadata["model_name"] == LITE
    assert [each.operation for each in bedrock.requests] == ["ListPromptRouters", "Converse"]


def test_region_of_the_arn(bedrock: LocalBedrock) -> None:
    """Where nobody names a Region, that of the ARN is used."""
    llm = ChatBedrockRouter(model=ARN, endpoint_url=bedrock.endpoint_url)
    llm.invoke("Hello")
    assert llm.client.meta.region_name == "us-east-1"


def test_no_region(bedrock: LocalBedrock) -> None:
    """Without any Region the first call raises botocore's error, with a note on what to do."""
    llm = ChatBedrockRouter(model="amazon.nova:1", endpoint_url=bedrock.endpoint_url)
    with pytest.raises(NoRegionError) as error:
        llm.invoke("Hello")
    assert "region_name" in " ".join(error.value.__notes__)


def test_default_headers(make_llm: Make, bedrock: LocalBedrock) -> None:
    """default_headers go out with calls and streams."""
    llm = make_llm(default_headers={"X-Team": "tides"})
    llm.invoke("Hello")
    list(llm.stream("Hello"))
    sent = [each.headers.get("x-team") for each in bedrock.requests if each.operation.startswith("Converse")]
    assert sent == ["tides", "tides"]


def test_given_client(bedrock: LocalBedrock) -> None:
    """A boto3 client of the caller's is used, routed and cached like our own."""
    client = bedrock.client()
    llm = ChatBedrockRouter(model="amazon.nova:1", client=client, endpoint_url=bedrock.endpoint_url)
    assert llm.invoke("Hello").response_metadata["model_name"] == LITE
    assert llm.client.meta is client.meta


def test_bearer_token(bedrock: LocalBedrock) -> None:
    """api_key= is sent as a bearer token and leaves the environment alone."""
    llm = ChatBedrockRouter(
        model=LITE, api_key="bedrock-key", region_name="us-east-1", endpoint_url=bedrock.endpoint_url
    )
    client = llm.client
    assert client.meta.region_name == "us-east-1"
    assert "AWS_BEARER_TOKEN_BEDROCK" not in os.environ
    assert client.meta.config.auth_scheme_preference == "httpBearerAuth"


def test_cache_policy() -> None:
    """cache= takes a policy or a bool for cache points, and still LangChain's cache of whole answers."""
    hour = CachePolicy(ttl="1h")
    assert ChatBedrockRouter(model=LITE, cache=hour).prompt_cache == hour
    assert ChatBedrockRouter(model=LITE, cache=False).prompt_cache is False
    assert ChatBedrockRouter(model=LITE, cache=True).cache is None
    answers = InMemoryCache()
    with_answers = ChatBedrockRouter(model=LITE, cache=answers)
    assert (with_answers.cache, with_answers.prompt_cache) == (answers, True)


def test_serialisation() -> None:
    """A stored model is the same model when it is loaded, and its secrets are not in what is stored."""
    llm = ChatBedrockRouter(
        model=ARN,
        cache=CachePolicy(ttl="1h", tools=False),
        affinity=AffinityPolicy(kind="cost", asking=0.2, quality={LITE: 1.0}),
        router_models=[LITE],
        temperature=0.3,
        aws_secret_access_key="very-secret",
        api_key="secret-token",
    )
    stored = dumps(llm)
    assert "very-secret" not in stored
    assert "secret-token" not in stored
    loaded = loads(
        stored,
        allowed_objects=[ChatBedrockRouter],
        valid_namespaces=["langchain_bedrock_routing"],
        secrets_map={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_BEARER_TOKEN_BEDROCK": "c"},
    )
    assert isinstance(loaded, ChatBedrockRouter)
    assert loaded.model == llm.model
    assert loaded.prompt_cache == llm.prompt_cache
    assert loaded.affinity == llm.affinity
    assert (loaded.router_models, loaded.temperature) == ([LITE], 0.3)


def test_stored_after_use_is_the_same(make_llm: Make) -> None:
    """What was learned in use is not stored: LangChain's cache key of a model stays the same."""
    llm = make_llm()
    before = dumps(llm)
    llm.invoke("Hello")
    llm.bind_tools([{"name": "t", "description": "d", "parameters": {}}], tool_choice="any")
    assert dumps(llm) == before


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))])
def test_copies_work(make_llm: Make, clone: Callable[[Any], Any]) -> None:
    """A deep copy and an unpickled model answer, also after the original has made its clients."""
    llm = make_llm(temperature=0.5)
    llm.invoke("Hello")
    twin = clone(llm)
    assert twin.temperature == 0.5
    assert twin.invoke("Hello").response_metadata["model_name"] == LITE


def test_printing_shows_no_secret() -> None:
    """The printed model shows no secret."""
    assert "very-secret" not in repr(ChatBedrockRouter(model=LITE, aws_secret_access_key="very-secret"))


@pytest.mark.parametrize(
    ("typo", "meant"), [("affinty", "affinity"), ("promt_cache", "prompt_cache"), ("routers", "router")]
)
def test_a_mistyped_setting_is_named(typo: str, meant: str) -> None:
    """A setting of this package that is misspelt does not go to the service with every call."""
    with pytest.raises(ValueError, match=f"'{meant}' was probably meant"):
        ChatBedrockRouter(model="amazon.nova:1", region_name="us-east-1", **{typo: "cost"})


def test_the_users_object_stays_as_it_was_configured(bedrock: LocalBedrock) -> None:
    """A call leaves the profile unset, by which an agent chooses its ways before each step."""
    where = {"region_name": "us-east-1", "endpoint_url": bedrock.endpoint_url}
    llm = ChatBedrockRouter(model="amazon.nova:1", **where)
    llm.invoke("Hello")
    assert llm.profile is None
    told = ChatBedrockRouter(model="amazon.nova:1", router_models=["amazon.nova-lite-v1:0"], **where)
    assert told.profile
    assert told.profile.get("max_input_tokens") == 300_000


def test_a_text_is_counted_without_a_tokenizer(bedrock: LocalBedrock) -> None:
    """`get_num_tokens` asks for no package that only loads tokenizers."""
    llm = ChatBedrockRouter(model="amazon.nova:1", region_name="us-east-1", endpoint_url=bedrock.endpoint_url)
    assert 1 < llm.get_num_tokens("How many tokens has this text?") < 30
