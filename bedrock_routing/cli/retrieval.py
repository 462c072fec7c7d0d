"""A LangChain retriever over documents that are too long to be sent whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field

from bedrock_routing.cli.index import HybridIndex

__all__ = ["HybridRetriever"]


class HybridRetriever(BaseRetriever):
    """Return the chunks of an index that speak of a question.

    Build one with `from_documents`, or over an `index`. `k` is how many chunks come back, best first; `k=3`
    in `invoke` counts for that call. What comes back are copies: changing them changes nothing here.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    index: HybridIndex = Field(default_factory=HybridIndex)
    k: int = Field(default=6, ge=1)

    @classmethod
    def from_documents(
        cls, documents: Sequence[Document], k: int = 6, on_progress: Callable[[int, int], None] | None = None
    ) -> HybridRetriever:
        """Cut documents into chunks and index them; `on_progress` gets the chunks done and all of them."""
        return cls(index=HybridIndex(documents, on_progress=on_progress), k=k)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager
        return self._best(query, k)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        del run_manager
        return await run_in_executor(None, self._best, query, k)

    def _best(self, query: str, k: int | None) -> list[Document]:
        return self.index.best(query, self.k if k is None else k)
