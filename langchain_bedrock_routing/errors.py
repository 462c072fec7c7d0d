"""Errors of a call as LangChain knows them, and still as botocore raises them.

Each becomes an instance of three things: of its own class (botocore's, one of a client's `exceptions`, or
this project's), of a kind of `langchain_core.exceptions.ModelError` (see `kinds`), and of
`BedrockModelError`. Text, notes, `response`, `__cause__` and traceback stay.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any, ClassVar, cast

from langchain_core.exceptions import ModelError
from langchain_core.outputs import ChatGenerationChunk

from langchain_bedrock_routing.calls import Call
from langchain_bedrock_routing.kinds import Kind, kind_of

__all__ = ["BedrockModelError", "as_model_error", "handed_out", "is_retryable", "model_errors"]


class BedrockModelError(ModelError):
    """Be what every error of a call is, beside its own class and its kind of `ModelError`.

    `is_retryable` is that of the kind, but False once a part of a streamed answer was handed out: asking
    again would repeat it. To retry all the same, name the error's class where the retry is set up. All of
    them can be pickled; the classes that boto3 makes for each client cannot be found again, so an error of
    one is read back as the nearest class that can.
    """

    receipt: Mapping[str, Any] | None = None
    """The receipt of a stream that broke off, as far as it is known; `None` where no stream had begun."""

    _own: ClassVar[type[Exception]] = Exception
    _kind: ClassVar[Kind] = ModelError

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave behind what lives only in this process: a client's classes, a connection pool."""
        state = {name: value for name, value in self.__dict__.items() if _travels(value)}
        return _read_back, (_findable(self._own), self._kind, self.args, state)


def is_retryable(error: BaseException) -> bool:
    """Tell whether the same call may succeed if it is made again; the rule of `ModelRetryMiddleware`.

    For `chain.with_retry(retry_if_exception_type=is_retryable)`. What is no `ModelError` may be retried.
    """
    if isinstance(error, ModelError):
        return error.is_retryable
    return isinstance(error, Exception)


@contextmanager
def model_errors(call: Call) -> Iterator[None]:
    """Raise what goes wrong inside as LangChain knows it; errors of others pass as they are."""
    try:
        yield
    except Exception as error:
        known = as_model_error(error, begun=call.begun, receipt=call.receipt)
        if known is error:
            raise
        raise known from known.__cause__


def handed_out(call: Call, chunks: Generator[ChatGenerationChunk]) -> Generator[ChatGenerationChunk]:
    """Hand the chunks of a stream out; what goes wrong is raised as LangChain knows it."""
    with model_errors(call), closing(chunks):
        for chunk in chunks:
            call.hands_out(chunk)
            yield chunk


def as_model_error(
    error: Exception, *, begun: bool = False, receipt: Mapping[str, Any] | None = None
) -> Exception:
    """Return an error as LangChain knows it, or itself where it is nothing of the service's.

    `begun` says that a part of the answer was handed out; `receipt` goes to an error that has none itself.
    """
    kind = kind_of(error)
    if kind is None or isinstance(error, BedrockModelError):
        return error
    known = _made(_combined(type(error), kind), error.args, error.__dict__)
    known.__cause__ = error.__cause__
    known.__notes__ = [*(_notes(error) or _notes(error.__cause__))]
    if known.receipt is None:
        known.receipt = receipt
    if begun and known.is_retryable:
        known.is_retryable = False
    return known.with_traceback(error.__traceback__)


@lru_cache(maxsize=256)
def _combined(own: type[Exception], kind: Kind) -> type[BedrockModelError]:
    """Return the class that is both; the bound is for programs that make clients without end."""
    one, other = (own, kind) if not issubclass(kind, own) else (kind, own)  # the narrower class stands first
    bases = (BedrockModelError, one) if issubclass(one, other) else (BedrockModelError, one, other)
    return cast("type[BedrockModelError]", type(own.__name__, bases, {"_own": own, "_kind": kind}))


def _made(
    kind: type[BedrockModelError], args: tuple[Any, ...], state: Mapping[str, Any]
) -> BedrockModelError:
    """Return an error of a class without asking its `__init__`, which may want what is not kept."""
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def _read_back(
    own: type[Exception], kind: Kind, args: tuple[Any, ...], state: Mapping[str, Any]
) -> BedrockModelError:
    return _made(_combined(own, kind), args, state)


def _notes(error: BaseException | None) -> list[str]:
    return getattr(error, "__notes__", [])


def _findable(own: type[Exception]) -> type[Exception]:
    """Return the nearest class that another process finds by its name."""
    named = ((each, getattr(sys.modules.get(each.__module__), each.__name__, None)) for each in own.__mro__)
    return next(each for each, found in named if found is each)


def _travels(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # a value's own code decides what it raises
        return False
    return True
