"""An ordinary LangChain retrieval chain that asks a prompt router; only the chat model is not the usual one.

python examples/retrieval_chain.py            # a local Bedrock answers, nothing to configure
python examples/retrieval_chain.py us-east-1  # AWS, with your credentials: this costs money
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from bedrock_local import LocalBedrock
from bedrock_routing.cli.reading import read_files
from bedrock_routing.cli.retrieval import HybridRetriever
from langchain_bedrock_routing import CachedDocumentsRetriever, ChatBedrockRouter, routing_usage

GUIDES = Path(__file__).parent / "documents"
QUESTIONS = ("Which service turns text into speech?", "Which service turns speech into text?")


def main(region: str | None = None) -> None:
    """Ask two questions and print the answers, the model behind each and the table of both."""
    documents = read_files(sorted(GUIDES.glob("*.pdf"))).documents
    retriever = CachedDocumentsRetriever(retriever=HybridRetriever.from_documents(documents, k=12), k=12)
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Answer from these documents:\n\n{context}"), ("human", "{question}")]
    )
    with LocalBedrock() if region is None else nullcontext() as bedrock, routing_usage() as usage:
        llm = ChatBedrockRouter(model="amazon.nova:1", **_where(bedrock, region))
        found = retriever | (lambda each: "\n\n".join(document.page_content for document in each))
        chain = {"context": found, "question": RunnablePassthrough()} | prompt | llm
        for question in QUESTIONS:
            answer = chain.invoke(question)
            print(f"{question}\n{answer.text}\n({answer.response_metadata['model_name']})\n")
        print(usage)


def _where(bedrock: LocalBedrock | None, region: str | None) -> dict[str, Any]:
    if bedrock is None:
        return {"region_name": region}
    local = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return {"region_name": bedrock.region, "endpoint_url": bedrock.endpoint_url, **local}


if __name__ == "__main__":
    main(*sys.argv[1:2])
