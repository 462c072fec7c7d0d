"""Send a planned call, as what the caller asked for or as a stream, and account for what comes back."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from bedrock_routing.assembly import whole_reply
from bedrock_routing.bridge import current
from bedrock_routing.catalog import Catalog
from bedrock_routing.connections import Lazy
from bedrock_routing.conversations import Choice
from bedrock_routing.fanout import Passage
from bedrock_routing.ledger import Ledger, record
from bedrock_routing.notes import annotated, error_code, error_message
from bedrock_routing.receipt import KEY, Receipt
from bedrock_routing.rules import read_refusal
from bedrock_routing.streams import RoutedStream
from bedrock_routing.tracing import CallSpans
from bedrock_routing.turn import Turn
from bedrock_routing.watching import Finished, Watchers

__all__ = ["Sender"]

logger = logging.getLogger("bedrock_routing")

_NO_STREAM = frozenset({"AccessDeniedException", "ValidationException"})
"""What comes back where a stream is not permitted, or the model has none."""
_ROUTER_ONLY = frozenset({"AccessDeniedException", "ResourceNotFoundException"})
"""What comes back for a model that this caller reaches through a router only."""
_ROUTER_ONLY_TEXT = re.compile(r"on-demand throughput|model identifier is invalid")
"""The same, where the id is one under which only a router may invoke the model."""
_BUSY = frozenset({"ThrottlingException", "ServiceUnavailableException", "ModelNotReadyException"})
"""What comes back, after botocore's retries, for a model that another one could stand in for."""


