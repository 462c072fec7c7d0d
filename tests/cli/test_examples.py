from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("retrieval_chain.py", "Amazon Polly turns text into speech."),
        ("plain_boto3.py", "tokens read from the cache"),
        ("agent.py", "Amazon Polly turns text into speech."),
    ],
)
def test_an_example_runs_as_it_stands(name: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each example works without credentials and ends with a table in which the cache was read."""
    runpy.run_path(str(EXAMPLES / name))["main"]()
    out = capsys.readouterr().out
    assert said in out
    heading, _, row, *_ = out[out.index("model  ") :].splitlines()
    assert heading.split()[:4] == ["model", "calls", "fresh", "read"]
    assert int(row.split()[3].replace(",", "")) > 1_000
