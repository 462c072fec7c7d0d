"""The retriever and the postprocessor: no duplicates, an order that stays, nothing changed."""

import copy
import pickle
from collections.abc import Callable

import pytest
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index_support import SUBJECTS, ListRetriever, make_nodes

from bedrock_local import LocalBedrock
from bedrock_routing import ConfigurationError
from llama_index_bedrock_routing import BedrockRouter, CachedDocumentsRetriever, StableOrderPostprocessor

Make = Callable[..., BedrockRouter]
TIDES, BRIDGES, LANTERNS, ORCHARDS = make_nodes()


def names(nodes: list[NodeWithScore]) -> list[str]:
    return [each.node.node_id for each in nodes]


def scored(*nodes: TextNode) -> list[NodeWithScore]:
    return [NodeWithScore(node=each, score=1 / rank) for rank, each in enumerate(nodes, start=1)]


def test_nodes_begin_as_they_did() -> None:
    """The longest beginning served before comes first, new nodes last; scores stay with their nodes."""
    retriever = CachedDocumentsRetriever(ListRetriever([TIDES, BRIDGES], [LANTERNS, BRIDGES, TIDES]))
    assert names(retriever.retrieve("one")) == ["Tides", "Bridges"]
    second = retriever.retrieve("two")
    assert names(second) == ["Tides", "Bridges", "Lanterns"]
    assert [each.score for each in second] == [1 / 3, 1 / 2, 1]


def test_order_stable() -> None:
    """order="stable" keeps the order in which nodes were first seen; new ones follow."""
    answers = [TIDES, BRIDGES, LANTERNS], [ORCHARDS, LANTERNS, TIDES], [BRIDGES, ORCHARDS]
    retriever = CachedDocumentsRetriever(ListRetriever(*answers), order="stable")
    assert names(retriever.retrieve("one")) == ["Tides", "Bridges", "Lanterns"]
    assert names(retriever.retrieve("two")) == ["Tides", "Lanterns", "Orchards"]
    assert names(retriever.retrieve("three")) == ["Bridges", "Orchards"]


def test_preserve_top_k() -> None:
    """The best stay first, as the inner retriever ranked them; the rest begins as it did."""
    answers = [TIDES, BRIDGES, LANTERNS], [TIDES, LANTERNS, BRIDGES], [LANTERNS, BRIDGES, TIDES]
    retriever = CachedDocumentsRetriever(ListRetriever(*answers), preserve_top_k=1)
    firsts = [names(retriever.retrieve("?"))[:2] for _ in answers]
    assert firsts == [["Tides", "Bridges"], ["Tides", "Bridges"], ["Lanterns", "Bridges"]]


async def test_async_retrieval() -> None:
    """The async way arranges alike."""
    retriever = CachedDocumentsRetriever(ListRetriever([TIDES, BRIDGES], [BRIDGES, TIDES]))
    await retriever.aretrieve("one")
    assert names(await retriever.aretrieve("two")) == ["Tides", "Bridges"]


def test_preserve_and_k() -> None:
    """`k` keeps the best; "preserve" keeps the inner order."""
    inner = ListRetriever([TIDES, BRIDGES], [LANTERNS, BRIDGES, TIDES])
    retriever = CachedDocumentsRetriever(inner, k=2, order="preserve")
    retriever.retrieve("one")
    assert names(retriever.retrieve("two")) == ["Lanterns", "Bridges"]


def test_duplicates() -> None:
    """A text that comes twice, under whatever id, is returned once, where it ranked best."""
    twin = TextNode(id_="twin", text=TIDES.text, metadata=TIDES.metadata)
    retriever = CachedDocumentsRetriever(ListRetriever([TIDES, twin, BRIDGES]))
    assert names(retriever.retrieve("one")) == ["Tides", "Bridges"]


