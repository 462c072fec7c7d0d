"""Ask with LangChain: an ordinary chain of retriever, prompt and `ChatBedrockRouter`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.retrievers import BaseRetriever

from bedrock_routing.cli.frameworks import INSTRUCTIONS, Exchange, Passage, Piece
from bedrock_routing.cli.library import Library
from bedrock_routing.cli.retrieval import HybridRetriever
from bedrock_routing.client import RoutedClient
from langchain_bedrock_routing import CachedDocumentsRetriever, ChatBedrockRouter

__all__ = ["LangChainAssistant"]

_PROMPT = ChatPromptTemplate.from_messages(
    [("system", INSTRUCTIONS), MessagesPlaceholder("history"), ("human", "{question}")]
)


class WholeDocuments(BaseRetriever):
    """Return every document for every question."""

    documents: tuple[Document, ...]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        del query, run_manager
        return list(self.documents)


class LangChainAssistant:
    """Answer with LangChain's building blocks."""

    def __init__(self, client: RoutedClient, library: Library, options: Namespace) -> None:
        model = ChatBedrockRouter(
            model=options.router, client=client, max_tokens=options.max_tokens, temperature=0
        )
        self._chain = _PROMPT | model
        self._retriever = _retriever(library)

    def retrieve(self, question: str) -> list[Passage]:
        """Return what the retriever finds."""
        found = self._retriever.invoke(question)
        return [Passage.of(each.page_content, each.metadata) for each in found]

    def stream(self, question: str, context: str, history: Sequence[Exchange]) -> Iterator[Piece]:
        """Run the chain, and yield the answer as it comes."""
        inputs = {"context": context, "history": _messages(history), "question": question}
        for chunk in self._chain.stream(inputs):
            if isinstance(chunk, AIMessageChunk):
                yield Piece.of(chunk.text, chunk.response_metadata)


def _retriever(library: Library) -> BaseRetriever:
    if library.index is None:
        return WholeDocuments(documents=library.documents)
    found = HybridRetriever(index=library.index, k=library.k)
    return CachedDocumentsRetriever(retriever=found, k=library.k)


def _messages(history: Sequence[Exchange]) -> list[BaseMessage]:
    pairs = ((HumanMessage(content=each.question), AIMessage(content=each.answer)) for each in history)
    return [message for pair in pairs for message in pair]
