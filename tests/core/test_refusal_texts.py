from __future__ import annotations

import pytest

from bedrock_routing.rules import ALL_SECTIONS, read_refusal

E1 = (
    "You invoked an unsupported model or your request did not allow prompt caching. "
    "See the documentation for more information."
)
MODEL = "The model returned the following errors: "
KEY = "extraneous key [cachePoint] is not permitted, please reformat your input and try again."
ORDER = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block."
REMOVE = "Please remove the invalid cache point and try again."


@pytest.mark.parametrize(
    ("code", "message", "sections"),
    [
        ("AccessDeniedException", E1, ALL_SECTIONS),
        ("ValidationException", E1, ALL_SECTIONS),
        ("AccessDeniedException", "You do not have access to explicit prompt caching", ALL_SECTIONS),
        (
            "ValidationException",
            f"{MODEL}Malformed input request: #/toolConfig/tools/18: {KEY}",
            ("tools",),
        ),
        (
            "ValidationException",
            f"{MODEL}Malformed input request: #/messages/6/content/0: {KEY}",
            ("messages",),
        ),
        ("ValidationException", f"There is nothing available to cache. {REMOVE}", ("system", "messages")),
        (
            "ValidationException",
            f"Cache point cannot be inserted after reasoning block. {REMOVE}",
            ("system", "messages"),
        ),
        ("ValidationException", f"{MODEL}messages.0.content.3.type: Field required", ("messages",)),
        (
            "ValidationException",
            f"{MODEL}messages.0.content.0.cache_control.ttl: {ORDER}",
            ("messages",),
        ),
        (
            "ValidationException",
            f"{MODEL}A maximum of 4 blocks with cache_control may be provided. Found 5.",
            ("system", "messages"),
        ),
        (
            "ValidationException",
            f"{MODEL}messages.0.content.1.text: cache_control cannot be set for empty text blocks",
            ("messages",),
        ),
    ],
)
def test_every_known_refusal_is_recognised(code: str, message: str, sections: tuple[str, ...]) -> None:
    """Each documented text says that cache points were refused, and in which sections."""
    refusal = read_refusal(code, message, ("system", "messages"))
    assert refusal is not None
    assert (refusal.sections, refusal.message) == (sections, message)


@pytest.mark.parametrize(
    ("message", "lasting"),
    [
        (E1, True),
        (f"{MODEL}Malformed input request: #/toolConfig/tools/18: {KEY}", True),
        (f"There is nothing available to cache. {REMOVE}", False),
        (f"{MODEL}A maximum of 4 blocks with cache_control may be provided. Found 5.", False),
    ],
)
def test_a_wrong_place_says_nothing_about_the_model(message: str, lasting: bool) -> None:
    """What a model cannot do is believed for long, a point in a wrong place concerns its request only."""
    refusal = read_refusal("ValidationException", message, ("system", "messages"))
    assert refusal is not None
    assert refusal.lasting is lasting


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
        ("ValidationException", "The provided model identifier is invalid."),
        ("ValidationException", "Expected toolResult blocks at messages.2.content for the following Ids: 1"),
        ("ThrottlingException", E1),
        ("ResourceNotFoundException", "This model version has reached the end of its life."),
    ],
)
def test_other_errors_are_not_refusals(code: str, message: str) -> None:
    """An error that is not about cache points is never retried without them."""
    assert read_refusal(code, message, ("system", "messages")) is None


def test_without_points_nothing_was_refused() -> None:
    """The same text for a request without points is the caller's own error."""
    assert read_refusal("AccessDeniedException", E1, ()) is None
