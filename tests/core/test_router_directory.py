from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bedrock_local import LocalBedrock
from bedrock_routing import (
    Catalog,
    ConfigurationError,
    RoutedClient,
    RouterDirectory,
    RouterNotFoundError,
    RouterSpec,
)
from bedrock_routing.router_rules import check_router

Serve = Callable[..., LocalBedrock]
LITE = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
PRO = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = ["amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"]


def spec(**changes: Any) -> RouterSpec:
    usual = {"name": "docs", "models": NOVA, "fallback": NOVA[0], "quality_difference": 10}
    return RouterSpec(**{**usual, **changes})


def directory(bedrock: LocalBedrock) -> RouterDirectory:
    return RouterDirectory(bedrock.client("bedrock"))


def test_all_default_routers_are_listed(bedrock: LocalBedrock) -> None:
    """Each router comes with its models, its fallback and its threshold."""
    nova = next(each for each in directory(bedrock).list() if each.name == "Nova Prompt Router")
    assert nova.arn == bedrock.router_arn("amazon.nova:1")
    assert [model.model_id for model in nova.models] == NOVA
    assert (nova.type, nova.status, nova.quality_difference) == ("default", "AVAILABLE", 0.0)
    assert nova.fallback in nova.models


def test_a_long_list_comes_page_by_page(bedrock: LocalBedrock) -> None:
    """More routers than fit on one page are all returned, each once."""
    arns = {bedrock.create_router(f"router {number}", NOVA) for number in range(230)}
    listed = [each.arn for each in directory(bedrock).list("custom")]
    assert (set(listed), len(listed)) == (arns, 230)
    assert Counter(each.operation for each in bedrock.requests) == {"ListPromptRouters": 3}


def test_routers_are_found_by_every_form(bedrock: LocalBedrock) -> None:
    """A name, a short form and an ARN lead to the same router."""
    found = directory(bedrock)
    arn = bedrock.router_arn("amazon.nova:1")
    assert {found.find(each).arn for each in ("Nova Prompt Router", "amazon.nova:1", arn)} == {arn}


def test_a_router_over_dead_models_says_which(bedrock: LocalBedrock) -> None:
    """The service lists such a router as AVAILABLE; the catalog knows better."""
    found = directory(bedrock)
    retired = {each.name: each.retired(Catalog.default()) for each in found.list()}
    assert retired["Nova Prompt Router"] == ()
    assert retired["Anthropic Prompt Router"] == (
        "anthropic.claude-3-haiku-20240307",
        "anthropic.claude-3-5-sonnet-20240620",
    )


def test_a_router_is_created_found_and_deleted(bedrock: LocalBedrock) -> None:
    """A new router is there under its name, and gone after it was deleted; deleting twice is no error."""
    found = directory(bedrock)
    made = found.create(spec(description="For documents.", tags={"team": "docs"}))
    assert ([model.raw for model in made.models], made.fallback.raw) == ([LITE, PRO], LITE)
    assert (found.find("docs").arn, made.quality_difference, made.type) == (made.arn, 10.0, "custom")
    found.delete("docs")
    found.delete(made.arn)
    with pytest.raises(RouterNotFoundError, match="'docs'"):
        found.find("docs")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": ""}, "1 to 64 letters"),
        ({"name": "x" * 65}, "1 to 64 letters"),
        ({"name": "two  spaces"}, "1 to 64 letters"),
        ({"name": "ünder"}, "1 to 64 letters"),
        ({"description": "x" * 201}, "1 to 200 letters"),
        ({"description": ""}, "1 to 200 letters"),
        ({"quality_difference": 0.5}, "steps of 5"),
        ({"quality_difference": 12}, "steps of 5"),
        ({"quality_difference": -5}, "steps of 5"),
        ({"quality_difference": 105}, "steps of 5"),
        ({"quality_difference": float("nan")}, "steps of 5"),
        ({"models": NOVA[:1]}, "exactly two"),
        ({"models": [*NOVA, "amazon.nova-premier-v1:0"]}, "exactly two"),
        ({"models": [NOVA[0], NOVA[0]]}, "exactly two"),
        ({"fallback": "amazon.nova-premier-v1:0"}, "must be one of the two"),
        ({"models": [NOVA[0], "meta.llama3-1-8b-instruct-v1:0"]}, "of one provider"),
        ({"models": [NOVA[0], "amazon.nova:1"]}, "does not name a model"),
        ({"models": [NOVA[0], "amazon.nova-micro-v1:0"]}, "cannot be routed; routable today: amazon"),
        (
            {
                "models": [HAIKU, "anthropic.claude-3-5-haiku-20241022-v1:0"],
                "fallback": HAIKU,
            },
            "has reached its end of life",
        ),
        ({"models": ["us.amazon.nova-lite-v1:0", NOVA[1]], "fallback": NOVA[1]}, "by its ARN"),
    ],
)
def test_the_rules_of_the_service_are_checked_before_it_is_asked(
    bedrock: LocalBedrock, changes: dict[str, Any], said: str
) -> None:
    """A router that the service would refuse is refused here, with what is expected, without a request."""
    with pytest.raises(ConfigurationError, match=said):
        directory(bedrock).create(spec(**changes))
    assert bedrock.requests == []


@pytest.mark.parametrize("value", [0, 5, 10.0, 100])
def test_every_step_of_five_per_cent_is_accepted(value: float) -> None:
    """From 0 to 100 in steps of 5 is what the service takes."""
    assert check_router(spec(quality_difference=value), Catalog.default()) is None


def test_a_router_in_govcloud_names_models_of_its_partition() -> None:
    """Nova can be routed in us-gov-west-1, where ARNs begin with `arn:aws-us-gov`."""
    wire = spec().to_wire("us-gov-west-1")
    assert wire["fallbackModel"]["modelArn"].startswith("arn:aws-us-gov:bedrock:us-gov-west-1::")


def test_a_name_that_is_used_again_stands_for_the_new_router(bedrock: LocalBedrock) -> None:
    """After a router was deleted by its ARN, its name is looked up anew."""
    found = directory(bedrock)
    first = found.create(spec())
    assert found.resolve("docs").arn == first.arn
    found.delete(first.arn)
    second = bedrock.create_router("docs", NOVA)
    assert second != first.arn
    assert found.resolve("docs").arn == second


def test_directories_of_two_regions_do_not_mix(serve: Serve) -> None:
    """The same short form stands for another ARN in each Region, also without a `scope`."""
    regions = [serve(region=region) for region in ("us-east-1", "eu-west-1")]
    found = [directory(each).resolve("amazon.nova:1").arn for each in regions]
    assert found == [each.router_arn("amazon.nova:1") for each in regions]


def test_a_client_uses_the_directory_that_it_is_given(serve: Serve) -> None:
    """A directory, with a control client of the caller's own, serves several clients."""
    bedrock = serve()
    found = RouterDirectory(bedrock.client("bedrock"), scope="mine")
    for _ in range(2):
        client = RoutedClient(bedrock.client(), model="amazon.nova:1", directory=found)
        assert client.target().arn == bedrock.router_arn("amazon.nova:1")
    assert client.abilities().tool_choice == ("auto", "any", "tool")
    assert len(bedrock.requests) == 1
