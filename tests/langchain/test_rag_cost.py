from __future__ import annotations

import runpy
from pathlib import Path

import pytest

BENCHMARK = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "rag_cost.py"))
TARGETS, CHAINS = BENCHMARK["TARGETS"], BENCHMARK["CHAINS"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("chain", CHAINS)
def test_an_unchanged_chain_pays_for_its_documents_once(target: str, chain: str) -> None:
    """Twelve questions over the same documents stay within the limit, on one model and on pairs."""
    cost = BENCHMARK["measure"](BENCHMARK["ours"], TARGETS[target], CHAINS[chain])
    assert 4_000 < cost.prompt_tokens < 6_000
    assert cost.ratio <= TARGETS[target].limit
