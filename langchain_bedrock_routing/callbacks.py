"""What LangChain's callbacks tell us, and what ours tell: documents in, receipts out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from bedrock_routing import Ledger, Receipt, collect, remember_documents
from langchain_bedrock_routing.calls import RECEIPT

__all__ = ["BedrockRoutingCallbackHandler", "fresh_receipt", "routing_usage", "watch_retrievers"]


class _DocumentWatcher(BaseCallbackHandler):
    """Remember the documents that retrievers return and chains are given, so prompts can be split there."""

    run_inline = True

    @property
    @override
    def ignore_llm(self) -> bool:
        return True

    @property
    @override
    def ignore_chat_model(self) -> bool:
        return True

    @override
    def on_retriever_end(self, documents: Sequence[Document], **kwargs: Any) -> None:
        remember_documents(each.page_content for each in documents)

    @override
    def on_chain_start(self, serialized: dict[str, Any] | None, inputs: Any, **kwargs: Any) -> None:
        documents = list(_documents_in(inputs))
        if not documents:
            return
        remember_documents(each.page_content for each in documents)
        if kwargs.get("run_type") == "prompt":  # a prompt template prints whole documents
            remember_documents(map(repr, documents))


_WATCHER = ContextVar("bedrock_routing_documents", default=_DocumentWatcher())  # noqa: B039 - it has no state


def watch_retrievers() -> None:
    """Let every LangChain run of this process report its documents; called once, at import."""
    register_configure_hook(_WATCHER, inheritable=True)


class BedrockRoutingCallbackHandler(BaseCallbackHandler):
    """Collect the receipt of every answer, in `ledger`; give it to a run, a chain or a model as a callback.

    Answers that come from LangChain's own cache were paid for before and are not counted again.
    """

    run_inline = True

    def __init__(self) -> None:
        self.ledger = Ledger()

    @property
    def receipts(self) -> Sequence[Receipt]:
        """Return the receipts so far, the oldest first."""
        return self.ledger.receipts

    @property
    def last(self) -> Receipt | None:
        """Return the newest receipt."""
        return self.receipts[-1] if self.receipts else None

    @override
    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        for generations in response.generations:
            for each in generations:
                if isinstance(each, ChatGeneration) and (receipt := fresh_receipt(each)):
                    self.ledger.add(receipt)


def routing_usage() -> AbstractContextManager[Ledger]:
    """Collect the receipts of all calls made inside the block; print what it yields for a table.

    Calls are found through the context, whatever chain, thread or task makes them; blocks may be nested.
    """
    return collect()


def _documents_in(inputs: Any) -> Iterator[Document]:
    """Yield the documents that stand directly in a chain's input, or one level below; look no deeper."""
    if isinstance(inputs, dict):
        for value in cast("dict[str, Any]", inputs).values():
            yield from _documents_of(value)
    else:
        yield from _documents_of(inputs)


def _documents_of(value: Any) -> Iterator[Document]:
    if isinstance(value, Document):
        yield value
    elif isinstance(value, list | tuple):
        yield from (each for each in cast("Sequence[Any]", value) if isinstance(each, Document))


def fresh_receipt(generation: ChatGeneration) -> Receipt | None:
    """Return the receipt of an answer; `None` for one that LangChain's own cache repeats."""
    message = generation.message
    receipt = message.response_metadata.get(RECEIPT)
    usage = cast("dict[str, Any]", getattr(message, "usage_metadata", None) or {})
    replayed = usage.get("total_cost") == 0  # how langchain-core marks an answer out of its cache
    return Receipt.from_dict(receipt) if receipt and not replayed else None
