"""Prompt routers on the control plane: what is listed, made, refused and deleted."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError
from local_support import NOVA, question, raw

from bedrock_local import LocalBedrock

LITE = "arn:aws:bedrock:us-east-1:123412341234:inference-profile/us.amazon.nova-lite-v1:0"
PRO = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"
LLAMA_8B = "arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-1-8b-instruct-v1:0"
SONNET = "arn:aws:bedrock:us-east-1:123412341234:inference-profile/us.anthropic.claude-sonnet-4-6"


def router(**changes: Any) -> dict[str, Any]:
    """Return the arguments of a legal CreatePromptRouter, with changes."""
    return {
        "promptRouterName": "my-router",
        "models": [{"modelArn": LITE}, {"modelArn": PRO}],
        "fallbackModel": {"modelArn": PRO},
        "routingCriteria": {"responseQualityDifference": 10},
        **changes,
    }


def test_default_routers_are_listed_first_and_all_as_available(control: Any) -> None:
    """Also the router whose models are retired says AVAILABLE, as the service does."""
    control.create_prompt_router(**router())
    listed = control.list_prompt_routers()["promptRouterSummaries"]
    assert [each["promptRouterName"] for each in listed] == [
        "Anthropic Prompt Router",
        "Meta Prompt Router",
        "Nova Prompt Router",
        "my-router",
    ]
    assert {each["status"] for each in listed} == {"AVAILABLE"}
    assert [each["type"] for each in listed] == ["default"] * 3 + ["custom"]


def test_router_that_was_made_can_be_read_invoked_and_deleted(runtime: Any, control: Any) -> None:
    """A router lives from its creation to its deletion, and deleting twice is fine."""
    arn = control.create_prompt_router(**router(description="Two Nova models"))["promptRouterArn"]
    found = control.get_prompt_router(promptRouterArn=arn)
    assert found["models"] == [{"modelArn": LITE}, {"modelArn": PRO}]
    assert found["fallbackModel"] == {"modelArn": PRO}
    assert found["routingCriteria"] == {"responseQualityDifference": 10.0}
    assert found["description"] == "Two Nova models"
    reply = runtime.converse(modelId=arn, messages=[question()])
    assert reply["trace"]["promptRouter"]["invokedModelId"] == LITE
    for _ in range(2):
        control.delete_prompt_router(promptRouterArn=arn)
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.get_prompt_router(promptRouterArn=arn)
    with pytest.raises(runtime.exceptions.ResourceNotFoundException):
        runtime.converse(modelId=arn, messages=[question()])


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            {"routingCriteria": {"responseQualityDifference": 0.5}},
            "ValidationException",
            "Response quality difference must be a value multiple of 5",
        ),
        (
            {"routingCriteria": {"responseQualityDifference": 105}},
            "ValidationException",
            "less than or equal to 100",
        ),
        (
            {"models": [{"modelArn": SONNET}, {"modelArn": LITE}], "fallbackModel": {"modelArn": LITE}},
            "ValidationException",
            "Prompt routing is not supported for the specified model identifier",
        ),
        (
            {"models": [{"modelArn": LITE}, {"modelArn": LLAMA_8B}]},
            "ValidationException",
            "same model family",
        ),
        ({"models": [{"modelArn": PRO}]}, "ValidationException", "two different models"),
        ({"models": [{"modelArn": PRO}] * 2}, "ValidationException", "two different models"),
        ({"fallbackModel": {"modelArn": LLAMA_8B}}, "ValidationException", "must be one of the models"),
        ({"promptRouterName": "x" * 65}, "ValidationException", "length less than or equal to 64"),
        ({"promptRouterName": "two  blanks"}, "ValidationException", "regular expression"),
        ({"description": "no (brackets)"}, "ValidationException", "regular expression"),
        ({"promptRouterName": "Nova Prompt Router"}, "ConflictException", "already exists"),
        (
            {"tags": [{"key": f"k{number}", "value": "v"} for number in range(51)]},
            "TooManyTagsException",
            "50 tags",
        ),
    ],
)
def test_creation_follows_the_services_rules(
    control: Any, changes: dict[str, Any], code: str, message: str
) -> None:
    """Each rule that the service enforces beyond the client's checks refuses a router."""
    with pytest.raises(ClientError, match=message) as caught:
        control.create_prompt_router(**router(**changes))
    assert caught.value.response["Error"]["Code"] == code


