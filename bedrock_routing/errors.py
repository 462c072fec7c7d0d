"""What can go wrong, and whose fault it is.

BedrockRoutingError
├── ConfigurationError (ValueError)        yours: an id, a policy or a catalog entry that cannot be
├── RouterNotFoundError (LookupError)      yours: no such prompt router; names those that exist
├── RetiredModelError (LookupError)        theirs: the router lists as AVAILABLE, a model behind it is gone
├── IncompleteStreamError (ConnectionError) theirs: a stream ended before its last events
└── MissingExtraError (ImportError)        yours: an optional package is missing; names the pip install

botocore's own errors are never wrapped: they pass through with a note (PEP 678) that says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BedrockRoutingError",
    "ConfigurationError",
    "IncompleteStreamError",
    "MissingExtraError",
    "RetiredModelError",
    "RouterNotFoundError",
]


class BedrockRoutingError(Exception):
    """Be the base of every error that this project raises itself; all of them can be pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._pickled_as(), self.args, dict(self.__dict__))

    @classmethod
    def _pickled_as(cls) -> type[BedrockRoutingError]:
        """Return the class to read the error back as."""
        return cls


def _again(
    kind: type[BedrockRoutingError], args: tuple[Any, ...], state: dict[str, Any]
) -> BedrockRoutingError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(BedrockRoutingError, ValueError):
    """Say that a setting, a model id or a catalog entry cannot be, and what is expected instead."""


class RouterNotFoundError(BedrockRoutingError, LookupError):
    """Say that no prompt router answers to a name or ARN, and which ones exist."""

    def __init__(self, wanted: str, known: Sequence[str], *, region: str | None = None) -> None:
        self.wanted = wanted
        self.known = tuple(known)
        where = f" in {region}" if region else ""
        exist = "; ".join(self.known) if self.known else "none"
        super().__init__(
            f"No prompt router {wanted!r}{where}. Routers that exist there: {exist}. "
            "Give one of these names, its ARN, or a default router's short form such as 'amazon.nova:1'; "
            "a plain model id has the form 'provider.model-name'."
        )


class RetiredModelError(BedrockRoutingError, LookupError):
    """Say that a router which lists as AVAILABLE points to a model that the service no longer serves."""

    def __init__(self, message: str, *, router_arn: str, retired: Sequence[str]) -> None:
        self.router_arn = router_arn
        self.retired = tuple(retired)
        super().__init__(message)

    @classmethod
    def _pickled_as(cls) -> type[BedrockRoutingError]:
        """Leave botocore's half behind: its classes are made per client and cannot be found again."""
        return RetiredModelError


class IncompleteStreamError(BedrockRoutingError, ConnectionError):
    """Say that a stream ended without `messageStop` and `metadata`; `receipt` holds what is known.

    botocore ends a truncated event stream without any error, so a cut answer would look whole.
    """

    def __init__(self, message: str, *, receipt: Mapping[str, Any] | None = None) -> None:
        self.receipt = receipt
        super().__init__(message)


class MissingExtraError(BedrockRoutingError, ImportError):
    """Say that an optional package is missing, and the command that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs the extra '{extra}': pip install 'bedrock-routing[{extra}]'")
