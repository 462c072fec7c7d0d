"""A retriever around any other, and a postprocessor, whose nodes can be cached as part of a prompt."""

from __future__ import annotations

from typing import Any, Literal

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic import Field, PrivateAttr
from typing_extensions import override

from bedrock_routing import ConfigurationError, SeenOrder
from llama_index_bedrock_routing.callbacks import remember_nodes
from llama_index_bedrock_routing.ordering import key_of, without_duplicates

__all__ = ["CachedDocumentsRetriever", "StableOrderPostprocessor"]

_REMEMBERED = 4096


class CachedDocumentsRetriever(BaseRetriever):
    """Retrieve with another retriever, without duplicates and in an order that a prompt cache can use.

    Nodes that this retriever returned before come first, in their earlier order; new ones follow. So the same
    set of nodes always makes the same text, and a growing set keeps its beginning. Scores stay with their
    nodes. `k` bounds the nodes, best first; `order="preserve"` keeps the inner retriever's order; of
    `remembered` different nodes the order is remembered.

        retriever = CachedDocumentsRetriever(index.as_retriever(similarity_top_k=4))
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        *,
        k: int | None = None,
        order: Literal["stable", "preserve"] = "stable",
        remembered: int = _REMEMBERED,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        if k is not None and k < 1:
            raise ConfigurationError(f"k must be at least 1, not {k}")
        if order not in ("stable", "preserve"):
            raise ConfigurationError(f"order must be 'stable' or 'preserve', not {order!r}")
        self._retriever = retriever
        self._k = k
        self._stable = order == "stable"
        self._seen = SeenOrder(remembered)
        super().__init__(callback_manager or retriever.callback_manager, verbose=verbose)

    @override
    def _get_prompt_modules(self) -> PromptMixinType:
        return {"retriever": self._retriever}

    @override
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._arrange(self._retriever.retrieve(query_bundle))

    @override
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._arrange(await self._retriever.aretrieve(query_bundle))

    def _arrange(self, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        best = without_duplicates(nodes)[: self._k]
        return self._seen.arrange(best, key_of) if self._stable else best


class StableOrderPostprocessor(BaseNodePostprocessor):
    """Put nodes in an order that a prompt cache can use, after whatever postprocessors came before.

    Nodes seen before come first, in their earlier order; new ones follow. With `sticky`, nodes of earlier
    questions stay in although this one did not find them, at most `keep` of them in all: the whole prefix of
    a conversation is read from the cache. A sticky postprocessor belongs to one conversation: its nodes would
    otherwise reach other users.

        index.as_query_engine(node_postprocessors=[StableOrderPostprocessor()])
    """

    sticky: bool = False
    keep: int = Field(default=16, ge=1)
    """How many nodes a sticky order holds; when there are more, those of the newest question start anew."""
    remembered: int = Field(default=_REMEMBERED, ge=1)

    _seen: SeenOrder = PrivateAttr()
    _kept: tuple[NodeWithScore, ...] = PrivateAttr(default=())

    @override
    def model_post_init(self, context: Any, /) -> None:
        self._seen = SeenOrder(self.remembered)

    @classmethod
    @override
    def class_name(cls) -> str:
        """Name the class in what `to_dict` writes."""
        return "StableOrderPostprocessor"

    @override
    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        found = without_duplicates(nodes)
        arranged = self._stick(found) if self.sticky else self._seen.arrange(found, key_of)
        remember_nodes(arranged)
        return arranged

    @override
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return self._postprocess_nodes(nodes, query_bundle)

    def _stick(self, found: list[NodeWithScore]) -> list[NodeWithScore]:
        """Return the nodes kept so far, with their new scores where they were found again, and new ones."""
        today = {each.node.node_id: each for each in found}
        kept = [today.pop(each.node.node_id, each) for each in self._kept]
        together = [*kept, *today.values()]
        self._kept = tuple(together if len(together) <= self.keep else found)
        return list(self._kept)
