"""What this project adds to a call, against a local endpoint without latency in a process of its own.

A call with a 100 KB prompt that holds 20 documents: bare boto3, `RoutedClient` and the chat models, in turns,
as medians and as ratios to bare boto3. Run it:

    python benchmarks/overhead.py
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from endpoint import endpoint
from langchain_aws import ChatBedrockConverse
from langchain_core.messages import HumanMessage, SystemMessage

from bedrock_routing import RoutedClient, remember_documents
from langchain_bedrock_routing import ChatBedrockRouter

MODEL = "us.amazon.nova-lite-v1:0"
ROUNDS = 150
_SOURCES = Path(__file__).parents[1] / "examples" / "documents" / "src"
_DOCUMENTS = 20
_PROMPT_BYTES = 100_000
_CREDENTIALS = {"aws_access_key_id": "local", "aws_secret_access_key": "local", "region_name": "us-east-1"}


def documents() -> list[str]:
    """Return 20 different documents of 5 KB each, made of the guides' own text."""
    text = "\n".join(file.read_text("utf-8") for file in sorted(_SOURCES.glob("*.md")))
    size = _PROMPT_BYTES // _DOCUMENTS
    return [
        f"Document {number}.\n{(text * 5)[number * 1_000 : number * 1_000 + size]}"
        for number in range(_DOCUMENTS)
    ]


def overhead() -> Mapping[str, float]:
    """Return the median seconds of a call, by who makes it."""
    texts = documents()
    remember_documents(texts)
    system = "Answer from the documents.\n\n" + "\n\n".join(texts)
    with endpoint(0.0) as url:
        bare = boto3.client("bedrock-runtime", endpoint_url=url, **_CREDENTIALS)
        again = boto3.client("bedrock-runtime", endpoint_url=url, **_CREDENTIALS)
        routed = RoutedClient(boto3.client("bedrock-runtime", endpoint_url=url, **_CREDENTIALS), model=MODEL)
        where = {"endpoint_url": url, **_CREDENTIALS}
        converse = ChatBedrockConverse(model=MODEL, **where)
        router = ChatBedrockRouter(model=MODEL, **where)

        def asked(question: str) -> dict[str, Any]:
            messages = [{"role": "user", "content": [{"text": question}]}]
            return {"modelId": MODEL, "system": [{"text": system}], "messages": messages}

        for number in range(3):  # until the plan stays the same
            routed.converse(**asked(f"Warm up, {number}?"))
        sent = routed._begin(asked("What goes out?")).params["system"]

        def by_hand(question: str) -> dict[str, Any]:
            """Write what the planned call sends, so that the endpoint has the same work."""
            return {**asked(question), "system": sent}

        calls: dict[str, Callable[[str], object]] = {
            "bare boto3": lambda question: bare.converse(**by_hand(question)),
            "bare boto3 again": lambda question: again.converse(**by_hand(question)),
            "RoutedClient": lambda question: routed.converse(**asked(question)),
            "ChatBedrockConverse": lambda question: converse.invoke(
                [SystemMessage(system), HumanMessage(question)]
            ),
            "ChatBedrockRouter": lambda question: router.invoke(
                [SystemMessage(system), HumanMessage(question)]
            ),
        }
        return _medians(calls)


def _medians(calls: Mapping[str, Callable[[str], object]]) -> dict[str, float]:
    """Time the calls in turns, so that whatever else the machine does hits all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 10):
        for name, call in calls.items():
            start = time.perf_counter()
            call(f"Question {number}?")
            if number >= 10:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    """Print the table."""
    medians = overhead()
    base = medians["bare boto3"]
    print(f"a call with a 100 KB prompt and {_DOCUMENTS} documents, median of {ROUNDS}")
    for name, value in medians.items():
        print(f"  {name:22}{value * 1000:8.2f} ms{value / base:8.3f} x bare boto3")


if __name__ == "__main__":
    main()
