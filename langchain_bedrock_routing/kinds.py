"""Which kind of LangChain's `ModelError` an error of a call is: tables, and the order in which they are read.

First what the service calls the error (and, where that says less, its words), then the HTTP status, then the
Python class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, cast

from botocore import exceptions as boto
from botocore.eventstream import ParserError
from langchain_aws.chat_models.bedrock_converse import BedrockContextOverflowError, _raise_if_context_overflow
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from urllib3 import exceptions as urllib3

from bedrock_routing import (
    ConfigurationError,
    IncompleteStreamError,
    RetiredModelError,
    RouterNotFoundError,
)

__all__ = ["Kind", "kind_of"]

Kind = type[ModelError]

_BY_CODE: Mapping[str, Kind] = {
    "ThrottlingException": ModelRateLimitError,
    "TooManyRequestsException": ModelRateLimitError,
    "ModelNotReadyException": ModelRateLimitError,  # 429
    "ServiceQuotaExceededException": ModelRateLimitError,  # 400, but to be sent again later
    "AccessDeniedException": ModelPermissionDeniedError,
    "NotAuthorized": ModelPermissionDeniedError,
    "ExpiredTokenException": ModelAuthenticationError,  # like the next, a 403 about who asks
    "ExpiredToken": ModelAuthenticationError,
    "RequestExpired": ModelAuthenticationError,
    "UnrecognizedClientException": ModelAuthenticationError,
    "InvalidClientTokenId": ModelAuthenticationError,
    "InvalidSignatureException": ModelAuthenticationError,
    "SignatureDoesNotMatch": ModelAuthenticationError,
    "IncompleteSignature": ModelAuthenticationError,
    "IncompleteSignatureException": ModelAuthenticationError,
    "MissingAuthenticationToken": ModelAuthenticationError,
    "MissingAuthenticationTokenException": ModelAuthenticationError,
    "ResourceNotFoundException": ModelNotFoundError,
    "ValidationException": ModelInvalidRequestError,
    "ModelTimeoutException": ModelTimeoutError,
    "ModelErrorException": ModelAPIError,  # 424: the model failed
    "ModelStreamErrorException": ModelAPIError,
    "InternalServerException": ModelAPIError,
    "InternalFailure": ModelAPIError,
    "ServiceUnavailableException": ModelAPIError,
    "ServiceUnavailable": ModelAPIError,
}
"""The errors of Converse and ConverseStream in botocore 1.44, and those common to all services.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html (read 2026-11-23)
"""

_BY_WORDS: tuple[tuple[str, str, Kind], ...] = (
    ("ValidationException", "model identifier is invalid", ModelNotFoundError),
)

_BY_STATUS: Mapping[int, Kind] = {
    401: ModelAuthenticationError,
    403: ModelPermissionDeniedError,
    404: ModelNotFoundError,
    408: ModelTimeoutError,
    424: ModelAPIError,
    429: ModelRateLimitError,
}

_BY_CLASS: tuple[tuple[type[Exception], Kind], ...] = (
    (IncompleteStreamError, ModelConnectionError),
    (RetiredModelError, ModelNotFoundError),
    (RouterNotFoundError, ModelNotFoundError),
    (ConfigurationError, ModelInvalidRequestError),
    (boto.EventStreamError, ModelAPIError),  # whatever it is called, the service broke off
    (boto.ClientError, ModelError),
    (boto.ParamValidationError, ModelInvalidRequestError),
    (boto.NoRegionError, ModelInvalidRequestError),
    (boto.NoCredentialsError, ModelAuthenticationError),
    (boto.PartialCredentialsError, ModelAuthenticationError),
    (boto.CredentialRetrievalError, ModelAuthenticationError),
    (boto.ProfileNotFound, ModelAuthenticationError),
    (boto.NoAuthTokenError, ModelAuthenticationError),
    (boto.TokenRetrievalError, ModelAuthenticationError),
    (boto.SSOError, ModelAuthenticationError),
    (boto.LoginError, ModelAuthenticationError),
    (boto.ConnectTimeoutError, ModelTimeoutError),
    (boto.ReadTimeoutError, ModelTimeoutError),
    (urllib3.TimeoutError, ModelTimeoutError),  # as it comes inside a stream
    (boto.ConnectionError, ModelConnectionError),
    (boto.HTTPClientError, ModelConnectionError),
    (urllib3.HTTPError, ModelConnectionError),
    (ParserError, ModelConnectionError),  # a frame of a stream that arrived damaged
    (boto.BotoCoreError, ModelError),
)
"""The first class that fits decides; plain `ModelError` is what nobody can say more of, and not retryable."""


def kind_of(error: BaseException) -> Kind | None:
    """Return the kind of an error, or `None` for one that has nothing to do with the service.

    langchain-aws turns some errors of botocore into a `ValueError`: then its cause says the kind.
    """
    if isinstance(error, ModelError):
        return BedrockContextOverflowError if isinstance(error, BedrockContextOverflowError) else None
    if isinstance(error, ValueError) and isinstance(error.__cause__, boto.ClientError | boto.BotoCoreError):
        return kind_of(error.__cause__)
    return next(_kinds(error), None)


def _kinds(error: BaseException) -> Iterator[Kind]:
    """Yield what each table says, the most particular first."""
    if isinstance(error, boto.ClientError):
        yield from _kinds_of_reply(error)
    yield from (kind for each, kind in _BY_CLASS if isinstance(error, each))


def _kinds_of_reply(error: boto.ClientError) -> Iterator[Kind]:
    if _overflows(error):
        yield BedrockContextOverflowError
    reply = cast("dict[str, Any]", error.response)
    said = reply.get("Error") or {}
    code, words = str(said.get("Code") or ""), str(said.get("Message") or "")
    code = code[:1].upper() + code[1:]  # in a stream botocore says throttlingException
    yield from (kind for name, part, kind in _BY_WORDS if name == code and part in words)
    if code in _BY_CODE:
        yield _BY_CODE[code]
    status = int((reply.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    if status in _BY_STATUS:
        yield _BY_STATUS[status]
    elif status >= HTTPStatus.BAD_REQUEST:
        yield ModelAPIError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else ModelInvalidRequestError


def _overflows(error: boto.ClientError) -> bool:
    """Tell whether the prompt was too long, by langchain-aws's list of what the models say then."""
    try:
        _raise_if_context_overflow(error)
    except BedrockContextOverflowError:
        return True
    return False
