"""A retriever around any other, whose answers can be cached as part of a prompt."""

from __future__ import annotations

import inspect
import time
from typing import Any, Literal, cast

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import ConfigDict, Field, PrivateAttr
from typing_extensions import override

from bedrock_routing import SeenOrder, remember_documents
from langchain_bedrock_routing.ordering import (
    VOLATILE,
    key_of,
    ranked,
    size_of,
    without_duplicates,
    without_rank,
)

__all__ = ["CachedDocumentsRetriever"]


class CachedDocumentsRetriever(BaseRetriever):
    """Retrieve with another retriever, without duplicates and in an order that a prompt cache can use.

    The answer begins as an earlier one did, as far as its documents allow: with those that a prompt cache is
    likely to hold in this order. Documents asked for most often lately follow, new ones come last. So the
    same documents always make the same text, and other sets share their beginning. Where the inner retriever
    placed a document stands in `metadata["bedrock_routing_rank"]` (1 is the best). When a document is
    printed, its rank and its scores are left out, because they change from question to question.

        retriever = CachedDocumentsRetriever(retriever=vector_store.as_retriever(), k=4)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retriever: Runnable[str, list[Document]]
    """The inner retriever, or any runnable that turns a question into documents."""

    k: int | None = Field(default=None, ge=1)
    """How many documents to return at most; passed on to an inner retriever that takes it.

    Not to one that holds another retriever and takes anything, as a `ContextualCompressionRetriever`: it
    would choose among `k` documents instead of the best `k` among many.
    """

    order: Literal["shared", "stable", "preserve"] = "shared"
    """`stable` keeps the order of first sight; `preserve` keeps the inner retriever's order, best first."""

    preserve_top_k: int = Field(default=0, ge=0)
    """How many of the best stay first, as the inner retriever ranked them."""

    lifetime: float = Field(default=300.0, gt=0)
    """Seconds for which a beginning counts as cached; 3600 with `CachePolicy(ttl="1h")`."""

    remembered: int = Field(default=4096, ge=1)
    """Of how many different documents the order is remembered; the longest unused give way."""

    volatile: tuple[str, ...] = VOLATILE
    """Metadata keys that are left out when a document is printed, besides the rank: scores by default."""

    sticky: bool = False
    """Whether documents of earlier questions stay in, first, although this question did not find them.

    A sticky retriever belongs to one conversation: its documents would otherwise reach other users. Make one
    for each, `shared.model_copy(update={"sticky": True})`; what is likely to be cached they know together.
    """

    keep: int = Field(default=16, ge=1)
    """How many documents a sticky retriever holds; of more, those of the newest question start anew."""

    _order: SeenOrder = PrivateAttr()
    _kept: tuple[Document, ...] = PrivateAttr(default=())

    @override
    def model_post_init(self, context: Any, /) -> None:
        self._order = SeenOrder(self.remembered, self.order, lifetime=self.lifetime)

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
        return {"k": k} if "k" in parameters or (takes_any and not self._holds_another()) else {}

    def _holds_another(self) -> bool:
        """Tell whether the inner retriever asks another one, to which it would hand on what it is given."""
        return any(isinstance(value, Runnable) for _, value in cast("BaseRetriever", self.retriever))

    def _arrange(self, documents: list[Document], k: int | None) -> list[Document]:
        best = without_duplicates(ranked(documents, self.volatile))[:k]
        arranged = self._stick(best) if self.sticky else self._in_order(best, first=self.preserve_top_k)
        remember_documents(each.page_content for each in arranged)
        return arranged

    def _in_order(self, documents: list[Document], *, first: int) -> list[Document]:
        return self._order.arrange(documents, key_of, size=size_of, now=time.monotonic(), first=first)

    def _stick(self, found: list[Document]) -> list[Document]:
        """Return the documents kept so far, with their new rank where they were found again, and new ones."""
        today = {key_of(each): each for each in found}
        kept = [today.pop(key_of(each), None) or without_rank(each, self.volatile) for each in self._kept]
        together = [*kept, *today.values()]
        anew = len(together) > self.keep
        arranged = self._in_order(
            found if anew else together, first=self.preserve_top_k if anew else len(kept)
        )
        self._kept = tuple(arranged)
        return arranged
