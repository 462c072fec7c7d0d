"""A retriever around any other, whose answers can be cached as part of a prompt."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import ConfigDict, Field, PrivateAttr
from typing_extensions import override

from bedrock_routing import SeenOrder, remember_documents
from langchain_bedrock_routing.ordering import key_of, ranked, without_duplicates

__all__ = ["CachedDocumentsRetriever"]


class CachedDocumentsRetriever(BaseRetriever):
    """Retrieve with another retriever, without duplicates and in an order that a prompt cache can use.

    Documents that this retriever returned before come first, in their earlier order; new ones follow. So the
    same set of documents always makes the same text, and a growing set keeps its beginning. Where the inner
    retriever placed a document stands in `metadata["bedrock_routing_rank"]` (1 is the best) and is left out
    when a document is printed, because it changes from question to question.

        retriever = CachedDocumentsRetriever(retriever=vector_store.as_retriever(), k=4)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retriever: Runnable[str, list[Document]]
    """The inner retriever, or any runnable that turns a question into documents."""

    k: int | None = Field(default=None, ge=1)
    """How many documents to return at most; passed on to an inner retriever that takes it."""

    order: Literal["stable", "preserve"] = "stable"
    """`preserve` keeps the inner retriever's order, best first."""

    remembered: int = Field(default=4096, ge=1)
    """Of how many different documents the order is remembered; the longest unused give way."""

    _seen: SeenOrder = PrivateAttr()

    @override
    def model_post_init(self, context: Any, /) -> None:
        self._seen = SeenOrder(self.remembered)

    @override
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = k or self.k
        config = RunnableConfig(callbacks=run_manager.get_child())
        return self._arrange(self.retriever.invoke(query, config, **self._passed_on(k)), k)

    @override
    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        k = k or self.k
        config = RunnableConfig(callbacks=run_manager.get_child())
        return self._arrange(await self.retriever.ainvoke(query, config, **self._passed_on(k)), k)

    def _passed_on(self, k: int | None) -> dict[str, int]:
        if k is None or not isinstance(self.retriever, BaseRetriever):
            return {}
        parameters = inspect.signature(self.retriever._get_relevant_documents).parameters
        takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
        return {"k": k} if takes_any or "k" in parameters else {}

    def _arrange(self, documents: list[Document], k: int | None) -> list[Document]:
        best = without_duplicates(ranked(documents))[:k]
        arranged = self._seen.arrange(best, key_of) if self.order == "stable" else best
        remember_documents(each.page_content for each in arranged)
        return arranged
