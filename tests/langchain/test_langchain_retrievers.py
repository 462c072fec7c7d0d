"""Retrievers that people use, bare and inside CachedDocumentsRetriever: their documents are paid for once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from langchain_aws.retrievers import AmazonKnowledgeBasesRetriever
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MultiQueryRetriever,
)
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_support import DOCUMENTS, ListRetriever, texts_before_points
from typing_extensions import override

from bedrock_local import LocalBedrock
from bedrock_local.recording import Request
from langchain_bedrock_routing import CachedDocumentsRetriever, ChatBedrockRouter

Make = Callable[..., ChatBedrockRouter]
Answers = list[list[Document]]
PROMPT = ChatPromptTemplate.from_messages([("human", "Context:\n{context}\n\nQuestion: {question}")])
QUESTIONS = ("How many pages are there?", "Who wrote them?")


def scored(documents: Iterable[Document], question: int) -> list[Document]:
    """Return documents as a search gives them, with a score that is another one for each question."""
    return [
        Document(
            page_content=each.page_content, metadata={**each.metadata, "score": 0.9 - question / 7 - rank / 9}
        )
        for rank, each in enumerate(documents)
    ]


FOUR, SHUFFLED = DOCUMENTS[:4], [DOCUMENTS[index] for index in (2, 0, 3, 1)]
ALIKE = [scored(FOUR, 0), scored(FOUR, 1)]
ANOTHER_ORDER = [scored(FOUR, 0), scored(SHUFFLED, 1)]


class FirstLines(BaseDocumentCompressor):
    """Keep the first twenty lines of each document."""

    @override
    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        return [
            Document(page_content="\n".join(each.page_content.splitlines()[:20]), metadata=each.metadata)
            for each in documents
        ]


class Ranking(Embeddings):
    """Place texts so that each question finds them in the order in which its answer lists them."""

    def __init__(self, answers: Answers) -> None:
        self.texts = [each.page_content for each in answers[0]]
        self.orders = [[each.page_content for each in answer] for answer in answers]

    @override
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(text == each) for each in self.texts] for text in texts]

    @override
    def embed_query(self, text: str) -> list[float]:
        order = self.orders.pop(0)
        return [1.0 / (1 + order.index(each)) for each in self.texts]


def knowledge_base(answers: Answers) -> BaseRetriever:
    client: Any = boto3.client("bedrock-agent-runtime", region_name="us-east-1")
    stub = Stubber(client)
    for answer in answers:
        results = [
            {
                "content": {"text": each.page_content, "type": "TEXT"},
                "location": {"type": "S3", "s3Location": {"uri": f"s3://library/{each.metadata['source']}"}},
                "score": each.metadata["score"],
                "metadata": {"x-amz-bedrock-kb-chunk-id": each.metadata["source"]},
            }
            for each in answer
        ]
        stub.add_response("retrieve", {"retrievalResults": results})
    stub.activate()
    return AmazonKnowledgeBasesRetriever(
        knowledge_base_id="LIBRARY001", client=client, region_name="us-east-1"
    )


def ensemble(answers: Answers) -> BaseRetriever:
    halves = [ListRetriever(answers=[each[part] for each in answers]) for part in (slice(2), slice(2, None))]
    return EnsembleRetriever(retrievers=halves, weights=[0.7, 0.3])


def compression(answers: Answers) -> BaseRetriever:
    return ContextualCompressionRetriever(
        base_compressor=FirstLines(), base_retriever=ListRetriever(answers=answers)
    )


def multi_query(answers: Answers) -> BaseRetriever:
    inner = ListRetriever(answers=[answer for answer in answers for _ in range(2)])
    queries = FakeListChatModel(responses=["How many?\nWhich number?"])
    return MultiQueryRetriever.from_llm(retriever=inner, llm=queries)


def vector_store(answers: Answers) -> BaseRetriever:
    store = InMemoryVectorStore(Ranking(answers))
    store.add_documents([each.model_copy() for each in answers[0]])
    return store.as_retriever(search_kwargs={"k": 4})


RETRIEVERS = [knowledge_base, ensemble, compression, multi_query, vector_store]
each_retriever = pytest.mark.parametrize("retriever", RETRIEVERS, ids=lambda each: each.__name__)


def joined(documents: Iterable[Document]) -> str:
    return "\n\n".join(each.page_content for each in documents)


def asking(retriever: BaseRetriever, llm: ChatBedrockRouter) -> Runnable[str, Any]:
    context = retriever | RunnableLambda(joined)
    return {"context": context, "question": RunnablePassthrough()} | PROMPT | llm


def calls(bedrock: LocalBedrock) -> list[Request]:
    return [each for each in bedrock.requests if each.operation.startswith("Converse")]


def check_the_second_reads(bedrock: LocalBedrock) -> None:
    """Check that both questions end their prefix with a document, and the second writes nothing."""
    first, second = calls(bedrock)
    for call in (first, second):
        (human,) = call.body["messages"]
        *_, before = texts_before_points(call.body)
        assert before.rstrip().endswith("careful pages.")
        assert human["content"][-1]["text"].startswith("\n\nQuestion: ")
    usage, again = first.usage or {}, second.usage or {}
    assert usage["cacheWriteInputTokens"] > 1_000
    assert again["cacheReadInputTokens"] == usage["cacheWriteInputTokens"]
    assert again["cacheWriteInputTokens"] == 0


@each_retriever
def test_bare(make_llm: Make, bedrock: LocalBedrock, retriever: Callable[[Answers], BaseRetriever]) -> None:
    """What any retriever returns is recognised in the prompt, compressed, fused or as it was found."""
    chain = asking(retriever(ALIKE), make_llm())
    for question in QUESTIONS:
        chain.invoke(question)
    check_the_second_reads(bedrock)


@each_retriever
async def test_bare_and_async(
    make_llm: Make, bedrock: LocalBedrock, retriever: Callable[[Answers], BaseRetriever]
) -> None:
    """Async retrieval is recognised like any other."""
    chain = asking(retriever(ALIKE), make_llm())
    for question in QUESTIONS:
        await chain.ainvoke(question)
    check_the_second_reads(bedrock)


@each_retriever
def test_wrapped(
    make_llm: Make, bedrock: LocalBedrock, retriever: Callable[[Answers], BaseRetriever]
) -> None:
    """Inside CachedDocumentsRetriever another order of the same documents reads the cache as well."""
    chain = asking(CachedDocumentsRetriever(retriever=retriever(ANOTHER_ORDER)), make_llm())
    for question in QUESTIONS:
        chain.invoke(question)
    check_the_second_reads(bedrock)


@each_retriever
async def test_wrapped_and_async(
    make_llm: Make, bedrock: LocalBedrock, retriever: Callable[[Answers], BaseRetriever]
) -> None:
    """The order is kept by async retrieval, too."""
    chain = asking(CachedDocumentsRetriever(retriever=retriever(ANOTHER_ORDER)), make_llm())
    for question in QUESTIONS:
        await chain.ainvoke(question)
    check_the_second_reads(bedrock)


@each_retriever
def test_k(make_llm: Make, bedrock: LocalBedrock, retriever: Callable[[Answers], BaseRetriever]) -> None:
    """K cuts what any retriever returns, and the documents that are left are paid for once."""
    wrapped = CachedDocumentsRetriever(retriever=retriever(ALIKE), k=3)
    chain = asking(wrapped, make_llm())
    for question in QUESTIONS:
        chain.invoke(question)
    check_the_second_reads(bedrock)
    assert "Orchards" not in calls(bedrock)[0].body["messages"][0]["content"][0]["text"]


@each_retriever
def test_a_score_that_changes(
    make_llm: Make, bedrock: LocalBedrock, retriever: Callable[[Answers], BaseRetriever]
) -> None:
    """A chain that prints whole documents asks the same prompt again, although their scores have changed."""
    wrapped = CachedDocumentsRetriever(retriever=retriever(ANOTHER_ORDER))
    chain = {"context": wrapped, "question": RunnablePassthrough()} | PROMPT | make_llm()
    for question in QUESTIONS:
        chain.invoke(question)
    first, second = (call.usage or {} for call in calls(bedrock))
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"] > 1_000


def test_k_leaves_a_reranker_its_choice() -> None:
    """K is not handed on to the retriever below a compressor, which would have nothing to choose from."""
    search = ListRetriever(answers=[DOCUMENTS])
    best = ContextualCompressionRetriever(base_compressor=LastTwo(), base_retriever=search)
    found = CachedDocumentsRetriever(retriever=best, k=1).invoke("?")
    assert [each.metadata["source"] for each in found] == ["glaciers.md"]
    assert search.taken == [None]


def test_k_above_a_runnable_that_takes_none() -> None:
    """A compressor around a plain runnable, which takes no k, is asked without one."""
    search: RunnableLambda[str, list[Document]] = RunnableLambda(lambda _: DOCUMENTS)
    best = ContextualCompressionRetriever(base_compressor=LastTwo(), base_retriever=search)
    assert len(CachedDocumentsRetriever(retriever=best).invoke("?", k=1)) == 1


class LastTwo(BaseDocumentCompressor):
    """Find the last two documents the best."""

    @override
    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks = None
    ) -> Sequence[Document]:
        return documents[-2:]


def test_volatile_keys_of_ones_own() -> None:
    """Which metadata is left out when a document is printed can be said; the document itself keeps it."""
    document = DOCUMENTS[0].model_copy(update={"metadata": {"source": "tides.md", "score": 1, "seen": "now"}})
    wrapped = CachedDocumentsRetriever(retriever=ListRetriever(answers=[[document]]), volatile=("seen",))
    (found,) = wrapped.invoke("?")
    assert f"{found.metadata}" == "{'source': 'tides.md', 'score': 1}"
    assert found.metadata["seen"] == "now"


def test_a_compressed_document_stands_as_it_was_compressed(make_llm: Make, bedrock: LocalBedrock) -> None:
    """What is followed by the point is what the compressor left of the last document."""
    asking(compression(ALIKE), make_llm()).invoke(QUESTIONS[0])
    *_, before = texts_before_points(calls(bedrock)[0].body)
    assert before.endswith("Orchards chapter 19: the keeper of orchards wrote 133 careful pages.")
