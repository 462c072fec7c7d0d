"""The retriever that keeps its documents in an order a prompt cache can use."""

import copy
import pickle
import threading
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_support import ListRetriever

from langchain_bedrock_routing import CachedDocumentsRetriever

A, B, C, D = (Document(page_content=f"text {name}", id=name, metadata={"score": 1}) for name in "abcd")


def around(*answers: list[Document], **settings: Any) -> CachedDocumentsRetriever:
    return CachedDocumentsRetriever(retriever=ListRetriever(answers=list(answers)), **settings)


def ids(documents: list[Document]) -> list[str | None]:
    return [each.id for each in documents]


def test_documents_begin_as_they_did() -> None:
    """The longest beginning served before comes first, then what was asked for most lately, then new ones."""
    retriever = around([A, B, C], [D, B, C, A], [B, D, A])
    expected = [["a", "b", "c"], ["a", "b", "c", "d"], ["a", "b", "d"]]
    assert [ids(retriever.invoke("?")) for _ in range(3)] == expected


def test_order_stable() -> None:
    """order="stable" keeps the order in which documents were first seen; new ones follow."""
    retriever = around([A, B, C], [D, C, A], [B, D], order="stable")
    assert [ids(retriever.invoke("?")) for _ in range(3)] == [["a", "b", "c"], ["a", "c", "d"], ["b", "d"]]


async def test_async_shares_the_order() -> None:
    """Async retrieval keeps the same order as retrieval that is not."""
    retriever = around([A, B, C], [C, B, A], [B, A])
    await retriever.ainvoke("?")
    assert ids(await retriever.ainvoke("?")) == ["a", "b", "c"]
    assert ids(retriever.invoke("?")) == ["a", "b"]


def test_order_preserve() -> None:
    """order="preserve" leaves the best document first."""
    retriever = around([A, B], [B, A], order="preserve")
    retriever.invoke("?")
    assert ids(retriever.invoke("?")) == ["b", "a"]


def test_preserve_top_k() -> None:
    """The best stay first, as the inner retriever ranked them; the rest begins as it did."""
    retriever = around([A, B, C, D], [A, D, C, B], [D, C, B, A], preserve_top_k=1)
    assert [ids(retriever.invoke("?"))[:2] for _ in range(3)] == [["a", "b"], ["a", "b"], ["d", "c"]]


def test_a_sticky_retriever() -> None:
    """Earlier documents stay in, first, ranked only where they were found again, until they are too many."""
    retriever = around([A, B], [C, B], [D, A], sticky=True, keep=3)
    assert ids(retriever.invoke("?")) == ["a", "b"]
    second = retriever.invoke("?")
    assert ids(second) == ["a", "b", "c"]
    assert [each.metadata.get("bedrock_routing_rank") for each in second] == [None, 2, 1]
    assert ids(retriever.invoke("?")) == ["a", "d"]


def test_sticky_copies_of_one_retriever() -> None:
    """Conversations with a copy each keep their documents apart, and begin alike."""
    shared = around([A, B, C], [D], [C, B, A], [A])
    shared.invoke("?")
    one, other = (shared.model_copy(update={"sticky": True}) for _ in range(2))
    assert ids(one.invoke("?")) == ["d"]
    assert ids(other.invoke("?")) == ["a", "b", "c"]
    assert ids(one.invoke("?")) == ["d", "a"]


@pytest.mark.parametrize("wrong", [{"order": "random"}, {"preserve_top_k": -1}, {"lifetime": 0}, {"keep": 0}])
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    """An unknown order, or a number out of range, is an error."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        around([A], **wrong)


def test_duplicates() -> None:
    """A document is kept once by its id, and one without an id once by its text."""
    plain = Document(page_content="no id")
    twin = Document(page_content="no id", metadata={"page": 2})
    found = around([A, plain, A.model_copy(update={"page_content": "newer"}), twin, B]).invoke("?")
    assert [each.page_content for each in found] == ["text a", "no id", "text b"]


def test_rank_and_score() -> None:
    """The inner retriever's rank and score stay with the document; the inner documents are not touched."""
    retriever = around([A, B], [B, A])
    retriever.invoke("?")
    found = retriever.invoke("?")
    assert [each.metadata for each in found] == [
        {"score": 1, "bedrock_routing_rank": 2},
        {"score": 1, "bedrock_routing_rank": 1},
    ]
    assert A.metadata == {"score": 1}


def test_printed_documents_do_not_show_the_rank() -> None:
    """The same documents print the same, whatever their rank was, also after a copy or a pickle."""
    retriever = around([A, B], [B, A])
    first, second = retriever.invoke("?"), retriever.invoke("?")
    assert str(first) == str(second) == str(copy.deepcopy(second)) == str(pickle.loads(pickle.dumps(second)))
    assert f"{first[0]}" == f"{second[0]}"
    assert first[0].metadata != second[0].metadata


def test_k() -> None:
    """K of a call comes before k of the retriever; it is passed on, and more than k are cut."""
    retriever = around([A, B, C, D], k=3)
    assert len(retriever.invoke("?")) == 3
    assert len(retriever.invoke("?", k=1)) == 1
    assert isinstance(retriever.retriever, ListRetriever)
    assert retriever.retriever.taken == [3, 1]


def test_k_of_a_runnable() -> None:
    """A runnable that knows no k is cut to it."""
    search: RunnableLambda[str, list[Document]] = RunnableLambda(lambda _: [A, B, C])
    assert ids(CachedDocumentsRetriever(retriever=search, k=2).invoke("?")) == ["a", "b"]


def test_k_of_a_vector_store(store: InMemoryVectorStore) -> None:
    """K reaches the search of a vector store, beyond what it would return by itself."""
    retriever = CachedDocumentsRetriever(retriever=store.as_retriever(search_kwargs={"k": 1}))
    assert len(retriever.invoke("text", k=3)) == 3


def test_memory_is_bounded() -> None:
    """Only so many documents are remembered; the longest unused lose their place."""
    retriever = around([A, B], [C], [D], [B, A], remembered=2)
    for _ in range(3):
        retriever.invoke("?")
    assert ids(retriever.invoke("?")) == ["b", "a"]


def test_copies_keep_the_order() -> None:
    """A copied or pickled retriever goes on with the order that was seen so far."""
    retriever = around([A, B, C], [C, B, A])
    retriever.invoke("?")
    for twin in (copy.deepcopy(retriever), pickle.loads(pickle.dumps(retriever))):
        assert ids(twin.invoke("?")) == ["a", "b", "c"]


def test_threads_agree() -> None:
    """Many threads that retrieve at once get one order."""
    retriever = around([A, B, C, D])
    found: list[list[str | None]] = []
    threads = [threading.Thread(target=lambda: found.append(ids(retriever.invoke("?")))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["a", "b", "c", "d"]] * 16


@pytest.fixture
def store() -> InMemoryVectorStore:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([A, B, C, D])
    return store
