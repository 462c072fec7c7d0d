"""Ask with LlamaIndex: an ordinary retriever of nodes, a chat prompt and `BedrockRouter`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

from langchain_core.documents import Document
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import ChatMessage, ChatResponse, MessageRole
from llama_index.core.prompts import ChatPromptTemplate
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from typing_extensions import override

from bedrock_routing.cli.frameworks import INSTRUCTIONS, Exchange, Passage, Piece
from bedrock_routing.cli.library import Library
from bedrock_routing.client import RoutedClient
from llama_index_bedrock_routing import BedrockRouter, CachedDocumentsRetriever

__all__ = ["LlamaIndexAssistant"]

_PROMPT = ChatPromptTemplate.from_messages(
    [(MessageRole.SYSTEM, INSTRUCTIONS), (MessageRole.USER, "{question}")]
)


class NodeRetriever(BaseRetriever):
    """Return the nodes of the documents that `find` returns for a question."""

    def __init__(self, find: Callable[[str], Sequence[Document]]) -> None:
        self._find = find
        super().__init__()  # pyright: ignore[reportUnknownMemberType]

    @override
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=_node(each)) for each in self._find(query_bundle.query_str)]


class LlamaIndexAssistant:
    """Answer with LlamaIndex's building blocks."""

    def __init__(self, client: RoutedClient, library: Library, options: Namespace) -> None:
        self._llm = BedrockRouter(
            model=options.router, client=client, max_tokens=options.max_tokens, temperature=0
        )
        self._retriever = _retriever(library)

    def retrieve(self, question: str) -> list[Passage]:
        """Return what the retriever finds."""
        nodes = (each.node for each in self._retriever.retrieve(question))
        return [Passage.of(each.get_content(MetadataMode.LLM), each.metadata) for each in nodes]

    def stream(self, question: str, context: str, history: Sequence[Exchange]) -> Iterator[Piece]:
        """Ask, and yield the answer as it comes."""
        system, asked = _PROMPT.format_messages(context=context, question=question)
        for chunk in self._llm.stream_chat([system, *_messages(history), asked]):
            yield Piece.of(chunk.delta or "", _metadata(chunk))


def _retriever(library: Library) -> BaseRetriever:
    if library.index is None:
        return NodeRetriever(lambda _: library.documents)
    return CachedDocumentsRetriever(NodeRetriever(partial(library.index.best, k=library.k)), k=library.k)


def _node(document: Document) -> TextNode:
    """Return a document as a node; the prompt names its source itself, so the model sees the text alone."""
    named = {"id_": document.id} if document.id else {}
    metadata = dict(document.metadata)
    return TextNode(
        text=document.page_content, metadata=metadata, excluded_llm_metadata_keys=list(metadata), **named
    )


def _metadata(chunk: ChatResponse) -> dict[str, Any]:
    return cast("dict[str, Any]", chunk.additional_kwargs)  # pyright: ignore[reportUnknownMemberType]


def _messages(history: Sequence[Exchange]) -> list[ChatMessage]:
    pairs = ((("user", each.question), ("assistant", each.answer)) for each in history)
    return [ChatMessage(role=role, content=text) for pair in pairs for role, text in pair]
