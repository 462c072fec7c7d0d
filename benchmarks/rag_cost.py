"""What twelve separate questions over the same three documents cost, with and without this project.

Unchanged LangChain chains and LlamaIndex query engines ask a local Bedrock; only the model is replaced. All
rows use the same documents (about 5,000 tokens), answers of 100 words, the same prices (genai-prices) and the
same cache rules; costs are computed from the token counts on the wire, not from what a library says. Run it:

    python benchmarks/rag_cost.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from langchain_aws import ChatBedrockConverse
from langchain_classic.chains import create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from llama_index.core import Settings, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import TextNode

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import PricePolicy, Usage, parse
from bedrock_routing.pricing import cost_of, uncached_cost_of
from langchain_bedrock_routing import ChatBedrockRouter
from llama_index_bedrock_routing import BedrockRouter

__all__ = ["CHAINS", "TARGETS", "Chain", "Cost", "documents", "measure"]

QUESTIONS = 12
_SOURCES = Path(__file__).parents[1] / "examples" / "documents" / "src"
_CHARACTERS = 6_600
_ANSWER = "word " * 100
_INSTRUCTIONS = "Answer from the documents and name the source.\n\n{context}"

Ask = Callable[[str], object]


class SameDocuments(BaseRetriever):
    """Return the same documents for every question."""

    found: tuple[Document, ...]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        del query, run_manager
        return [document.model_copy() for document in self.found]


def documents() -> tuple[Document, ...]:
    """Return three documents of about 5,000 tokens together."""
    files = sorted(_SOURCES.glob("*.md"))
    return tuple(Document(page_content=file.read_text("utf-8")[:_CHARACTERS]) for file in files)


def stuff_chain(model: BaseChatModel) -> Ask:
    """Build LangChain's retrieval chain, with the documents in the system message."""
    prompt = ChatPromptTemplate.from_messages([("system", _INSTRUCTIONS), ("human", "{input}")])
    stuffed = create_stuff_documents_chain(model, prompt)
    chain = create_retrieval_chain(SameDocuments(found=documents()), stuffed)
    return lambda question: chain.invoke({"input": question})


def lcel_chain(model: BaseChatModel) -> Ask:
    """Build an LCEL chain with documents and question in one human message."""
    prompt = ChatPromptTemplate.from_template(f"{_INSTRUCTIONS}\n\nQuestion: {{question}}")

    def joined(found: Sequence[Document]) -> str:
        return "\n\n".join(document.page_content for document in found)

    inputs = {
        "context": SameDocuments(found=documents()) | joined,
        "question": RunnablePassthrough(),
    }
    return (inputs | prompt | model | StrOutputParser()).invoke


def query_engine(model: BedrockRouter) -> Ask:
    """Build LlamaIndex's usual query engine, whose one human message holds documents and question.

    The embedding finds every document as near as any other, so all questions retrieve the same.
    """
    nodes = [TextNode(text=each.page_content) for each in documents()]
    Settings.llm = model
    index = VectorStoreIndex(nodes, embed_model=MockEmbedding(embed_dim=8))
    return index.as_query_engine(similarity_top_k=len(nodes)).query


@dataclass(frozen=True, kw_only=True)
class TargetModels:
    """Name what is asked: one model, or two under a router that alternates."""

    models: tuple[str, ...]
    limit: float
    """The share of the uncached cost that must not be exceeded."""


TARGETS: dict[str, TargetModels] = {
    "one Claude (Sonnet 4.6)": TargetModels(models=("us.anthropic.claude-sonnet-4-6",), limit=0.31),
    "Claude pair, alternating": TargetModels(
        models=("us.anthropic.claude-opus-4-8", "us.anthropic.claude-sonnet-4-6"), limit=0.40
    ),
    "Nova router, alternating": TargetModels(
        models=("us.amazon.nova-pro-v1:0", "us.amazon.nova-lite-v1:0"), limit=0.45
    ),
}


def langchain_router(model: str, where: dict[str, Any], base: str) -> BaseChatModel:
    """Return this project's chat model; it needs no hint about what is behind a router."""
    del base
    return ChatBedrockRouter(model=model, max_tokens=300, **where)


