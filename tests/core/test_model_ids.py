from __future__ import annotations

import pytest

from bedrock_routing import ConfigurationError
from bedrock_routing.arns import FORMS, parse, parse_invoked

ACCOUNT = "arn:aws:bedrock:us-east-1:123412341234:"
KINDS = {
    "amazon.nova-lite-v1:0": "model",
    "anthropic.claude-sonnet-5": "model",
    "meta.llama3-1-8b-instruct-v1:0": "model",
    "us.amazon.nova-lite-v1:0": "profile",
    "global.anthropic.claude-sonnet-5-5": "profile",
    "us-gov.amazon.nova-pro-v1:0": "profile",
    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0": "foundation-model",
    ACCOUNT + "inference-profile/us.amazon.nova-lite-v1:0": "inference-profile",
    ACCOUNT + "application-inference-profile/abcd1234efgh": "application-inference-profile",
    ACCOUNT + "default-prompt-router/amazon.nova:1": "default-prompt-router",
    ACCOUNT + "default-prompt-router/anthropic.claude:1": "default-prompt-router",
    ACCOUNT + "default-prompt-router/meta.llama:1": "default-prompt-router",
    ACCOUNT + "prompt-router/sjd2v3c5xird": "prompt-router",
    "amazon.nova:1": "router-short-form",
    "Nova Prompt Router": "router-name",
    "team_router-2": "router-name",
    ACCOUNT + "custom-model/amazon.nova-lite-v1:0/abcd1234efgh": "opaque-model",
    ACCOUNT + "imported-model/abcd1234efgh": "opaque-model",
    ACCOUNT + "provisioned-model/abcd1234efgh": "opaque-model",
    ACCOUNT + "prompt/PROMPT1234:1": "opaque-model",
    "arn:aws:sagemaker:us-east-1:123412341234:endpoint/my-endpoint": "opaque-model",
}


@pytest.mark.parametrize(("text", "kind"), KINDS.items())
def test_every_form_is_told_apart(text: str, kind: str) -> None:
    """Each form that the service or this project takes is read as what it is and goes out as given."""
    ref = parse(text)
    assert (kind, text) == (ref.kind, ref.raw)


@pytest.mark.parametrize("example", FORMS.values(), ids=FORMS)
def test_every_form_shown_in_errors_is_accepted(example: str) -> None:
    """The examples that error messages show can be copied and used."""
    assert example == parse(example).raw


@pytest.mark.parametrize(
    "text",
    [
        "us.amazon.nova-lite-v1:0",
        "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0",
        ACCOUNT + "inference-profile/us.amazon.nova-lite-v1:0",
        "arn:aws-us-gov:bedrock:us-gov-west-1:123412341234:inference-profile/us-gov.amazon.nova-lite-v1:0",
    ],
)
def test_the_bare_model_is_found_in_every_form_that_names_it(text: str) -> None:
    """Region, account and geography leave the model's own id and its catalog key."""
    ref = parse(text)
    assert (ref.model_id, ref.key, ref.provider) == ("amazon.nova-lite-v1:0", "amazon.nova-lite", "amazon")


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("anthropic.claude-opus-4-6-v1", "anthropic.claude-opus-4-6"),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", "anthropic.claude-haiku-4-5-20251001"),
        ("amazon.nova-pro-v1:0:300k", "amazon.nova-pro"),
        ("anthropic.claude-sonnet-5-5", "anthropic.claude-sonnet-5-5"),
        ("meta.llama3-1-8b-instruct-v1:0", "meta.llama3-1-8b-instruct"),
    ],
)
def test_only_the_version_is_left_out_of_a_key(model: str, key: str) -> None:
    """The catalog's key keeps generation and date, and drops version and context size."""
    assert key == parse(model).key


def test_an_arn_tells_where_it_belongs() -> None:
    """Partition, Region and account of a router's ARN can be read, its models cannot."""
    ref = parse("arn:aws-us-gov:bedrock:us-gov-west-1:123412341234:default-prompt-router/amazon.nova:1")
    assert (ref.partition, ref.region, ref.account) == ("aws-us-gov", "us-gov-west-1", "123412341234")
    assert (ref.is_router, ref.model_id, ref.key, ref.provider) == (True, None, None, "amazon")


def test_a_percent_encoded_arn_is_decoded() -> None:
    """An ARN copied from a URL or a log is the same ARN."""
    plain = ACCOUNT + "default-prompt-router/amazon.nova:1"
    encoded = plain.replace(":", "%3A").replace("/", "%2F")
    assert plain == parse(encoded).raw


def test_outer_white_space_does_not_count() -> None:
    """A model copied with a line end is the same model."""
    assert parse(" amazon.nova-lite-v1:0\n").raw == "amazon.nova-lite-v1:0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b",
        "Nova  Prompt  Router!",
        "x" * 65,
        "arn:aws:s3:::bucket",
        "arn:aws:bedrock:us-east-1::default-prompt-router/amazon.nova:1",
        "arn:aws:bedrock:us-east-1:12341234:prompt-router/abcd1234efgh",
        "arn:aws:bedrock:us-east-1:123412341234:guardrail/abcd",
        "arn:aws:bedrock:us-east-1::foundation-model/nova",
        ACCOUNT + "prompt-router/",
        ACCOUNT + "prompt-router/a b",
    ],
)
def test_what_is_no_model_shows_all_forms(text: str) -> None:
    """A string that cannot be called is refused with one example of each form."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert [form for form in FORMS.values() if form not in str(caught.value)] == []


def test_a_long_wrong_string_is_not_repeated_in_full() -> None:
    """An error message stays readable when a whole prompt is given as the model."""
    with pytest.raises(ConfigurationError) as caught:
        parse("word, " * 5_000)
    assert len(str(caught.value)) < 2_000


def test_an_odd_trace_fails_nothing() -> None:
    """A model that cannot be read from a trace is unknown, not an error."""
    assert parse_invoked("?? new form ??") is None