class Sender:
    """Send planned calls with one boto3 client. Their passages are left when they have ended."""

    def __init__(
        self, client: Lazy, *, catalog: Catalog, ledger: Ledger | None, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._ledger = ledger
        self._clock = clock
        self.watchers = Watchers()
        """Who is told of each call that a caller made, when it has come back."""

    def whole(self, passage: Passage) -> dict[str, Any]:
        """Return a whole reply with its receipt; where others may wait for it, it comes as a stream."""
        reply, denied = self._whole_from_stream(passage) if passage.early else (None, False)
        if reply is None:
            with CallSpans() as spans:
                reply, turn = self._send("converse", passage, passage.turn)
                receipt = self._finish(turn, reply)
                spans.describe(receipt)
            if denied:  # the same call was possible without: it is streams that are not
                passage.cannot_stream()
            passage.ended(receipt)
            reply[KEY] = receipt.to_dict()
        return reply

    def stream(self, passage: Passage) -> dict[str, Any]:
        """Return a reply with a stream that accounts for itself."""
        try:
            return self._opened(passage)
        except BaseException:
            passage.leave()
            raise

    def prime(self, turn: Turn) -> Receipt:
        """Ask for what others wait for, or what shall stay warm, and account for it."""
        with CallSpans() as spans:
            receipt = self._finish(turn, self._call("converse", turn))
            spans.describe(receipt)
            return receipt

    def _opened(self, passage: Passage) -> dict[str, Any]:
        with CallSpans() as spans:
            response, turn = self._send("converse_stream", passage, passage.turn)

        def reopen(error: Exception) -> tuple[Any, Turn] | None:
            nonlocal turn
            again = self._again(turn, error)
            if again is None:
                return None
            passage.leave()  # it writes nothing any more
            with spans:
                opened, turn = self._send("converse_stream", passage, *again)
            return opened["stream"], turn

        def finish(turn: Turn, reply: Mapping[str, Any], *, complete: bool) -> Receipt:
            receipt = self._finish(turn, reply, complete=complete)
            spans.describe(receipt)
            passage.ended(receipt)
            passage.leave()
            return receipt

        response["stream"] = RoutedStream(
            response["stream"],
            turn=turn,
            finish=finish,
            reopen=reopen,
            explain=lambda error: annotated(error, turn.target, self._catalog),
            opened=passage.opened,
        )
        return response

    def _whole_from_stream(self, passage: Passage) -> tuple[dict[str, Any] | None, bool]:
        """Return a whole reply made of a stream; `None` where that does not work, so that it is asked whole.

        Also tells whether it was denied, which may be for a reason that goes for the whole reply as well. An
        error inside a stream is one that botocore would have tried again, had it come as a reply.
        """
        try:
            response = self._opened(passage)
        except ClientError as error:
            if error_code(error) not in _NO_STREAM:
                raise
            return None, True
        try:
            reply = whole_reply(response["stream"])
        except Exception:
            logger.debug("a stream could not be put together; asking for the whole reply", exc_info=True)
            return None, False
        return {"ResponseMetadata": response["ResponseMetadata"], **reply}, False

    def _finish(self, turn: Turn, reply: Mapping[str, Any], *, complete: bool = True) -> Receipt:
        """Account for a reply; an error in here is logged and never breaks the call."""
        try:
            receipt = turn.finish(reply, self._clock(), complete=complete)
        except Exception:
            logger.warning("accounting failed; the call itself is not affected", exc_info=True)
            receipt = Receipt(complete=complete)
        try:
            record(receipt, self._ledger)
        except Exception:
            logger.warning("a ledger failed; the call itself is not affected", exc_info=True)
        if turn.purpose is None:
            self.watchers.tell(Finished(turn=turn, receipt=receipt, ask=self.prime, clock=self._clock))
        return receipt

    def _send(
        self, operation: str, passage: Passage, turn: Turn, shut: Choice | None = None
    ) -> tuple[dict[str, Any], Turn]:
        """Return the reply, and the call that it is one to; `shut` is who is not asked again, if it comes."""
        while True:
            try:
                reply = self._call(operation, turn)
            except ClientError as error:
                again = self._again(turn, error)
                if again is None:
                    raise
                passage.leave()  # it writes nothing any more
                turn, shut = again[0], again[1] or shut
            else:
                if shut is not None:  # the router could do what the model alone could not
                    shut.shut(self._clock())
                return reply, turn

    def _again(self, turn: Turn, error: Exception) -> tuple[Turn, Choice | None] | None:
        """Return the call to make after one that failed, and who is shut out once that has succeeded."""
        if (bare := self._without_refused(turn, error)) is not None:
            return bare, None
        if (routed := _at_router(turn, error)) is not None:
            return routed, turn.choice if _only_at_router(error) else None
        return None

    def _call(self, operation: str, turn: Turn) -> dict[str, Any]:
        bridge = current()
        own = None if bridge is None else bridge.client_for(self._client)
        method = getattr(self._client.get() if own is None else own, operation)
        try:
            return method(modelId=turn.target.arn, **turn.params)
        except (ClientError, BotoCoreError) as error:
            explained = annotated(error, turn.target, self._catalog)
            if explained is error:
                raise
            raise explained from error

    def _without_refused(self, turn: Turn, error: Exception) -> Turn | None:
        """Return the same call without cache points, where they are what the service refused."""
        refusal = read_refusal(error_code(error), error_message(error), turn.sections)
        return None if refusal is None else turn.without_refused(refusal, self._clock())


def _at_router(turn: Turn, error: Exception) -> Turn | None:
    """Return the same call for the router, where a model that was asked in its place could not be.

    A model that is only busy keeps the calls that carry the results of its tool calls.
    """
    locked = turn.choice is not None and turn.choice.decision.locked
    if _only_at_router(error):
        return turn.at_router(f"the model may not be asked directly ({error_code(error)})")
    if error_code(error) in _BUSY and not locked:
        return turn.at_router(f"the model was asked and could not answer ({error_code(error)})")
    return None


def _only_at_router(error: Exception) -> bool:
    return error_code(error) in _ROUTER_ONLY or bool(_ROUTER_ONLY_TEXT.search(error_message(error)))
