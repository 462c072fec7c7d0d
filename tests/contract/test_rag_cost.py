from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_index.core import Settings

BENCHMARK = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "rag_cost.py"))
TARGETS, CHAINS = BENCHMARK["TARGETS"], BENCHMARK["CHAINS"]


@pytest.fixture(autouse=True)
def _keep_settings() -> Iterator[None]:
    """Give LlamaIndex's settings back as they were."""
    before = Settings._llm
    yield
    Settings._llm = before


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CHAINS)
def test_an_unchanged_chain_pays_for_its_documents_once(target: str, name: str) -> None:
    """Twelve questions over the same documents stay within the limit, on one model and on pairs."""
    chain = CHAINS[name]
    cost = BENCHMARK["measure"](chain.ours, TARGETS[target], chain.build)
    assert 4_000 < cost.prompt_tokens < 6_000
    assert cost.ratio <= TARGETS[target].limit
