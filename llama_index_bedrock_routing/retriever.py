"""A retriever around any other, and a postprocessor, whose nodes can be cached as part of a prompt."""

from __future__ import annotations

import time
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
from llama_index_bedrock_routing.ordering import key_of, size_of, without_duplicates

__all__ = ["CachedDocumentsRetriever", "StableOrderPostprocessor"]

_REMEMBERED = 4096
_LIFETIME = 300.0

_Order = Literal["shared", "stable", "preserve"]


class CachedDocumentsRetriever(BaseRetriever):
    """Retrieve with another retriever, without duplicates and in an order that a prompt cache can use.

    The answer begins as an earlier one did, as far as its nodes allow: with those that a prompt cache is
    likely to hold in this order. Nodes asked for most often lately follow, new ones come last. So the same
    nodes always make the same text, and other sets share their beginning. Scores stay with their nodes.

    `k` bounds the nodes, best first. `order="stable"` keeps the order of first sight, `"preserve"` the inner
    retriever's; the `preserve_top_k` best stay first in any case. The order of `remembered` different nodes
    is remembered. `lifetime` says for how many seconds a beginning counts as cached: 3600 with
    `CachePolicy(ttl="1h")`.

        retriever = CachedDocumentsRetriever(index.as_retriever(similarity_top_k=4))
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        *,
        k: int | None = None,
        order: _Order = "shared",
        preserve_top_k: int = 0,
        remembered: int = _REMEMBERED,
        lifetime: float = _LIFETIME,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        if k is not None and k < 1:
            raise ConfigurationError(f"k must be at least 1, not {k}")
        if preserve_top_k < 0:
            raise ConfigurationError(f"preserve_top_k must be at least 0, not {preserve_top_k}")
        self._retriever = retriever
        self._k = k
        self._first = preserve_top_k
        self._order = SeenOrder(remembered, order, lifetime=lifetime)
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
        return _in_order(self._order, best, first=self._first)


def _in_order(order: SeenOrder, nodes: list[NodeWithScore], *, first: int) -> list[NodeWithScore]:
    return order.arrange(nodes, key_of, size=size_of, now=time.monotonic(), first=first)


class StableOrderPostprocessor(BaseNodePostprocessor):
    """Put nodes in an order that a prompt cache can use, after whatever postprocessors came before.

    The orders are those of `CachedDocumentsRetriever`. With `sticky`, nodes of earlier questions stay in,
    first, although this one did not find them, at most `keep` of them in all: the whole prefix of a
    conversation is read from the cache. A sticky postprocessor belongs to one conversation: its nodes would
    otherwise reach other users.

        index.as_query_engine(node_postprocessors=[StableOrderPostprocessor()])
    """

    order: _Order = "shared"
    preserve_top_k: int = Field(default=0, ge=0)
    sticky: bool = False
    keep: int = Field(default=16, ge=1)
    """How many nodes a sticky order holds; when there are more, those of the newest question start anew."""
    remembered: int = Field(default=_REMEMBERED, ge=1)
    lifetime: float = Field(default=_LIFETIME, gt=0)

    _order: SeenOrder = PrivateAttr()
    _kept: tuple[NodeWithScore, ...] = PrivateAttr(default=())

    @override
    def model_post_init(self, context: Any, /) -> None:
        self._order = SeenOrder(self.remembered, self.order, lifetime=self.lifetime)

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
        arranged = (
            self._stick(found) if self.sticky else _in_order(self._order, found, first=self.preserve_top_k)
        )
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
        anew = len(together) > self.keep
        arranged = _in_order(
            self._order, found if anew else together, first=self.preserve_top_k if anew else len(kept)
        )
        self._kept = tuple(arranged)
        return arranged
