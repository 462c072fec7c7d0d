"""langchain-tests' own suite for retrievers."""

from typing import Any

from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_support import DOCUMENTS
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_bedrock_routing import CachedDocumentsRetriever


class _Suite(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return CachedDocumentsRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
        store.add_documents(DOCUMENTS)
        return {"retriever": store.as_retriever()}

    @property
    def retriever_query_example(self) -> str:
        return "Who wrote about tides?"


class TestCachedDocumentsRetriever(_Suite):
    pass
