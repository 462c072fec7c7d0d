"""Documents, an index and a look at the wire, for the tests of this folder."""

import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

LITE, PRO = "amazon.nova-lite-v1:0", "amazon.nova-pro-v1:0"
NOVA = [LITE, PRO]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SUBJECTS = ("Tides", "Bridges", "Lanterns", "Orchards", "Glaciers", "Violins")


def text_about(subject: str, *, lines: int = 30) -> str:
    """Return several hundred tokens about one subject."""
    return "\n".join(
        f"{subject} chapter {number}: the keeper of {subject.lower()} wrote {number * 7} careful pages."
        for number in range(lines)
    )


class TinyEmbedding(BaseEmbedding):
    """Embed a text by its checksum and every question alike, so that each question finds the same order."""

    def _get_text_embedding(self, text: str) -> list[float]:
        checksum = zlib.crc32(text.encode())
        return [1.0, *(((checksum >> shift) % 256) / 256 for shift in (0, 8, 16))]

    def _get_query_embedding(self, query: str) -> list[float]:
        return [1.0, 0.3, 0.2, 0.1]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def make_nodes(subjects: Sequence[str] = SUBJECTS[:4], **metadata: Any) -> list[TextNode]:
    return [
        TextNode(
            id_=subject, text=text_about(subject), metadata={"source": f"{subject.lower()}.md", **metadata}
        )
        for subject in subjects
    ]


def make_index() -> VectorStoreIndex:
    documents = [
        Document(doc_id=subject, text=text_about(subject), metadata={"source": f"{subject.lower()}.md"})
        for subject in SUBJECTS[:4]
    ]
    return VectorStoreIndex.from_documents(documents, embed_model=TinyEmbedding())


class ListRetriever(BaseRetriever):
    """Return a fixed list, or the next of several, whatever is asked."""

    def __init__(self, *answers: Sequence[TextNode]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(query_bundle.query_str)
        return [NodeWithScore(node=node, score=1 / rank) for rank, node in enumerate(answer, start=1)]


def pasted(node: TextNode) -> str:
    """Return a node as synthesizers paste it."""
    return node.get_content(MetadataMode.LLM).strip()


def blocks(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the blocks of a request in the order in which they make up the prompt."""
    messages: Sequence[Mapping[str, Any]] = body.get("messages", ())
    return [*body.get("system", ()), *(block for message in messages for block in message["content"])]


def texts_before_points(body: Mapping[str, Any]) -> list[str]:
    """Return, for each cache point of system and messages, the text that it stands after."""
    flat = blocks(body)
    return [before.get("text", "") for before, block in itertools.pairwise(flat) if "cachePoint" in block]


def prompt_text(body: Mapping[str, Any]) -> str:
    """Return all texts of a request, joined as the model reads them."""
    return "".join(block.get("text", "") for block in blocks(body))