def langchain_aws(model: str, where: dict[str, Any], base: str) -> BaseChatModel:
    """Return langchain-aws's chat model, which places no cache points by itself."""
    provider = parse(base).provider or ""
    return ChatBedrockConverse(model=model, provider=provider, base_model=base, max_tokens=300, **where)


def middleware(model: str, where: dict[str, Any], base: str) -> Any:
    """Return langchain-aws's chat model with what its caching middleware adds to every call."""
    return langchain_aws(model, where, base).bind(cache_control={"type": "ephemeral", "ttl": "5m"})


def llama_index_router(model: str, where: dict[str, Any], base: str) -> BedrockRouter:
    """Return this project's LLM."""
    del base
    return BedrockRouter(model=model, max_tokens=300, **where)


def uncached_llama_index(model: str, where: dict[str, Any], base: str) -> BedrockRouter:
    """Return this project's LLM without cache points: the existing integration takes no router's ARN."""
    del base
    return BedrockRouter(model=model, max_tokens=300, cache=False, **where)


Make = Callable[[str, dict[str, Any], str], Any]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Hold how a chain is built, and which models are compared in it."""

    build: Callable[[Any], Ask]
    ours: Make
    uncached: Make
    other: Make | None = None
    """What else there is that places cache points by itself."""


_LANGCHAIN: dict[str, Make] = {"ours": langchain_router, "uncached": langchain_aws, "other": middleware}
CHAINS: dict[str, Chain] = {
    "create_retrieval_chain": Chain(build=stuff_chain, **_LANGCHAIN),
    "LCEL chain": Chain(build=lcel_chain, **_LANGCHAIN),
    "as_query_engine": Chain(build=query_engine, ours=llama_index_router, uncached=uncached_llama_index),
}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Hold what twelve calls cost, and would have cost without a cache."""

    paid: Decimal
    plain: Decimal
    prompt_tokens: int

    @property
    def ratio(self) -> float:
        """Return the cost in units of the uncached cost."""
        return float(self.paid / self.plain)


def measure(make: Make, target: TargetModels, build: Callable[[Any], Ask]) -> Cost:
    """Ask the questions through a chain and add up what went over the wire."""
    with LocalBedrock(answers=FixedAnswer(_ANSWER), routing="alternate") as bedrock:
        single = len(target.models) == 1
        model = target.models[0] if single else bedrock.create_router("benchmark", target.models)
        where = {
            "region_name": bedrock.region,
            "endpoint_url": bedrock.endpoint_url,
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
        }
        ask = build(make(model, where, target.models[0]))
        for number in range(QUESTIONS):
            ask(f"Question {number + 1}: what does the guide say about item {number + 1}, and why?")
        return _total([each for each in bedrock.requests if each.usage is not None])


def _total(requests: Sequence[Any]) -> Cost:
    paid = plain = Decimal(0)
    prompt = 0
    for request in requests:
        usage = Usage.from_wire(request.usage)
        model = parse(f"us.{request.invoked_model}")
        assert usage is not None
        paid += cost_of(model, usage, PricePolicy()) or Decimal("NaN")
        plain += uncached_cost_of(model, usage, PricePolicy()) or Decimal("NaN")
        prompt = usage.prompt
    return Cost(paid=paid, plain=plain, prompt_tokens=prompt)


def main() -> int:
    """Print the table; return 1 where a limit is exceeded."""
    worst = 0
    columns = ("no caching", "langchain-aws middleware", "this project", "limit")
    print(f"{'cost in units of uncached':66}" + "".join(f"{name:>26}" for name in columns))
    for title, target in TARGETS.items():
        for name, chain in CHAINS.items():
            makers = (chain.uncached, chain.other, chain.ours)
            costs = [make and measure(make, target, chain.build) for make in makers]
            ratios = [f"{cost.ratio:.3f}" if cost else "-" for cost in costs]
            ours = costs[-1]
            assert ours is not None
            label = f"{title}, {name} ({ours.prompt_tokens:,} tokens)"
            print(f"{label:66}" + "".join(f"{each:>26}" for each in (*ratios, f"{target.limit:.2f}")))
            worst |= ours.ratio > target.limit
    return worst


if __name__ == "__main__":
    sys.exit(main())
