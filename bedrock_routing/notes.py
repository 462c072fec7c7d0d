"""What to do about an error of the service, added to it as a note; the error itself stays botocore's own."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from bedrock_routing.catalog import Catalog, ModelFacts
from bedrock_routing.errors import RetiredModelError
from bedrock_routing.request import member
from bedrock_routing.turn import Target

__all__ = ["annotated", "error_code", "error_message"]

_OUT_OF_SERVICE = re.compile(r"end of its life|marked by provider as Legacy")
_UNKNOWN_MODEL = (
    "Check the id, and that this Region offers the model; most newer models are only reached through a "
    "cross-Region profile, such as 'us.anthropic.claude-sonnet-4-6'."
)
_CALLS = frozenset({"Converse", "ConverseStream"})
_LOOKING_UP = "The router could not be looked up by its name; a call by its ARN does without."
_NOTES = {
    "AccessDeniedException": "A call through a prompt router needs bedrock:InvokeModel (and "
    "bedrock:InvokeModelWithResponseStream for streams) on the router's ARN and on every model behind it.",
    "ThrottlingException": "The quota of the invoked model is used up; botocore has already retried. "
    "Cache reads do not count towards the token quota, a large maxTokens does.",
    "ResourceNotFoundException": "Check the model or router ARN, and that it is of this Region and account.",
}


def error_code(error: Exception) -> str:
    """Return the service's name for an error, alike for replies and for events in a stream.

    botocore gives `ThrottlingException` for the one and `throttlingException` for the other.
    """
    code = str(member(_error(error), "Code") or "")
    return code[:1].upper() + code[1:]


def error_message(error: Exception) -> str:
    """Return the service's message without botocore's words around it."""
    return str(member(_error(error), "Message") or "")


def _error(error: Exception) -> Any:
    return member(getattr(error, "response", None), "Error")


def annotated(error: Exception, target: Target | None, catalog: Catalog) -> Exception:
    """Return the error to raise: the same one with a note, or one that also says which model is gone."""
    if getattr(error, "__notes__", None):
        return error  # whoever made the client has already said what to do
    if isinstance(error, NoRegionError):
        error.add_note("Give region_name='us-east-1' (or another Region), or set AWS_REGION.")
    elif isinstance(error, EndpointConnectionError):
        error.add_note("Check the Region and the endpoint URL, and that this network reaches them.")
    elif isinstance(error, NoCredentialsError):
        error.add_note("No AWS credentials were found: log in with the AWS CLI, or name a profile.")
    elif isinstance(error, ClientError) and error.operation_name not in _CALLS:
        error.add_note(_LOOKING_UP)
    elif isinstance(error, ClientError):
        code = error_code(error)
        if code == "ResourceNotFoundException" and target is not None:
            return (
                _retired(error, target, catalog)
                if target.is_router
                else _retired_model(error, target, catalog)
            )
        if "model identifier is invalid" in error_message(error):
            error.add_note(_UNKNOWN_MODEL)
        elif note := _NOTES.get(code):
            error.add_note(note)
    return error


def _retired_model(error: ClientError, target: Target, catalog: Catalog) -> ClientError:
    gone = [each for model in target.models if (each := catalog.find(model)) and each.retired]
    error.add_note(
        "; ".join(_end_of(each) for each in gone) + "." if gone else _NOTES["ResourceNotFoundException"]
    )
    return error


def _retired(error: ClientError, target: Target, catalog: Catalog) -> Exception:
    """Say which model behind a router is gone; stays catchable as the service's own error too."""
    facts = [each for model in target.models if (each := catalog.find(model))]
    gone = [each for each in facts if each.retired]
    if not gone and not _OUT_OF_SERVICE.search(error_message(error)):
        error.add_note(_NOTES["ResourceNotFoundException"])
        return error
    named = "; ".join(_end_of(each) for each in gone) or f"one of {_list(target)}"
    message = (
        f"The prompt router {target.arn} lists as AVAILABLE, but a model behind it is gone: {named}. "
        f"The service said: {error_message(error)} Use a router over current models, such as 'amazon.nova:1'."
    )
    kind = type("RetiredModelError", (RetiredModelError, type(error)), {})
    combined = kind(message, router_arn=target.arn, retired=[each.id for each in gone])
    combined.response = error.response
    combined.operation_name = error.operation_name
    return combined


def _end_of(facts: ModelFacts) -> str:
    date = facts.end_of_life
    return f"{facts.id} reached its end of life on {date}" if date else f"{facts.id} is retired"


def _list(target: Target) -> str:
    return ", ".join(each.raw for each in target.models) or "those it may invoke"
