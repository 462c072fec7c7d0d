"""One request in, one reply out: between the HTTP server and the two planes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from bedrock_local import eventstream
from bedrock_local.clock import Clock
from bedrock_local.control import ControlPlane
from bedrock_local.converse import Call, Converser
from bedrock_local.errors import ServiceError, validation
from bedrock_local.faults import Fault, FaultQueue
from bedrock_local.pace import Pace
from bedrock_local.recording import Request, RequestLog
from bedrock_local.routes import Route, route
from bedrock_local.streaming import stream_events

__all__ = ["Reply", "Service"]

logger = logging.getLogger("bedrock_local")

_NUMBERS = frozenset({"maxResults"})
_OUTPUT_EVENT = "contentBlockDelta"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Hold a reply: a body, or a stream of event-stream messages."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    stream: Iterator[bytes] | None = None
    hurried: bool = True
    """Whether the messages of a stream may be sent together."""
    cut_by_reset: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    route: Route
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    def record(self, **known: Any) -> Request:
        return Request(
            operation=self.route.operation,
            model_id=self.route.members.get("modelId"),
            body=self.body,
            headers=self.headers,
            **known,
        )


class Service:
    """Dispatch requests, apply faults, keep the record."""

    def __init__(
        self,
        *,
        runtime: Converser,
        control: ControlPlane,
        faults: FaultQueue,
        log: RequestLog,
        clock: Clock,
        pace: Pace,
    ) -> None:
        self._runtime = runtime
        self._control = control
        self._faults = faults
        self._log = log
        self._clock = clock
        self._pace = pace
        self._runtime_operations: dict[str, Callable[[_Exchange, Fault | None], Reply]] = {
            "Converse": self._converse,
            "ConverseStream": self._stream,
            "CountTokens": self._count,
        }

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply | Fault:
        """Return the reply to one HTTP request, or a fault that the connection itself must suffer."""
        try:
            where = route(method, target)
        except ServiceError as error:
            return _failed(error)
        exchange = _Exchange(route=where, body={}, headers=headers)
        try:
            exchange = _Exchange(route=where, body=_parsed(body), headers=headers)
            fault = self._faults.take(where.operation)
            if fault is not None and not fault.in_stream:
                return self._struck(exchange, fault)
            return self._dispatch(exchange, fault)
        except ServiceError as error:
            self._log.add(exchange.record(error=error.name))
            return _failed(error)
        except Exception as error:
            # An answer engine that fails, or a mistake of ours: said to the client, not lost with its socket.
            logger.exception("the local Bedrock could not answer")
            self._log.add(exchange.record(error="ModelErrorException"))
            return _failed(ServiceError("ModelErrorException", f"{type(error).__name__}: {error}"))

    def _struck(self, exchange: _Exchange, fault: Fault) -> Fault:
        if fault.kind == "error":
            raise fault.as_error()
        self._log.add(exchange.record(error=fault.kind))
        return fault

    def _dispatch(self, exchange: _Exchange, fault: Fault | None) -> Reply:
        where = exchange.route
        if where.plane == "control":
            members = {**exchange.body, **_typed(where.members)}
            shown = self._control.handle(where.operation, members)
            self._log.add(exchange.record())
            return _json(shown)
        serve = self._runtime_operations.get(where.operation)
        if serve is None:
            raise validation(
                f"The local Bedrock does not serve {where.operation}; use Converse or ConverseStream."
            )
        return serve(exchange, fault)

    def _converse(self, exchange: _Exchange, _fault: Fault | None) -> Reply:
        call = self._runtime.converse(exchange.route.members["modelId"], exchange.body, streaming=False)
        self._log.add(_answered(exchange, call))
        return _json(call.reply())

    def _stream(self, exchange: _Exchange, fault: Fault | None) -> Reply:
        call = self._runtime.converse(exchange.route.members["modelId"], exchange.body, streaming=True)
        self._log.add(_answered(exchange, call))
        messages = self._paced(call)
        slow = self._pace.output_tokens_per_second is not None
        return Reply(
            headers={"Content-Type": "application/vnd.amazon.eventstream"},
            stream=messages if fault is None else self._faulty(messages, fault),
            hurried=not slow and fault is None,
            cut_by_reset=fault is not None and fault.kind == "reset-stream",
        )

    def _count(self, exchange: _Exchange, _fault: Fault | None) -> Reply:
        tokens = self._runtime.count(exchange.route.members["modelId"], exchange.body)
        self._log.add(exchange.record())
        return _json({"inputTokens": tokens})

    def _paced(self, call: Call) -> Iterator[bytes]:
        events = list(stream_events(call.answer, call.metadata(), call.stop_members()))
        writing = sum(name == _OUTPUT_EVENT for name, _ in events)
        pause = self._pace.output_seconds(call.answer.tokens) / max(writing, 1)
        for name, members in events:
            if pause and name == _OUTPUT_EVENT:
                self._clock.sleep(pause)
            yield eventstream.event(name, members)

    def _faulty(self, messages: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
        for position, message in enumerate(messages):
            if fault.kind == "drip":
                self._clock.sleep(fault.seconds)
            elif position == fault.after_events:
                yield from _LAST_WORDS[fault.kind](fault, message)
                return
            yield message


_LAST_WORDS: dict[str, Callable[[Fault, bytes], tuple[bytes, ...]]] = {
    "cut": lambda _fault, _message: (),
    "reset-stream": lambda _fault, message: (message[: len(message) // 2],),
    "bad-crc": lambda _fault, message: (eventstream.with_bad_crc(message),),
    "exception-in-stream": lambda fault, _message: (
        eventstream.exception(fault.stream_name, fault.as_error().message),
    ),
    "error-in-stream": lambda fault, _message: (eventstream.error(fault.name, fault.message or ""),),
}
"""What a stream says at the event where its fault strikes."""


def _answered(exchange: _Exchange, call: Call) -> Request:
    return exchange.record(invoked_model=call.target.model_id, usage=call.usage)


def _parsed(body: bytes) -> Mapping[str, Any]:
    if not body:
        return {}
    try:
        parsed = json.loads(body)
    except ValueError:
        raise ServiceError("SerializationException", "The request body is not valid JSON.") from None
    if not isinstance(parsed, dict):
        raise ServiceError("SerializationException", "The request body is not a JSON object.")
    return cast("dict[str, Any]", parsed)


def _typed(members: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: int(value) if name in _NUMBERS and value.isdigit() else value for name, value in members.items()
    }


def _json(members: Mapping[str, Any]) -> Reply:
    return Reply(
        body=json.dumps(members, ensure_ascii=False).encode(), headers={"Content-Type": "application/json"}
    )


def _failed(error: ServiceError) -> Reply:
    headers = {"Content-Type": "application/json", "x-amzn-ErrorType": error.header}
    return Reply(status=error.status, body=error.body, headers=headers)