def test_creation_is_idempotent_by_its_token(control: Any) -> None:
    """The same request with the same token makes one router, another request with it conflicts."""
    first = control.create_prompt_router(**router(clientRequestToken="abc"))
    again = control.create_prompt_router(**router(clientRequestToken="abc"))
    assert first["promptRouterArn"] == again["promptRouterArn"]
    with pytest.raises(control.exceptions.ConflictException):
        control.create_prompt_router(**router(clientRequestToken="abc", promptRouterName="other"))


def test_default_router_cannot_be_deleted(bedrock: LocalBedrock, control: Any) -> None:
    """Deleting a default router is refused."""
    with pytest.raises(control.exceptions.ValidationException):
        control.delete_prompt_router(promptRouterArn=bedrock.router_arn("amazon.nova:1"))


def test_pages_and_type_filter(bedrock: LocalBedrock, control: Any) -> None:
    """The paginator sees every router once, and the type narrows the list."""
    for number in range(7):
        bedrock.create_router(f"router {number}", [NOVA, "amazon.nova-pro-v1:0"])
    pages = list(control.get_paginator("list_prompt_routers").paginate(PaginationConfig={"PageSize": 3}))
    names = [each["promptRouterName"] for page in pages for each in page["promptRouterSummaries"]]
    assert [len(page["promptRouterSummaries"]) for page in pages] == [3, 3, 3, 1]
    assert len(set(names)) == 10
    custom = control.list_prompt_routers(type="custom")["promptRouterSummaries"]
    assert [each["promptRouterName"] for each in custom] == [f"router {number}" for number in range(7)]


@pytest.mark.parametrize(
    "arguments", [{"nextToken": "what"}, {"maxResults": 1001}, {"type": "imported"}], ids=str
)
def test_listing_checks_its_arguments(control: Any, arguments: dict[str, Any]) -> None:
    """A made-up token, too large a page and an unknown type are refused."""
    with pytest.raises(control.exceptions.ValidationException):
        control.list_prompt_routers(**arguments)


def test_relaxed_router_may_route_between_any_models(bedrock: LocalBedrock, runtime: Any) -> None:
    """Tests can have a router that AWS does not offer: two current Claude models."""
    models = ["anthropic.claude-sonnet-4-6", "anthropic.claude-opus-4-8"]
    arn = bedrock.create_router("claude pair", models, threshold=0)
    invoked = runtime.converse(modelId=arn, messages=[question()])["trace"]["promptRouter"]["invokedModelId"]
    assert invoked.endswith("inference-profile/us.anthropic.claude-sonnet-4-6")


def test_strict_router_of_the_python_surface_follows_the_rules(bedrock: LocalBedrock) -> None:
    """`relaxed=False` refuses what the service refuses."""
    with pytest.raises(Exception, match="not supported"):
        bedrock.create_router(
            "x", ["anthropic.claude-sonnet-4-6", "anthropic.claude-opus-4-8"], relaxed=False
        )


@pytest.mark.parametrize("safe", ["", ":", "/", ":/"])
def test_arn_in_a_path_may_be_encoded_or_bare(bedrock: LocalBedrock, safe: str) -> None:
    """Colons and slashes of an ARN are accepted as they are and percent-encoded."""
    arn = bedrock.router_arn("amazon.nova:1")
    status, _, body = raw(bedrock, "GET", f"/prompt-routers/{quote(arn, safe=safe)}")
    assert status == 200
    assert arn.encode() in body


def test_application_profile_resolves_to_its_model(bedrock: LocalBedrock, control: Any) -> None:
    """GetInferenceProfile says which model stands behind an application profile."""
    arn = bedrock.create_application_profile("us.amazon.nova-lite-v1:0")
    found = control.get_inference_profile(inferenceProfileIdentifier=arn)
    assert found["inferenceProfileArn"] == arn
    assert found["type"] == "APPLICATION"
    assert found["models"] == [{"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"}]
    system = control.get_inference_profile(inferenceProfileIdentifier=f"us.{NOVA}")
    assert system["type"] == "SYSTEM_DEFINED"
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.get_inference_profile(inferenceProfileIdentifier=f"{arn[:-1]}0x")


def test_foundation_models_are_listed_without_the_retired(control: Any) -> None:
    """The list of models names those that answer."""
    names = {each["modelId"] for each in control.list_foundation_models()["modelSummaries"]}
    assert "amazon.nova-lite" in names
    assert "anthropic.claude-3-haiku-20240307" not in names
