"""What 200 questions over ten documents cost, and take, when they are all asked at once.

Each on one Claude model, a Claude pair under a router that alternates, and the Nova router: everybody at once
(`off`), waiting for the first one's reply, for its first event, and with primes behind a router; then as a
list given to `converse_many`, with a thread for every question, and with 32 as in a long list. The local
Bedrock runs in a process of its own, at a simulated pace: 0.3 s to the first event, about 2.3 s for a whole
answer. Costs are those of genai-prices, with the primes. Run it:

    python benchmarks/fan_out.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import boto3
from botocore.config import Config

from bedrock_local import FixedAnswer, LocalBedrock, Pace
from bedrock_routing import CachePolicy, Ledger, RoutedClient, converse_many, remember_documents
from bedrock_routing.state import CacheState

__all__ = ["TARGETS", "WAYS", "Measured", "Way", "endpoint", "measure"]

QUESTIONS = 200
DOCUMENTS = 10
FIRST_EVENT = 0.3
_WORDS = 90
_WORDS_PER_SECOND = 60.0
_WHERE: Mapping[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "local",
    "aws_secret_access_key": "local",
}

TARGETS: Mapping[str, Sequence[str]] = {
    "one Claude": ("us.anthropic.claude-sonnet-4-6",),
    "Claude pair": ("us.anthropic.claude-opus-4-8", "us.anthropic.claude-sonnet-4-6"),
    "Nova router": ("us.amazon.nova-pro-v1:0", "us.amazon.nova-lite-v1:0"),
}
FEW = 32


@dataclass(frozen=True, kw_only=True)
class Way:
    """Say how a batch is asked."""

    policy: CachePolicy = field(default_factory=CachePolicy)
    threads: int = QUESTIONS
    bulk: bool = False
    """With `converse_many`; else each question from a thread of its own, in the order given."""


WAYS: Mapping[str, Way] = {
    "all at once": Way(policy=CachePolicy(fan_out="off")),
    "reply": Way(policy=CachePolicy(fan_out="reply")),
    "first event": Way(policy=CachePolicy(prime=False)),
    "first event, primes": Way(),
    "bulk": Way(bulk=True),
    f"{FEW} threads, off": Way(policy=CachePolicy(fan_out="off"), threads=FEW),
    f"{FEW} threads": Way(threads=FEW),
    f"{FEW} threads, bulk": Way(threads=FEW, bulk=True),
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Hold what one batch did."""

    seconds: float
    cost_usd: Decimal
    writes: Mapping[str, int]
    """Calls that wrote, by model; with as many as there are documents, each document was written once."""
    calls: int
    """With the primes."""


def documents() -> list[str]:
    """Return ten documents of about 4,000 tokens."""
    return [
        " ".join(
            f"Clause {number} of lease {lease} says that the tenant pays in time." for number in range(250)
        )
        for lease in range(DOCUMENTS)
    ]


def measure(url: str, model: str, way: Way) -> Measured:
    """Ask all questions, over the documents in turn, and nothing known before."""
    texts, ledger = documents(), Ledger(keep=2 * QUESTIONS)
    remember_documents(texts)
    config = Config(max_pool_connections=QUESTIONS + 2 * DOCUMENTS)
    runtime = boto3.client("bedrock-runtime", endpoint_url=url, config=config, **_WHERE)
    client = RoutedClient(runtime, model=model, cache=way.policy, ledger=ledger, state=CacheState())
    client.target()

    requests = [
        {
            "system": [{"text": texts[number % DOCUMENTS]}],
            "messages": [{"role": "user", "content": [{"text": f"Question {number}?"}]}],
        }
        for number in range(QUESTIONS)
    ]
    start = time.perf_counter()
    if way.bulk:
        converse_many(client, requests, max_concurrency=way.threads)
    else:
        with ThreadPoolExecutor(way.threads) as pool:
            list(pool.map(lambda request: client.converse(**request), requests))
    seconds = time.perf_counter() - start
    wrote = Counter(str(each.model) for each in ledger.receipts if each.usage and each.usage.write)
    cost = ledger.total.cost_usd
    assert cost is not None
    return Measured(seconds=seconds, cost_usd=cost, writes=wrote, calls=ledger.total.calls)


@contextmanager
def endpoint() -> Generator[tuple[str, Mapping[str, str]]]:
    """Yield the URL of a service in another process, and the targets' ids there."""
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            served: Mapping[str, Any] = json.loads(process.stdout.readline())
            yield served["url"], served["targets"]
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _serve() -> None:
    """Serve until the parent closes our standard input."""
    pace = Pace(first_token_seconds=FIRST_EVENT, output_tokens_per_second=_WORDS_PER_SECOND)
    answers = FixedAnswer("word " * _WORDS)
    with LocalBedrock(answers=answers, pace=pace, tokens="fast", routing="alternate") as bedrock:
        targets = {
            name: bedrock.create_router(name.replace(" ", "-"), models) if len(models) > 1 else models[0]
            for name, models in TARGETS.items()
        }
        print(json.dumps({"url": bedrock.endpoint_url, "targets": targets}), flush=True)
        sys.stdin.read()


def main() -> None:
    """Print the table."""
    print(f"{QUESTIONS} questions over {DOCUMENTS} documents at once; the first event after {FIRST_EVENT} s")
    print(f"{'':14}{'':22}{'seconds':>8}{'':>7}{'cost':>9}{'':>7}{'calls':>6}  writes by model")
    for target in TARGETS:
        before: Measured | None = None
        for name, way in WAYS.items():
            if len(TARGETS[target]) == 1 and "primes" in name:
                continue
            with endpoint() as (url, targets):  # cold every time
                found = measure(url, targets[target], way)
            before = before or found
            print(
                f"{target:14}{name:22}{found.seconds:8.2f}{found.seconds / before.seconds:6.2f}x"
                f"{found.cost_usd:9.4f}{found.cost_usd / before.cost_usd:6.2f}x{found.calls:6}"
                f"  {', '.join(f'{model} {count}' for model, count in sorted(found.writes.items()))}",
                flush=True,
            )


if __name__ == "__main__":
    _serve() if sys.argv[1:] == ["serve"] else main()
