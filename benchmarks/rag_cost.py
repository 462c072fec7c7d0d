"""What twelve separate questions over the same three documents cost, with and without this project.

Unchanged LangChain chains ask a local Bedrock; only the chat model is replaced. All rows use the same
documents (about 5,000 tokens), answers of 100 words, the same prices (genai-prices) and the same cache rules;
costs are computed from the token counts on the wire, not from what a library says. Run it:

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

from bedrock_local import FixedAnswer, LocalBedrock
from bedrock_routing import PricePolicy, Usage, parse
from bedrock_routing.pricing import cost_of, uncached_cost_of
from langchain_bedrock_routing import ChatBedrockRouter

__all__ = ["CHAINS", "TARGETS", "Cost", "documents", "measure", "ours", "uncached"]

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


def stuff_chain(model: BaseChatModel, retriever: BaseRetriever) -> Ask:
    """Build LangChain's retrieval chain, with the documents in the system message."""
    prompt = ChatPromptTemplate.from_messages([("system", _INSTRUCTIONS), ("human", "{input}")])
    chain = create_retrieval_chain(retriever, create_stuff_documents_chain(model, prompt))
    return lambda question: chain.invoke({"input": question})


def lcel_chain(model: BaseChatModel, retriever: BaseRetriever) -> Ask:
    """Build an LCEL chain with documents and question in one human message."""
    prompt = ChatPromptTemplate.from_template(f"{_INSTRUCTIONS}\n\nQuestion: {{question}}")

    def joined(found: Sequence[Document]) -> str:
        return "\n\n".join(document.page_content for document in found)

    inputs = {"context": retriever | joined, "question": RunnablePassthrough()}
    return (inputs | prompt | model | StrOutputParser()).invoke


CHAINS: dict[str, Callable[[BaseChatModel, BaseRetriever], Ask]] = {
    "create_retrieval_chain": stuff_chain,
    "LCEL chain": lcel_chain,
}


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


def ours(model: str, where: dict[str, Any], base: str) -> BaseChatModel:
    """Return this project's chat model; it needs no hint about what is behind a router."""
    del base
    return ChatBedrockRouter(model=model, max_tokens=300, **where)


def uncached(model: str, where: dict[str, Any], base: str) -> BaseChatModel:
    """Return langchain-aws's chat model without caching."""
    provider = parse(base).provider or ""
    return ChatBedrockConverse(model=model, provider=provider, base_model=base, max_tokens=300, **where)


def middleware(model: str, where: dict[str, Any], base: str) -> Any:
    """Return langchain-aws's chat model with what its caching middleware adds to every call."""
    return uncached(model, where, base).bind(cache_control={"type": "ephemeral", "ttl": "5m"})


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


def measure(
    make: Callable[[str, dict[str, Any], str], Any],
    target: TargetModels,
    chain: Callable[[Any, BaseRetriever], Ask],
) -> Cost:
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
        ask = chain(make(model, where, target.models[0]), SameDocuments(found=documents()))
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
    columns = {"no caching": uncached, "langchain-aws middleware": middleware, "ChatBedrockRouter": ours}
    print(f"{'cost in units of uncached':70}" + "".join(f"{name:>26}" for name in columns) + f"{'limit':>8}")
    for title, target in TARGETS.items():
        for name, chain in CHAINS.items():
            costs = [measure(make, target, chain) for make in columns.values()]
            label = f"{title}, {name} ({costs[-1].prompt_tokens:,} tokens)"
            print(f"{label:70}" + "".join(f"{cost.ratio:26.3f}" for cost in costs) + f"{target.limit:8.2f}")
            worst |= costs[-1].ratio > target.limit
    return worst


if __name__ == "__main__":
    sys.exit(main())
