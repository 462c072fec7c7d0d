"""The service's exceptions: name, HTTP status, and how one stands on the wire.

Statuses after the botocore service model; texts after recorded replies and public reports, 2026-11-23.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["END_OF_LIFE", "STATUSES", "ServiceError", "in_stream_name", "invalid_model", "validation"]

END_OF_LIFE = (
    "This model version has reached the end of its life. "
    "Please refer to the AWS documentation for more details."
)
"""What a 404 says of a retired model, also of one behind a router that lists as AVAILABLE (live, 2026-09)."""

STATUSES: dict[str, int] = {
    "ValidationException": 400,
    "ServiceQuotaExceededException": 400,
    "ConflictException": 400,
    "TooManyTagsException": 400,
    "ResourceInUseException": 400,
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "ResourceNotFoundException": 404,
    "UnknownOperationException": 404,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "ModelStreamErrorException": 424,
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}
"""HTTP status of each exception."""

MESSAGES: dict[str, str] = {
    "ValidationException": (
        "Malformed input request: 1 schema violations found, please reformat your input and try again."
    ),
    "ServiceQuotaExceededException": "Your request exceeds the service quota for your account.",
    "ConflictException": "A resource with this name already exists.",
    "TooManyTagsException": (
        "The request contains more tags than can be associated with a resource (50 tags per resource)."
    ),
    "ResourceInUseException": "The resource is in use.",
    "AccessDeniedException": "You don't have access to the model with the specified model ID.",
    "ExpiredTokenException": "The security token included in the request is expired",
    "ResourceNotFoundException": "Could not resolve the foundation model from the provided model identifier.",
    "UnknownOperationException": "The operation is not known.",
    "ModelTimeoutException": "Model has timed out in processing the request. Try your request again.",
    "ModelErrorException": "The model returned an error while processing the request.",
    "ModelStreamErrorException": "An error occurred while streaming the response. Retry your request.",
    "ThrottlingException": "Too many requests, please wait before trying again.",
    "ModelNotReadyException": "The model is not ready to serve inference requests. Try again later.",
    "InternalServerException": (
        "The system encountered an unexpected error during processing. Try your request again."
    ),
    "ServiceUnavailableException": "Bedrock is unable to process your request.",
}
"""What an exception says when nothing more particular is known."""

EXTRA_MEMBERS: dict[str, dict[str, Any]] = {
    "ModelErrorException": {"originalStatusCode": 500, "resourceName": "model"},
    "ModelStreamErrorException": {"originalStatusCode": 500, "originalMessage": "model stream failed"},
}
"""Members that stand beside `message`."""

_NAMESPACE = "http://internal.amazon.com/coral/com.amazon.bedrock/"


class ServiceError(Exception):
    """Stand for one error reply of the service."""

    def __init__(self, name: str, message: str | None = None, *, status: int | None = None) -> None:
        self.name = name
        self.message = MESSAGES.get(name, "") if message is None else message
        self.status = STATUSES.get(name, 400) if status is None else status
        super().__init__(f"{name}: {self.message}")

    @property
    def header(self) -> str:
        """Return the value of `x-amzn-ErrorType`; clients read it up to the colon."""
        return f"{self.name}:{_NAMESPACE}"

    @property
    def body(self) -> bytes:
        """Return the JSON body."""
        return json.dumps({"message": self.message, **EXTRA_MEMBERS.get(self.name, {})}).encode()


def validation(message: str) -> ServiceError:
    """Return a `ValidationException`."""
    return ServiceError("ValidationException", message)


def invalid_model() -> ServiceError:
    """Return what the service says to a model id that it does not know (recorded)."""
    return validation("The provided model identifier is invalid.")


def in_stream_name(name: str) -> str:
    """Return an exception's name as a stream carries it: `throttlingException`."""
    return name[:1].lower() + name[1:]
