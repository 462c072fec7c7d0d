"""What LlamaIndex's events tell us, and what ours tell: documents in, receipts out."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, TextBlock
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMCompletionEndEvent,
    LLMPredictStartEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent
from llama_index.core.instrumentation.events.retrieval import RetrievalEndEvent
from llama_index.core.schema import MetadataMode, NodeWithScore
from llama_index_instrumentation import root_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers.base import BaseEventHandler
from pydantic import PrivateAttr
from typing_extensions import override

from bedrock_routing import Ledger, Receipt, collect, remember_documents
from llama_index_bedrock_routing.replies import RECEIPT

__all__ = ["BedrockRoutingHandler", "remember_nodes", "routing_usage", "watch_retrievers"]

_CONTEXTS = ("context_str", "context_msg")
"""The variables through which LlamaIndex's prompt templates take retrieved texts."""
_MESSAGES = "context_messages"
"""The same in multimodal templates, which take messages."""
_RUN = "llamaindex.run_id"
"""The tag that LlamaIndex's workflows give the events of one run."""
_MOST_RUNS = 1_000

_newest: deque[str] = deque(maxlen=64)
"""The texts of the nodes retrieved last, to tell a context that holds them from one that does not."""


def remember_nodes(nodes: Sequence[NodeWithScore]) -> None:
    """Tell this process which nodes were retrieved, in the form in which synthesizers paste them."""
    texts = [text for each in nodes if (text := each.node.get_content(MetadataMode.LLM).strip())]
    _newest.extend(texts)
    remember_documents(texts)


def _see_retrieval(event: RetrievalEndEvent | ReRankEndEvent) -> None:
    remember_nodes(event.nodes)


def _see_template(event: LLMPredictStartEvent | LLMStructuredPredictStartEvent) -> None:
    """Take the context of a prompt for one document, where it is not mostly made of retrieved nodes.

    So it is when nodes were rewritten on the way, as by `CitationQueryEngine` or a window of sentences, and
    when the template prints a list, as `simple_summarize` does. Messages are documents block by block.
    """
    arguments: Mapping[str, Any] = event.template_args or {}
    for value in (arguments[name] for name in _CONTEXTS if arguments.get(name)):
        text = str(value).strip("[]'\"") if isinstance(value, list) else str(value)
        known = sum(len(each) for each in set(_newest.copy()) if each in text)
        if known * 2 < len(text):
            remember_documents([text])
    messages: Sequence[Any] = arguments.get(_MESSAGES) or ()
    blocks = [block for each in messages if isinstance(each, ChatMessage) for block in each.blocks]
    remember_documents([each.text for each in blocks if isinstance(each, TextBlock)])


_SEEN: Mapping[type[BaseEvent], Callable[[Any], None]] = {
    RetrievalEndEvent: _see_retrieval,
    ReRankEndEvent: _see_retrieval,
    LLMPredictStartEvent: _see_template,
    LLMStructuredPredictStartEvent: _see_template,
}


class _DocumentWatcher(BaseEventHandler):
    """Remember the nodes that retrievers return, so prompts can be split after them."""

    @classmethod
    @override
    def class_name(cls) -> str:
        return "BedrockRoutingDocumentWatcher"

    @override
    def handle(self, event: BaseEvent, **kwargs: Any) -> Any:
        if see := _SEEN.get(type(event)):
            see(event)


def watch_retrievers() -> None:
    """Let every LlamaIndex retriever of this process report its nodes; a second time changes nothing."""
    if not any(isinstance(each, _DocumentWatcher) for each in root_dispatcher.event_handlers):
        root_dispatcher.add_event_handler(_DocumentWatcher())


class BedrockRoutingHandler(BaseEventHandler):
    """Collect the receipt of every answer, in `ledger`; add it to a dispatcher of LlamaIndex's.

    It sees calls inside query engines, chat engines, agents and workflows; `run` tells workflow runs apart.
    A stream counts when it was read to its end; `routing_usage` counts those that were left, too.

        get_dispatcher().add_event_handler(handler := BedrockRoutingHandler())
    """

    _ledger: Ledger = PrivateAttr(default_factory=Ledger)
    _runs: OrderedDict[str, Ledger] = PrivateAttr(default_factory=OrderedDict)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @classmethod
    @override
    def class_name(cls) -> str:
        """Name the class, as all handlers do."""
        return "BedrockRoutingHandler"

    @property
    def ledger(self) -> Ledger:
        """Return the totals so far."""
        return self._ledger

    @property
    def receipts(self) -> Sequence[Receipt]:
        """Return the receipts so far, the oldest first."""
        return self._ledger.receipts

    @property
    def last(self) -> Receipt | None:
        """Return the newest receipt."""
        return self.receipts[-1] if self.receipts else None

    def run(self, run_id: str) -> Ledger:
        """Return what one run of a workflow used; empty for a run that asked nothing, or is long past."""
        with self._lock:
            return self._runs.get(run_id) or Ledger()

    @override
    def handle(self, event: BaseEvent, **kwargs: Any) -> Any:
        """Take the receipt of an answer; other events say nothing."""
        if not isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent) or event.response is None:
            return
        receipt = event.response.additional_kwargs.get(RECEIPT)
        if not receipt:
            return
        read = Receipt.from_dict(receipt)
        self._ledger.add(read)
        if run_id := event.tags.get(_RUN):
            self._of_run(str(run_id)).add(read)

    def _of_run(self, run_id: str) -> Ledger:
        with self._lock:
            ledger = self._runs.setdefault(run_id, Ledger())
            while len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
            return ledger


def routing_usage() -> AbstractContextManager[Ledger]:
    """Collect the receipts of all calls made inside the block; print what it yields for a table.

    Calls are found through the context, whatever engine, thread or task makes them; blocks may be nested.
    """
    return collect()