@pytest.mark.parametrize("settings", [{"k": 0}, {"order": "random"}, {"preserve_top_k": -1}])
def test_wrong_settings(settings: dict[str, object]) -> None:
    """A bound below one, or an unknown order, is an error."""
    with pytest.raises(ConfigurationError):
        CachedDocumentsRetriever(ListRetriever([]), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["retriever", "postprocessor"])
def test_another_order_reads_the_cache(make_llm: Make, bedrock: LocalBedrock, how: str) -> None:
    """The same nodes in another order make the same prompt, which is read from the cache."""
    four = make_nodes()
    inner = ListRetriever(four, [four[2], four[0], four[3], four[1]])
    engine = (
        RetrieverQueryEngine.from_args(CachedDocumentsRetriever(inner), llm=make_llm())
        if how == "retriever"
        else RetrieverQueryEngine.from_args(
            inner, llm=make_llm(), node_postprocessors=[StableOrderPostprocessor()]
        )
    )
    engine.query("How many?")
    engine.query("Who?")
    first, second = (each.usage for each in bedrock.requests if each.usage is not None)
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"] > 1_000


def test_the_postprocessor_changes_nothing_that_was_given() -> None:
    """The list and its nodes stay as they are."""
    postprocessor = StableOrderPostprocessor()
    postprocessor.postprocess_nodes(scored(TIDES, BRIDGES))
    given = scored(BRIDGES, TIDES)
    before = copy.deepcopy(given)
    assert names(postprocessor.postprocess_nodes(given)) == ["Tides", "Bridges"]
    assert given == before


async def test_a_sticky_order() -> None:
    """Earlier nodes stay in, with their new score where they were found again; new ones are appended."""
    postprocessor = StableOrderPostprocessor(sticky=True, keep=3)
    postprocessor.postprocess_nodes(scored(TIDES, BRIDGES))
    second = await postprocessor.apostprocess_nodes(scored(LANTERNS, BRIDGES))
    assert names(second) == ["Tides", "Bridges", "Lanterns"]
    assert [each.score for each in second] == [1, 1 / 2, 1]
    assert names(postprocessor.postprocess_nodes(scored(ORCHARDS, TIDES))) == ["Tides", "Orchards"]


def test_orders_of_the_postprocessor() -> None:
    """A postprocessor has the orders of the retriever."""
    for order, expected in {"shared": "Tides", "stable": "Tides", "preserve": "Bridges"}.items():
        postprocessor = StableOrderPostprocessor(order=order)  # type: ignore[arg-type]
        postprocessor.postprocess_nodes(scored(TIDES, BRIDGES))
        assert names(postprocessor.postprocess_nodes(scored(BRIDGES, TIDES)))[0] == expected
    best = StableOrderPostprocessor(preserve_top_k=1)
    best.postprocess_nodes(scored(TIDES, BRIDGES))
    assert names(best.postprocess_nodes(scored(BRIDGES, TIDES))) == ["Bridges", "Tides"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_of_the_postprocessor(copied: Callable[[object], StableOrderPostprocessor]) -> None:
    """A copy has the settings and arranges nodes."""
    postprocessor = StableOrderPostprocessor(sticky=True, keep=5)
    postprocessor.postprocess_nodes(scored(TIDES))
    twin = copied(postprocessor)
    assert (twin.sticky, twin.keep) == (True, 5)
    assert names(twin.postprocess_nodes(scored(BRIDGES)))[-1] == "Bridges"


def test_the_memory_is_bounded() -> None:
    """Of more nodes than `remembered`, the longest unused lose their place."""
    postprocessor = StableOrderPostprocessor(remembered=2)
    nodes = make_nodes(SUBJECTS)
    for node in nodes[:3]:
        postprocessor.postprocess_nodes(scored(node))
    arranged = names(postprocessor.postprocess_nodes(scored(nodes[0], nodes[1], nodes[2])))
    assert sorted(arranged[:2]) == ["Bridges", "Lanterns"]
    assert arranged[2] == "Tides"
