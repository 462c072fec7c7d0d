from __future__ import annotations

import copy
import pickle

import pytest

from bedrock_local import LocalBedrock
from bedrock_routing import (
    BedrockRoutingError,
    ConfigurationError,
    IncompleteStreamError,
    MissingExtraError,
    RetiredModelError,
    RoutedClient,
    RouterNotFoundError,
)

ERRORS = [
    ConfigurationError("no such setting"),
    RouterNotFoundError("mine", ["'yours' (arn)"], region="us-east-1"),
    RetiredModelError("gone", router_arn="arn", retired=["old"]),
    IncompleteStreamError("cut", receipt={"complete": False}),
    MissingExtraError("The chat model", "langchain"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_to_another_process(error: BedrockRoutingError) -> None:
    """Pools and clusters pickle errors; one that cannot be read again hides itself and hangs some of them."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_the_error_of_a_dead_router_survives_the_way_too(bedrock: LocalBedrock) -> None:
    """Also the error that is botocore's at the same time arrives as a `RetiredModelError`."""
    client = RoutedClient(bedrock.client(), model="anthropic.claude:1")
    with pytest.raises(RetiredModelError) as caught:
        client.converse(messages=[{"role": "user", "content": [{"text": "Hi?"}]}])
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, RetiredModelError)
    assert (str(again), again.retired) == (str(caught.value), caught.value.retired)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ERRORS[0], ValueError),
        (ERRORS[1], LookupError),
        (ERRORS[2], LookupError),
        (ERRORS[3], ConnectionError),
        (ERRORS[4], ImportError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_an_error_is_also_the_usual_kind(error: BedrockRoutingError, kind: type[Exception]) -> None:
    """Code that catches Python's own kinds of errors catches these as well."""
    assert isinstance(error, kind)
    assert isinstance(error, BedrockRoutingError)


def test_a_missing_extra_names_the_command() -> None:
    """The message can be pasted into a shell."""
    assert "pip install 'bedrock-routing[langchain]'" in str(ERRORS[4])
