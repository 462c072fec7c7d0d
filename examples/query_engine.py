"""An ordinary LlamaIndex query engine that asks a prompt router; only `Settings.llm` is not the usual one.

python examples/query_engine.py            # a local Bedrock answers, nothing to configure
python examples/query_engine.py us-east-1  # AWS, with your credentials: this costs money
"""

from __future__ import annotations

import re
import sys
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from llama_index.core import Document, Settings, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.node_parser import TokenTextSplitter

from bedrock_local import LocalBedrock
from llama_index_bedrock_routing import BedrockRouter, CachedDocumentsSynthesizer, routing_usage

GUIDES = Path(__file__).parent / "documents" / "src"
QUESTIONS = (
    "Which service turns text into speech?",
    "Which service turns speech into text?",
    "Which service translates text?",
)
LAST_QUESTION = "Which service finds entities in text?"
DIMENSIONS = 1024


class WordEmbedding(BaseEmbedding):
    """Embed a text by counting its words, so that nothing has to be downloaded."""

    def _get_text_embedding(self, text: str) -> list[float]:
        counts = [0.0] * DIMENSIONS
        for word in re.findall(r"\w{4,}", text.lower()):
            counts[zlib.crc32(word.removesuffix("s").encode()) % DIMENSIONS] += 1
        return counts

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def main(region: str | None = None) -> None:
    """Ask four questions and print the answers, the model behind each and the table of all."""
    documents = [
        Document(text=guide.read_text("utf-8"), metadata={"guide": guide.stem})
        for guide in sorted(GUIDES.glob("*.md"))
    ]
    index = VectorStoreIndex.from_documents(
        documents, embed_model=WordEmbedding(), transformations=[TokenTextSplitter()]
    )
    with LocalBedrock() if region is None else nullcontext() as bedrock, routing_usage() as usage:
        Settings.llm = BedrockRouter(model="amazon.nova:1", **_where(bedrock, region))
        engine = index.as_query_engine()
        for question in QUESTIONS:
            answer = engine.query(question)
            print(f"{question}\n{answer}\n({usage.receipts[-1].model})\n")

        engine = index.as_query_engine(response_synthesizer=CachedDocumentsSynthesizer())
        answer = engine.query(LAST_QUESTION)
        receipt = (answer.metadata or {})["bedrock_routing"]  # besides, each document is a block of its own
        print(f"{LAST_QUESTION}\n{answer}\n({receipt['model']})\n")
        print(usage)


def _where(bedrock: LocalBedrock | None, region: str | None) -> dict[str, Any]:
    if bedrock is None:
        return {"region_name": region}
    local = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return {"region_name": bedrock.region, "endpoint_url": bedrock.endpoint_url, **local}


if __name__ == "__main__":
    main(*sys.argv[1:2])
